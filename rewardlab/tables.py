"""Tables as plain text, Markdown, LaTeX and CSV.

A cell is text, a number or None, which is shown as a dash (empty in CSV). Text is escaped for the table's format. Pass
cells and heads that are already in that format as `Raw`.
"""

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from tabulate import DataRow, Line, TableFormat, tabulate

Cell = str | int | float | None

NONE = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "†": r"\dag{}", "–": "--",
    "−": r"$-$", "≈": r"$\approx$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "“": "``", "”": "''",
}  # fmt: skip
# Character pairs that TeX replaces by one character, such as a dash.
LIGATURES = ("--", "''", "``", ",,", "?`", "!`")
# Characters that start a formula in a spreadsheet, including full-width signs.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
ALIGNMENTS = {"l": "left", "c": "center", "r": "right"}


class Raw(str):
    """Text that is already in the format of its table and is not escaped."""

    __slots__ = ()


def text(heads: Sequence[str], rows: Iterable[Sequence[Cell]], align: str = "", *, head_width: int = 0) -> str:
    """Format aligned columns for a terminal.

    align: one letter (l, c or r) per column; by default the first column is aligned left, the others right.
    head_width: heads longer than this are wrapped between words; 0 means never.
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
    """Format comma-separated values. Numbers are not rounded; for text see `spreadsheet_safe`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in (heads, *rows):
        writer.writerow(map(spreadsheet_safe, row))
    return file.getvalue()


def spreadsheet_safe(cell: Cell) -> Cell:
    """Prefix text that a spreadsheet would run as a formula with an apostrophe. Numbers are kept, even as text."""
    if isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def decimals(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Format a rounded number with a minus sign instead of a hyphen and no negative zero; None is a dash."""
    if value is None:
        return NONE
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def joined_keys(texts: Mapping[str, str]) -> dict[str, str]:
    """Join the keys that have the same text: {"a": t, "b": t} becomes {"a, b": t}."""
    keys: dict[str, list[str]] = {}
    for key, text in texts.items():
        keys.setdefault(text, []).append(key)
    return {", ".join(found): text for text, found in keys.items()}


def plain(words: str) -> str:
    """Return the text on one line, without control characters, which a terminal would interpret."""
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
    r"""Protect a [ or * at the start of a row: LaTeX would read it as an option of the preceding command."""
    if isinstance(cell, str) and plain(cell).startswith(("[", "*")):
        return Raw("{}" + _escaped(cell, latex_escaped))
    return cell
