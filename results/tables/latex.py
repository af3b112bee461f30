r"""Tables as LaTeX, to be put into a paper by `\input`; booktabs is all that they need."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate

from results import wording
from results.tables.table import RANKED, Cell, Row, Table

PREAMBLE = r"""% One table for each task and protocol; put them into a document by \input{results}.
% Package needed: booktabs. References: \ref{tab:<task>-<protocol>}.
"""

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedblright{}", "*": "{*}", "[": "{[}", "]": "{]}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "‘": "`", "’": "'", "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}", "…": r"\ldots{}",
    "²": "$^2$", "³": "$^3$", "¹": "$^1$", "°": r"$^\circ$", "×": r"$\times$", "·": r"$\cdot$", "±": r"$\pm$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "∞": r"$\infty$", "→": r"$\rightarrow$", "←": r"$\leftarrow$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "µ": r"$\mu$", "§": r"\S{}", "©": r"\copyright{}",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_LIGATURE = re.compile(r"([-'`])(?=\1)|([?!])(?=`)")  # two characters that TeX would set as another one
_GREEK = re.compile(r"GREEK SMALL LETTER (ALPHA|BETA|GAMMA|DELTA|EPSILON|ETA|THETA|LAMDA|MU|PI|RHO|SIGMA|TAU|PHI|CHI)$")


def escape(text: str) -> str:
    """Any text as LaTeX that pdflatex sets as it reads; what its fonts do not have becomes its number, [U+4E2D].

    Brackets and asterisks are put into braces, since the end of a row takes them for an argument.
    """
    return _LIGATURE.sub(r"\g<0>{}", "".join(map(_character, " ".join(text.split()))))


def _character(one: str) -> str:
    if one in _SPECIAL:
        return _SPECIAL[one]
    if one.isascii() and one.isprintable():
        return one
    parts = unicodedata.normalize("NFD", one)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        letter = {"i": r"\i{}", "j": r"\j{}"}.get(parts[0], parts[0])
        return f"\\{_ACCENTS[parts[1]]}{{{letter}}}"
    greek = _GREEK.match(unicodedata.name(one, ""))
    if greek:
        return f"$\\{greek[1].lower().replace('lamda', 'lambda')}$"
    return f"{{[}}U+{ord(one):04X}{{]}}"


def to_latex(tables: Sequence[Table]) -> str:
    """All tables that have columns, each a float with its notes beneath it."""
    tables = [table for table in tables if table.columns]
    names = [re.sub(r"[^a-z0-9]+", "-", table.name.lower()).strip("-") for table in tables]
    labels = [  # a second table of one task and protocol needs another label
        name if names[:place].count(name) == 0 else f"{name}-{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]
    return "\n".join([PREAMBLE, *(_table(table, label) for table, label in zip(tables, labels, strict=True))])


def _table(table: Table, label: str) -> str:
    spans = [span for _, span in table.groups()]
    ends = [1 + end for end in accumulate(spans)]
    rules = " ".join(rf"\cmidrule(lr){{{end - span + 1}-{end}}}" for end, span in zip(ends, spans, strict=True))
    groups = [rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}" for name, span in table.groups()]
    heads = [f"{escape(column.name)} {escape(column.arrow)}" for column in table.columns]
    size, gap_pt = (r"\footnotesize", 5) if len(heads) < 6 else (r"\scriptsize", 2)  # a page is not wider
    lines = [
        r"\begin{table}[tbp]", r"\centering", rf"\caption{{{escape(table.title)}}}", rf"\label{{tab:{label}}}",
        size, rf"\setlength{{\tabcolsep}}{{{gap_pt}pt}}", rf"\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}",
        r"\toprule", _line(["", *groups]), rules, _line(["Method", *heads]), r"\midrule",
    ]  # fmt: skip
    for place, row in enumerate(table.rows):
        if place and (row.kind == "published") != (table.rows[place - 1].kind == "published"):
            lines.append(r"\midrule")
        lines += _row(row)
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", r"\begin{minipage}{\linewidth}", r"\scriptsize"]
    lines += [rf"{paragraph}\par" for paragraph in _notes(table)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def _row(row: Row) -> list[str]:
    """A line of numbers and, where there are any, a line of their intervals."""
    label = escape(row.label)
    name = rf"\textbf{{{label}}}" if row.kind == "model" else label
    numbers = _line([name + _mark(row.footnote), *map(_cell, row.cells)])
    if not any(cell.interval for cell in row.cells):
        return [numbers]
    intervals = [rf"{{\tiny {escape(cell.interval)}}}" if cell.interval else "" for cell in row.cells]
    return [numbers + "[-.6ex]", _line(["", *intervals]) + "[.3ex]"]  # an interval stands closer to its own number


def _cell(cell: Cell) -> str:
    number = escape(cell.text)
    number = {1: rf"\textbf{{{number}}}", 2: rf"\underline{{{number}}}"}.get(cell.rank or 0, number)
    # The mark takes no room, so that digits stand below digits.
    return number + (rf"\rlap{{{_mark(cell.footnote)}}}" if cell.footnote else "")


def _mark(footnote: int | None) -> str:
    return rf"\textsuperscript{{{footnote}}}" if footnote else ""


def _notes(table: Table) -> list[str]:
    """Paragraphs beneath a table."""
    legend = ["Small type: 95\\,\\% bootstrap interval over clips."] if table.has_intervals else []
    if table.is_ranked:
        legend.append(rf"\textbf{{Bold}}: best of its column; \underline{{underlined}}: second. {escape(RANKED)}")
    footnotes = [f"{_mark(number)}\\,{escape(text)}." for number, text in enumerate(table.footnotes, 1)]
    labels: dict[str, list[str]] = {}
    for row in table.rows:
        labels.setdefault(row.detail, []).append(row.label)
    rows = "; ".join(escape(f"{wording.listed(names)}: {detail}") for detail, names in labels.items())
    # In as few paragraphs as can be read: a float must fit on its page.
    paragraphs = [" ".join([*legend, *footnotes]), " ".join(map(escape, table.remarks)), f"{rows}."]
    return [paragraph for paragraph in paragraphs if paragraph]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
