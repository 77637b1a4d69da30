"""Results of methods on the gold set as aligned text, CSV and Markdown: one table a stratum."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict


class ResultRow(TypedDict):
    """One method on one stratum, as it stands in a run's JSON. Shares lie in [0, 1]; None is unknown or undefined."""

    name: str
    title: str
    group: str  # frm, start, baseline, predictor, metric or ablation
    stratum: str  # contested or anchored
    agreement: float | None
    low: float | None  # 95% interval of the agreement
    high: float | None
    pairs: int
    mcnemar_p: float | None  # against the FRM
    better: int | None  # pairs that this method has right and the FRM has not
    worse: int | None
    paper: float | None  # the paper's figure, measured on other data
    paper_where: str
    note: str


STRATA = {
    "contested": "Restorer against restorer, judged (contested)",
    "anchored": "Against the original, labels fixed (anchored)",
}
NONE = "–"


def share(value: float | None) -> str:
    """0.714 -> 71.4%; a dash for None."""
    return NONE if value is None else f"{value:.1%}"


def p_value(value: float | None) -> str:
    """Three decimals; below that <0.001; a dash for None."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(row: ResultRow) -> str:
    if row["low"] is None or row["high"] is None:
        return NONE
    return f"{share(row['low'])} to {share(row['high'])}"


def _counts(row: ResultRow) -> str:
    return NONE if row["better"] is None or row["worse"] is None else f"{row['better']}/{row['worse']}"


def _paper(row: ResultRow) -> str:
    if row["paper"] is None:
        return ""
    figure = f"{row['paper']:.2%}"
    return f"{figure} ({row['paper_where']})" if row["paper_where"] else figure


COLUMNS: dict[str, Callable[[ResultRow], str]] = {
    "method": lambda row: row["title"],
    "agreement": lambda row: share(row["agreement"]),
    "95% interval": _interval,
    "pairs": lambda row: str(row["pairs"]),
    "McNemar p against the FRM": lambda row: p_value(row["mcnemar_p"]),
    "better/worse": _counts,
    "paper (other data)": _paper,
}
LEFT = ("method", "paper (other data)")


def text(rows: Sequence[ResultRow]) -> str:
    """Aligned columns for the terminal, notes below their table."""
    parts = []
    for title, members in _strata(rows):
        cells = [list(COLUMNS), *([cell(row) for cell in COLUMNS.values()] for row in members)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
        lines = [_aligned(line, widths) for line in cells]
        rule = "  ".join("-" * width for width in widths)
        notes = [f"{row['title']}: {row['note']}" for row in members if row["note"]]
        parts.append("\n".join([title, "", lines[0], rule, *lines[1:], *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n" if parts else ""


def _aligned(line: list[str], widths: list[int]) -> str:
    cells = (
        cell.ljust(width) if name in LEFT else cell.rjust(width)
        for name, cell, width in zip(COLUMNS, line, widths, strict=True)
    )
    return "  ".join(cells).rstrip()


def markdown(rows: Sequence[ResultRow]) -> str:
    """A heading, a table and a list of notes for each stratum."""
    parts = []
    for title, members in _strata(rows):
        marks = ("---" if name in LEFT else "---:" for name in COLUMNS)
        lines = [_piped(COLUMNS), _piped(marks), *(_piped(cell(row) for cell in COLUMNS.values()) for row in members)]
        notes = [f"- {_escaped(row['title'])}: {_escaped(row['note'])}" for row in members if row["note"]]
        parts.append("\n".join([f"### {title}", "", *lines, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n" if parts else ""


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def to_csv(rows: Sequence[ResultRow]) -> str:
    """All strata in one file, a column for every field, numbers as they are; empty for None."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(ResultRow.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _strata(rows: Sequence[ResultRow]) -> list[tuple[str, list[ResultRow]]]:
    names = dict.fromkeys([*STRATA, *(row["stratum"] for row in rows)])
    groups = ((STRATA.get(name, name), [row for row in rows if row["stratum"] == name]) for name in names)
    return [(title, members) for title, members in groups if members]
