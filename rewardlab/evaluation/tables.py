"""Results of methods on the gold set as aligned text, CSV and Markdown: one table per stratum."""

from collections.abc import Callable, Sequence
from typing import TypedDict

from rewardlab import tables


class ResultRow(TypedDict):
    """One method on one stratum, as in a run's JSON. Shares are in [0, 1]; None means unknown or undefined."""

    name: str
    title: str
    group: str  # frm, start, baseline, predictor, metric or ablation
    stratum: str  # contested or anchored
    agreement: float | None
    low: float | None  # 95% interval of the agreement
    high: float | None
    pairs: int
    mcnemar_p: float | None  # against the FRM
    better: int | None  # pairs that this method gets right and the FRM gets wrong
    worse: int | None
    paper: float | None  # the paper's figure, measured on other data
    paper_where: str
    note: str


STRATA = {
    "contested": "Restorer against restorer, judged (contested)",
    "anchored": "Against the original, labels fixed (anchored)",
}


def share(value: float | None) -> str:
    """Format 0.714 as 71.4% and None as a dash."""
    return tables.NONE if value is None else f"{value:.1%}"


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals, <0.001 below that, and None as a dash."""
    return "<0.001" if value is not None and value < 0.001 else tables.decimals(value, 3)


def _interval(row: ResultRow) -> str:
    if row["low"] is None or row["high"] is None:
        return tables.NONE
    return f"{share(row['low'])} to {share(row['high'])}"


def _counts(row: ResultRow) -> str:
    return tables.NONE if row["better"] is None or row["worse"] is None else f"{row['better']}/{row['worse']}"


def _paper(row: ResultRow) -> str:
    if row["paper"] is None:
        return ""
    figure = f"{row['paper']:.2%}"
    return f"{figure} ({row['paper_where']})" if row["paper_where"] else figure


COLUMNS: dict[str, Callable[[ResultRow], tables.Cell]] = {
    "method": lambda row: row["title"],
    "agreement": lambda row: share(row["agreement"]),
    "95% interval": _interval,
    "pairs": lambda row: row["pairs"],
    "McNemar p against the FRM": lambda row: p_value(row["mcnemar_p"]),
    "better/worse": _counts,
    "paper (other data)": _paper,
}
ALIGN = "lrrrrrl"


def text(rows: Sequence[ResultRow]) -> str:
    """Format aligned columns for a terminal, with notes below each table."""
    parts = []
    for title, members in _strata(rows):
        notes = _notes(members)
        table = tables.text(list(COLUMNS), _cells(members), ALIGN)
        parts.append("\n".join([title, "", table, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n" if parts else ""


def markdown(rows: Sequence[ResultRow]) -> str:
    """Format a heading, a table and a list of notes for each stratum."""
    parts = []
    for title, members in _strata(rows):
        notes = [f"- {tables.markdown_escaped(note)}" for note in _notes(members)]
        table = tables.markdown(list(COLUMNS), _cells(members), ALIGN)
        parts.append("\n".join([f"### {title}", "", table, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n" if parts else ""


def to_csv(rows: Sequence[ResultRow]) -> str:
    """Format all strata as one CSV with a column per field and unrounded numbers; None is empty."""
    fields = list(ResultRow.__annotations__)
    return tables.to_csv(fields, ([row[field] for field in fields] for row in rows))  # type: ignore[literal-required]


def _notes(rows: Sequence[ResultRow]) -> list[str]:
    return [f"{row['title']}: {row['note']}" for row in rows if row["note"]]


def _cells(rows: Sequence[ResultRow]) -> list[list[tables.Cell]]:
    return [[cell(row) for cell in COLUMNS.values()] for row in rows]


def _strata(rows: Sequence[ResultRow]) -> list[tuple[str, list[ResultRow]]]:
    names = dict.fromkeys([*STRATA, *(row["stratum"] for row in rows)])
    groups = ((STRATA.get(name, name), [row for row in rows if row["stratum"] == name]) for name in names)
    return [(title, members) for title, members in groups if members]
