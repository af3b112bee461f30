"""Reads tables of LaTeX with a parser (pylatexenc), and refuses what TeX would refuse or set as something else.

The parser refuses braces, environments and formulas that do not close in order. Here come those that it lets pass:
rows with another number of columns than the table, characters that were not escaped, macros that nobody defines, that
lack an argument, or that stand outside a formula but belong into one, comments, and anything but ASCII.
"""

import re
from collections import namedtuple

from pylatexenc import latexwalker as nodes
from pylatexenc.macrospec import EnvironmentSpec, LatexContextDb, MacroSpec, SpecialsSpec

Tabular = namedtuple("Tabular", "num_columns rows")
"""How many columns a table declares, and of each row how many columns each cell spans."""
TEXT_MACROS = r"""
toprule midrule bottomrule cmidrule centering smallskip par linewidth tabcolsep tiny scriptsize footnotesize & % _ # $
{ } , textbackslash textasciitilde textasciicircum textless textgreater textbar textquotedblright textquotedblleft
textendash textemdash ldots S copyright ss ae AE oe OE o O l L i j
"""
FORMULA_MACROS = """
circ times cdot pm leq geq approx infty rightarrow leftarrow uparrow downarrow alpha beta gamma delta epsilon eta theta
lambda mu pi rho sigma tau phi chi
"""
ACCENTS = "` ' ^ ~ = u . \" r H v c"
PLAIN, IN_FORMULAS = TEXT_MACROS.split(), FORMULA_MACROS.split()
WITH_ARGUMENTS = {
    **dict.fromkeys(["caption", "label", "textbf", "underline", "textsuperscript", "rlap", *ACCENTS.split()], "{"),
    "setlength": "{{", "multicolumn": "{{{", "\\": "*[",
}  # fmt: skip
ENVIRONMENTS = {"table": "[", "tabular": "[{", "minipage": "[{"}


class Malformed(Exception):
    """What is wrong."""


def read(text):
    """The tables of a text that `\\input` takes, or Malformed."""
    if not text.isascii():
        raise Malformed("not ASCII")
    known = LatexContextDb()
    known.add_context_category(
        "ours",
        macros=[MacroSpec(name) for name in (*PLAIN, *IN_FORMULAS)]
        + [MacroSpec(name, arguments) for name, arguments in WITH_ARGUMENTS.items()],
        environments=[EnvironmentSpec(name, arguments) for name, arguments in ENVIRONMENTS.items()],
        specials=[SpecialsSpec("&"), SpecialsSpec("~")],
    )
    try:
        found, _, _ = nodes.LatexWalker(text, known, tolerant_parsing=False).get_latex_nodes()
    except nodes.LatexWalkerParseError as error:
        raise Malformed(str(error)) from None
    top = [node for node in found if not node.isNodeType(nodes.LatexCommentNode)]
    tables = []
    _check(top, (), tables)
    return tables


def _check(several, around, tables):
    """All nodes below some that stand in the environments `around`."""
    for node in several:
        kind = type(node).__name__
        if kind == "LatexCommentNode":
            raise Malformed(f"a comment swallows {node.comment!r}")
        if kind == "LatexCharsNode" and "formula" not in around and re.search(r"[_^#]", node.chars):
            raise Malformed(f"not escaped: {node.chars.strip()!r}")
        if kind == "LatexSpecialsNode" and node.specials_chars == "&" and around[-1:] != ("tabular",):
            raise Malformed("& where no row of a table is")
        if kind == "LatexMacroNode":
            _check_macro(node, around)
        inner = around
        if kind == "LatexEnvironmentNode":
            if node.environmentname not in ENVIRONMENTS:
                raise Malformed(f"unknown environment {node.environmentname}")
            inner = (*around, node.environmentname)
            if node.environmentname == "tabular":
                tables.append(_tabular(node))
        elif kind in ("LatexGroupNode", "LatexMathNode"):
            inner = (*around, "group" if kind == "LatexGroupNode" else "formula")
        arguments = [one for one in (getattr(node, "nodeargd", None) and node.nodeargd.argnlist) or [] if one]
        _check(arguments, (*around, "argument"), tables)
        _check(getattr(node, "nodelist", None) or [], inner, tables)


def _check_macro(node, around):
    name = node.macroname
    if name not in (*PLAIN, *IN_FORMULAS, *WITH_ARGUMENTS):
        raise Malformed(f"unknown macro {name}")
    if name in IN_FORMULAS and "formula" not in around:
        raise Malformed(f"{name} outside a formula")
    wanted = WITH_ARGUMENTS.get(name, "").count("{")
    if sum(isinstance(one, nodes.LatexGroupNode) for one in node.nodeargd.argnlist or []) < wanted:
        raise Malformed(f"{name} lacks an argument")


def _tabular(node):
    columns = re.sub(r"@\{[^}]*\}", "", node.nodeargd.argnlist[1].latex_verbatim()[1:-1])
    rows, row, width = [], [], None
    for one in node.nodelist:
        name = getattr(one, "macroname", "")
        if name == "multicolumn":
            width = int(one.nodeargd.argnlist[0].latex_verbatim().strip("{}"))
        elif name == "\\" or getattr(one, "specials_chars", "") == "&":
            row.append(width or 1)
            width = None
            if name == "\\":
                rows.append(row)
                row = []
    if row:
        raise Malformed("the last row has no end")
    for number, row in enumerate(rows, 1):
        if sum(row) != len(columns):
            raise Malformed(f"row {number} has {sum(row)} columns of {len(columns)}")
    return Tabular(len(columns), rows)
