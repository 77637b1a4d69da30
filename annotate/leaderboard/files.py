"""Leaderboard as plain text, CSV and LaTeX, without names of annotators."""

from collections.abc import Callable, Iterator

from annotate.leaderboard.board import Leaderboard, Standing
from annotate.leaderboard.scorers import Scorer
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
    """Write one figure per row. Undefined values are empty, with the reason as note."""
    return tables.to_csv(HEADER, _rows(board))


def summary(board: Leaderboard) -> str:
    """Summarise the votes behind the board in one phrase."""
    simulated = f"; {board.simulated:,} votes are SIMULATED" if board.simulated else ""
    left_out = f"; {board.left_out:,} answers of simulated annotators are left out" if board.left_out else ""
    return (
        f"{board.votes:,} votes on {board.pairs:,} pairs of {board.faces:,} faces by {board.annotators:,} annotators "
        f"({board.filters}){simulated}{left_out}"
    )


def voters(board: Leaderboard) -> str:
    """Say whose votes the board counts."""
    if board.by_programs:
        return "SIMULATED annotators"
    return "people" if board.by_people else "people and SIMULATED annotators"


def _capitalized(words: str) -> str:
    return words[0].upper() + words[1:]


def _rows(board: Leaderboard) -> Iterator[tuple]:
    yield ("board", board.filters, "votes", board.votes, None, None, board.pairs, board.why_empty or summary(board))
    for row in board.standings:
        yield from _standing_rows(row)
        for scorer in board.answering:
            rank = scorer.ranks.get(row.title)
            yield ("rank by scorer", row.title, scorer.title, rank, None, None, scorer.pairs, scorer.note)
    for scorer in board.scorers:
        note = "; ".join(filter(None, (scorer.caution, scorer.note)))
        for figure, value in (("Kendall's tau-b", scorer.kendall), ("Spearman's rho", scorer.spearman)):
            yield ("rank correlation", scorer.title, figure, value, None, None, scorer.pairs, note)
    for section, triads in (("face", board.face_triads), ("annotator on a face", board.annotator_triads)):
        low, high = triads.interval or (None, None)
        yield ("intransitive triads", section, "share", triads.share, low, high, triads.decided, triads.words)
    for pair in board.sensitivities:
        yield (
            "votes that decide the order",
            f"{pair.upper} over {pair.lower}",
            "votes",
            pair.votes,
            None,
            None,
            pair.of,
            pair.words,
        )
    for sentence in board.limitations:
        yield ("limitation", "", "", None, None, None, None, sentence)


def _standing_rows(row: Standing) -> Iterator[tuple]:
    judged = row.wins + row.losses + row.cant_tell
    for kind, found in (("face", row.by_face), ("annotator", row.by_annotator)):
        for figure, value, interval in (("strength", row.strength, found.strength), ("rank", row.rank, found.rank)):
            low, high = interval or (None, None)
            yield ("restorer", row.title, f"{figure}, interval by {kind}", value, low, high, judged, found.why)
    low, high = row.beats_average_interval or (None, None)
    yield ("restorer", row.title, "beats the average", row.beats_average, low, high, judged, row.by_face.why)
    for figure, count in (("wins", row.wins), ("losses", row.losses), ("can't tell", row.cant_tell)):
        yield ("restorer", row.title, figure, count, None, None, judged, "")


def as_latex(board: Leaderboard) -> str:
    """Write the ranking, and a table of ranks by scorers if there are any."""
    if board.why_empty:
        return f"% {board.why_empty}\n"
    ranking = tables.latex(
        RANKING,
        [_ranking_cells(row) for row in board.standings],
        "rlrrrrrr",
        caption=f"Bradley-Terry strengths in log-odds. {summary(board)}.",
        label="tab:leaderboard",
    )
    if not board.answering:
        return ranking
    titles = [row.title for row in board.standings]
    people = (_capitalized(voters(board)), board.pairs, *(row.rank for row in board.standings), None, None)
    scorers = tables.latex(
        ("", "Pairs", *titles, "Kendall", "Spearman"),
        [people, *(_scorer_cells(scorer, titles) for scorer in board.answering)],
        caption=f"Ranks by scorers on the same pairs. {summary(board)}.",
        label="tab:leaderboard-scorers",
    )
    return f"{ranking}\n{scorers}"


def _ranking_cells(row: Standing) -> tuple[tables.Cell, ...]:
    return (
        *(row.rank, row.title, row.signed, f"{row.beats_average:.0%}"),
        *(row.by_face.words, _ranks(row.by_face), row.by_annotator.words, _ranks(row.by_annotator)),
    )


def _ranks(found: Interval) -> str | None:
    return "{} to {}".format(*found.rank) if found.rank else None


def _scorer_cells(scorer: Scorer, titles: list[str]) -> tuple[tables.Cell, ...]:
    correlations = (tables.decimals(value, 2) for value in (scorer.kendall, scorer.spearman))
    return (scorer.title, scorer.pairs, *(scorer.ranks.get(title) for title in titles), *correlations)


def as_text(board: Leaderboard) -> str:
    """Format the board for the command line."""
    if board.why_empty:
        left_out = f" {board.left_out:,} answers of simulated annotators are left out." if board.left_out else ""
        return f"{board.why_empty}{left_out}"
    lines = [f"SIMULATED: {board.simulated_notice}"] if board.simulated else []
    lines += [f"{summary(board)}.", *board.limitations, ""]
    lines.append(tables.text(RANKING, [_ranking_cells(row) for row in board.standings], "rlrrrrrr"))
    lines += board.missing_intervals
    lines += ["", "Restorers ranked by scorers on the same pairs, best first:"]
    for scorer in board.answering:
        lines.append(
            f"  {scorer.title} ({scorer.pairs:,} of {scorer.of:,} pairs): {_order(scorer)}; {scorer.correlation_text}"
        )
    lines += [f"  {scorer.title}: no answers. {scorer.note}" for scorer in board.without_answers]
    lines += ["", f"Majority of votes on a face: {board.face_triads.words}."]
    lines += [f"One annotator on a face: {board.annotator_triads.words}."]
    return "\n".join([*lines, *(pair.words for pair in board.sensitivities)])


def _order(scorer: Scorer) -> str:
    """Order restorers from best to worst; equal ranks are joined by “=”."""
    by_rank: dict[int, list[str]] = {}
    for name, rank in scorer.ranks.items():
        by_rank.setdefault(rank, []).append(name)
    return " > ".join(" = ".join(sorted(by_rank[rank])) for rank in sorted(by_rank))


WRITERS: dict[str, Callable[[Leaderboard], str]] = {"csv": as_csv, "tex": as_latex}
