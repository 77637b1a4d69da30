"""Tables as plain text, Markdown, LaTeX and CSV: column heads and rows in, a string out.

A cell is text, a number or None, which is shown as a dash and is empty in CSV. Text is escaped for the format of the
table. A cell or a head that is in this format already is given as `Raw`.
"""

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

from tabulate import DataRow, Line, TableFormat, tabulate

Cell = str | int | float | None

NONE = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "†": r"\dag{}", "–": "--",
    "−": r"$-$", "≈": r"$\approx$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "“": "``", "”": "''",
}  # fmt: skip
# Neighbours that TeX sets as one other character, such as a long dash.
LIGATURES = ("--", "''", "``", ",,", "?`", "!`")
# What a spreadsheet takes for the beginning of a formula, full-width signs included.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
ALIGNMENTS = {"l": "left", "c": "center", "r": "right"}


class Raw(str):
    """Text in the format of its table already: it is not escaped."""

    __slots__ = ()


def text(heads: Sequence[str], rows: Iterable[Sequence[Cell]], align: str = "", *, head_width: int = 0) -> str:
    """Format aligned columns for a terminal.

    align: a letter of l, c and r for each column; by default the first is aligned left, the others right.
    head_width: heads longer than this are wrapped between words; 0 is never.
    """
    if head_width:
        lines = [textwrap.wrap(plain(head), head_width, break_long_words=False) for head in heads]
        height = max(map(len, lines), default=0)
        heads = [Raw("\n".join([""] * (height - len(each)) + each)) for each in lines]
    return _tabulated(heads, rows, align, plain, "simple")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Cell]], align: str = "") -> str:
    """Format a table in GitHub's Markdown. align: as for `text`."""
    return _tabulated(heads, rows, align, markdown_escaped, "pipe")


def latex(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], align: str = "", *, caption: str = "", label: str = ""
) -> str:
    r"""Format a table environment, which needs \usepackage{booktabs}. align: as for `text`."""
    align = align or _default_align(heads)
    booktabs = TableFormat(
        lineabove=Line(f"\\begin{{tabular}}{{{align}}}\n\\toprule", "", "", ""),
        linebelowheader=Line(r"\midrule", "", "", ""),
        linebetweenrows=None,
        linebelow=Line("\\bottomrule\n\\end{tabular}", "", "", ""),
        headerrow=DataRow("", " & ", r" \\"),
        datarow=DataRow("", " & ", r" \\"),
        padding=0,
        with_header_hide=None,
    )
    header, *body = (
        [_row_start(cell) if not column else cell for column, cell in enumerate(row)] for row in (heads, *rows)
    )
    parts = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_escaped(caption, latex_escaped)}}}"] if caption else []),
        *([rf"\label{{{re.sub(r'[^A-Za-z0-9:.-]', '-', label)}}}"] if label else []),
        _tabulated(header, body, align, latex_escaped, booktabs),
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def to_csv(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Format comma-separated values. Numbers stay as they are; see `spreadsheet_safe`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in (heads, *rows):
        writer.writerow(map(spreadsheet_safe, row))
    return file.getvalue()


def spreadsheet_safe(cell: Cell) -> Cell:
    """Put an apostrophe before text that a spreadsheet would run as a formula. Numbers stay, as text too."""
    if isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def decimals(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Round for a reader, with a minus sign instead of a hyphen and no negative zero; a dash for None."""
    if value is None:
        return NONE
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def plain(words: str) -> str:
    """Return one line, without control characters, which a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())


def markdown_escaped(words: str) -> str:
    escaped = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", plain(words))
    return re.sub(r"&(?=[#\w\\]+;)", "&amp;", escaped).replace("<", "&lt;")


def latex_escaped(words: str) -> str:
    escaped = ""
    for letter in plain(words):
        piece = LATEX.get(letter, letter)
        escaped += ("{}" if escaped[-1:] + piece[:1] in LIGATURES else "") + piece
    return escaped


def _tabulated(
    heads: Sequence[Cell],
    rows: Iterable[Sequence[Cell]],
    align: str,
    escape: Callable[[str], str],
    style: str | TableFormat,
) -> str:
    table: str = tabulate(
        [[_escaped(cell, escape) for cell in row] for row in rows],
        headers=[_escaped(head, escape) for head in heads],
        tablefmt=style,
        colalign=[ALIGNMENTS[letter] for letter in align or _default_align(heads)],
        disable_numparse=True,
        preserve_whitespace=True,
    )
    return table


def _escaped(cell: Cell, escape: Callable[[str], str]) -> str:
    return str(cell) if isinstance(cell, Raw) else escape(NONE if cell is None else str(cell))


def _default_align(heads: Sequence[Cell]) -> str:
    return "l" + "r" * (len(heads) - 1)


def _row_start(cell: Cell) -> Cell:
    r"""Protect a [ or * at the start of a row: the command before it would take it for its option."""
    if isinstance(cell, str) and plain(cell).startswith(("[", "*")):
        return Raw("{}" + _escaped(cell, latex_escaped))
    return cell
