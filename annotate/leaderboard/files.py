"""A leaderboard to take away: plain text, CSV and LaTeX. Nobody is named in them."""

from collections.abc import Callable, Iterator

from annotate.leaderboard.board import Leaderboard, Standing
from annotate.leaderboard.machines import Machine
from annotate.statistics.bradley_terry import Interval
from rewardlab import tables

FORMS = {"csv": "CSV", "tex": "LaTeX"}
CONTENT_TYPES = {"csv": "text/csv", "tex": "application/x-tex"}
RANKING = (
    *("Rank", "Restorer", "Strength", "Beats the average"),
    *("95%, by face", "Rank, by face", "95%, by annotator", "Rank, by annotator"),
)
HEADER = ("section", "item", "figure", "value", "low", "high", "count", "note")


def as_csv(board: Leaderboard) -> str:
    """A figure a row; what is undefined is empty, with the reason as note."""
    return tables.to_csv(HEADER, _rows(board))


def told(board: Leaderboard) -> str:
    """What the board rests on, in a sentence."""
    simulated = f"; {board.simulated:,} votes are SIMULATED" if board.simulated else ""
    return (
        f"{board.votes:,} votes on {board.pairs:,} pairs of {board.faces:,} faces by {board.annotators:,} annotators "
        f"({board.filters}){simulated}"
    )


def _rows(board: Leaderboard) -> Iterator[tuple]:
    yield ("board", board.filters, "votes", board.votes, None, None, board.pairs, board.why_empty or told(board))
    for row in board.standings:
        yield from _standing_rows(row)
        for machine in board.answering:
            rank = machine.ranks.get(row.title)
            yield ("rank by machine", row.title, machine.title, rank, None, None, machine.pairs, machine.note)
    for machine in board.machines:
        note = "; ".join(filter(None, (machine.caution, machine.note)))
        for figure, value in (("Kendall's tau-b", machine.kendall), ("Spearman's rho", machine.spearman)):
            yield ("rank correlation", machine.title, figure, value, None, None, machine.pairs, note)
    for section, triads in (("face", board.face_triads), ("annotator on a face", board.annotator_triads)):
        low, high = triads.interval or (None, None)
        yield ("circles of three", section, "share", triads.share, low, high, triads.threes, triads.words)
    for pair in board.sensitivities:
        yield ("votes to drop", f"{pair.upper} over {pair.lower}", "votes", pair.votes, None, None, pair.of, pair.words)
    for sentence in board.limitations:
        yield ("cannot be told", "", "", None, None, None, None, sentence)


def _standing_rows(row: Standing) -> Iterator[tuple]:
    judged = row.wins + row.losses + row.cant_tell
    for kind, spread in (("faces", row.by_face), ("annotators", row.by_annotator)):
        for figure, value, interval in (("strength", row.strength, spread.strength), ("rank", row.rank, spread.rank)):
            low, high = interval or (None, None)
            yield ("restorer", row.title, f"{figure}, drawn by {kind}", value, low, high, judged, spread.why)
    low, high = row.beats_average_interval or (None, None)
    yield ("restorer", row.title, "beats the average", row.beats_average, low, high, judged, row.by_face.why)
    for figure, count in (("wins", row.wins), ("losses", row.losses), ("can't tell", row.cant_tell)):
        yield ("restorer", row.title, figure, count, None, None, judged, "")


def as_latex(board: Leaderboard) -> str:
    """The ranking, and each machine's beside it."""
    if board.why_empty:
        return f"% {board.why_empty}\n"
    ranking = tables.latex(
        RANKING,
        [_ranking_cells(row) for row in board.standings],
        "rlrrrrrr",
        caption=f"Bradley-Terry strengths in log-odds. {told(board)}.",
        label="tab:leaderboard",
    )
    if not board.answering:
        return ranking
    titles = [row.title for row in board.standings]
    people = ("People", board.pairs, *(row.rank for row in board.standings), None, None)
    machines = tables.latex(
        ("", "Pairs", *titles, "Kendall", "Spearman"),
        [people, *(_machine_cells(machine, titles) for machine in board.answering)],
        caption=f"Ranks by machines on the same pairs. {told(board)}.",
        label="tab:leaderboard-machines",
    )
    return f"{ranking}\n{machines}"


def _ranking_cells(row: Standing) -> tuple[tables.Cell, ...]:
    return (
        *(row.rank, row.title, row.signed, f"{row.beats_average:.0%}"),
        *(row.by_face.words, _ranks(row.by_face), row.by_annotator.words, _ranks(row.by_annotator)),
    )


def _ranks(spread: Interval) -> str | None:
    return "{} to {}".format(*spread.rank) if spread.rank else None


def _machine_cells(machine: Machine, titles: list[str]) -> tuple[tables.Cell, ...]:
    correlations = (tables.decimals(value, 2) for value in (machine.kendall, machine.spearman))
    return (machine.title, machine.pairs, *(machine.ranks.get(title) for title in titles), *correlations)


def as_text(board: Leaderboard) -> str:
    """As the command prints it."""
    if board.why_empty:
        return board.why_empty
    lines = [f"SIMULATED: {board.simulated_words}"] if board.simulated else []
    lines += [f"{told(board)}.", *board.limitations, ""]
    lines.append(tables.text(RANKING, [_ranking_cells(row) for row in board.standings], "rlrrrrrr"))
    lines += board.without_interval
    lines += ["", "Machines on the same pairs, best first:"]
    for machine in board.answering:
        lines.append(
            f"  {machine.title} ({machine.pairs:,} of {machine.of:,} pairs): {_order(machine)}; {machine.words}"
        )
    lines += [f"  {machine.title}: no answers. {machine.note}" for machine in board.silent]
    lines += ["", f"By majorities on a face: {board.face_triads.words}."]
    lines += [f"By one annotator on a face: {board.annotator_triads.words}."]
    return "\n".join([*lines, *(pair.words for pair in board.sensitivities)])


def _order(machine: Machine) -> str:
    """The best first; those of one rank are joined by =."""
    by_rank: dict[int, list[str]] = {}
    for name, rank in machine.ranks.items():
        by_rank.setdefault(rank, []).append(name)
    return " > ".join(" = ".join(sorted(by_rank[rank])) for rank in sorted(by_rank))


WRITERS: dict[str, Callable[[Leaderboard], str]] = {"csv": as_csv, "tex": as_latex}
