"""The tables as LaTeX: any text is escaped, a parser accepts them, and pdflatex sets them where it is installed."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from results.metrics import base
from results.tables import latex
from results.tables.table import Cell, Column, Row, Table
from tests.results.latex_reader import Malformed, read
from tests.results.made_tables import build, record

HOSTILE = r"50 % & _x_ #1 $y$ {a}~b^2 \end{table} [1] *<|>* 2→28 – r² “q” 中 naïve σ --"
PDFLATEX = shutil.which("pdflatex")


def table(**changes):
    columns = [
        Column(f"A & B 64 px, {HOSTILE}", "fvd"),
        *(Column("streets 64 px, 2to10", name) for name in ("psnr", "ssim")),
    ]
    rows = [
        Row(
            HOSTILE,
            HOSTILE,
            "published",
            (Cell("9.0", 9.0, rank=2, footnote=1), Cell("–", footnote=2), Cell("0.5", 0.5)),
        ),
        Row(
            "[x]",
            "a model",
            "model",
            (Cell("8.0", 8.0, rank=1), Cell("20.1", 20.1, "19.0 to 21.0"), Cell("-0.1", -0.1)),
        ),
        Row("* Autoencoder", "the ceiling", "reference", (Cell("1.0", 1.0), Cell("31.0", 31.0), Cell("0.9", 0.9))),
    ]
    fields = {"name": "prediction-2to10", "title": f"Prediction: {HOSTILE}", "columns": tuple(columns), "rows": rows}
    return Table(**(fields | {"footnotes": [HOSTILE, "not measured"], "remarks": [HOSTILE]} | changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a & b", r"a \& b"), ("50%", r"50\%"), ("a_b", r"a\_b"), ("#1", r"\#1"), ("$x$", r"\$x\$"), ("{a}", r"\{a\}"),
        ("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}"), ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("2–8", r"2\textendash{}8"), ("m²", "m$^2$"), ("2→28", r"2$\rightarrow$28"), ("↑↓", r"$\uparrow$$\downarrow$"),
        ("a-b's", "a-b's"), ("---", "-{}-{}-"), ("''", "'{}'"), ("?`", "?{}`"), ("[x]*", "{[}x{]}{*}"),
        ("ä é Å ï ø", r'\"{a} \'{e} \r{A} \"{\i{}} \o{}'), ("λ", r"$\lambda$"), ("中", "{[}U+4E2D{]}"),
        ("😀", "{[}U+1F600{]}"), ("a\n\n%b\tc", r"a \%b c"), ("\x00\x07", "{[}U+0000{]}{[}U+0007{]}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"), ("", ""),
    ],
)  # fmt: skip
def test_any_text_is_escaped(text, expected):
    assert latex.escape(text) == expected
    assert read(latex.escape(text)) == []


def test_each_row_has_every_column():
    text = latex.to_latex([table()])
    assert read(text) == [(4, [[1, 1, 2], *[[1, 1, 1, 1]] * 5])]  # header, three rows, one line of intervals
    assert r"\begin{tabular}{@{}lrrr@{}}" in text and r"\cmidrule(lr){2-2} \cmidrule(lr){3-4}" in text


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (r"\textbf{8.0}", r"\textbf{8.0", "closing environment"), (r"\textbf{8.0}", r"\textbf{8.0}}", "closing brace"),
        (r"\end{tabular}", "", "mismatching closing environment"), (r"$\downarrow$", r"$\downarrow", "Unexpected"),
        (" & 20.1", " 20.1", "row 4 has 3 columns of 4"), (" & 20.1", " & & 20.1", "row 4 has 5 columns of 4"),
        (r"\multicolumn{2}", r"\multicolumn{3}", "row 1 has 5 columns of 4"),
        ("{tab:prediction-2to10}", "", "label lacks an argument"),
        (r"31.0 & 0.9 \\", "31.0 & 0.9", "the last row has no end"), ("the ceiling", "5 % more", "a comment swallows"),
        (r"\_x", "_x", "not escaped"), (r"\#1", "#1", "not escaped"), ("ceiling", "ceil^2", "not escaped"),
        ("the ceiling", r"\input{x}", "unknown macro input"), ("the ceiling", r"\leq", "leq outside a formula"),
        ("the ceiling", "a & b", "no row of a table"), ("the ceiling", "naïve", "not ASCII"),
        (r"\begin{minipage}", r"\begin{minpage}", "mismatching"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_well_formed_is_refused(right, wrong, said):
    text = latex.to_latex([table()])
    assert right in text
    with pytest.raises(Malformed, match=said):
        read(text.replace(right, wrong, 1))


def test_the_tables_of_a_run_and_of_published_rows_are_well_formed():
    numbers = [record("fvd", 90.0), record("ssim", 0.7, interval_low=0.6, interval_high=0.8), record("psnr", 20.0)]
    numbers += [replace(one, protocol="lab2024", metric=f"{one.metric}-lab") for one in numbers]
    built = [*build(numbers), *build([replace(one, dataset="streets_2 & more") for one in numbers])]
    assert [found.num_columns for found in read(latex.to_latex(built))] == [5, 4, 7, 6]


def test_marks_arrows_and_intervals():
    text = latex.to_latex([table()])
    assert r"\textbf{8.0}" in text and r"\underline{9.0}\rlap{\textsuperscript{1}}" in text
    assert r"FVD $\downarrow$" in text and rf"{base.find('psnr').label} (dB) $\uparrow$" in text
    assert r"{\tiny 19.0 to 21.0}" in text
    assert r"\textendash{}\rlap{\textsuperscript{2}}" in text and r"\textsuperscript{2}\,not measured.\par" in text
    assert text.count(r"\midrule") == 2  # under the header, and under the published rows
    assert r"\usepackage" not in text and "Package needed: booktabs" in text


def test_labels_differ():
    same = [table(), table(), table(name="image_to_video-a b")]
    labels = re.findall(r"\\label{tab:(.*)}", latex.to_latex(same))
    assert labels == ["prediction-2to10", "prediction-2to10-2", "image-to-video-a-b"]


def test_a_table_without_ranks_or_intervals_has_no_legend():
    row = Row("a", "b", "model", (Cell("8.0", 8.0),))
    text = latex.to_latex([table(columns=(Column("c", "fvd"),), rows=[row])])
    assert "Bold" not in text and "Small type" not in text


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on PATH")
def test_pdflatex_sets_them(tmp_path):
    (tmp_path / "results.tex").write_text(latex.to_latex([table(), table(name="other")]), encoding="ascii")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{results}\\end{document}\n"
    )
    command = [PDFLATEX, "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")
