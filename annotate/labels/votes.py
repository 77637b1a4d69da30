"""Answers in force to preference questions, one vote a row: what reports, consensus and the leaderboard read."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from annotate.models import Campaign, Lease
from annotate.models.campaigns import Question

AT_ONCE = 5000
SIMULATED, PERSON, ADJUDICATOR = 0, 1, 2


class Vote(NamedTuple):
    """What one annotator answered to one pair. `rank`: of a pair's votes only those of the highest rank count."""

    annotator: int
    pair: int
    face: int
    split: str
    first: str  # source of the pair's first image: hq or a restorer's name
    second: str
    choice: str  # first, second or cant_tell
    criterion: str  # realism, detail, text or empty
    left_is_first: bool
    seconds: float | None
    is_repeat: bool
    at: datetime | None
    rank: int


FIELDS = (
    "annotator_id", "item__pair_id", "item__pair__face_id", "item__pair__face__split", "item__pair__first__source",
    "item__pair__second__source", "judgement__choice", "judgement__criterion", "judgement__left_is_first",
    "judgement__seconds", "is_repeat", "closed_at", "annotator__simulated", "item__campaign__adjudicates_id",
)  # fmt: skip


def votes(
    *,
    campaign: Campaign | None = None,
    splits: Iterable[str] = (),
    annotators: Iterable[int] = (),
    criteria: Iterable[str] = (),
    with_repeats: bool = False,
) -> Iterator[Vote]:
    """In the order of pairs. Empty filters let everything through. Studies' answers are no votes."""
    found = Lease.objects.filter(status=Lease.Status.ANSWERED, item__question=Question.PREFERENCE)
    if campaign:
        found = found.filter(item__campaign=campaign)
    if not with_repeats:
        found = found.filter(is_repeat=False)
    if splits := list(splits):
        found = found.filter(item__pair__face__split__in=splits)
    if annotators := list(annotators):
        found = found.filter(annotator__in=annotators)
    if criteria := list(criteria):
        found = found.filter(judgement__criterion__in=criteria)
    for row in found.order_by("item__pair_id", "pk").values_list(*FIELDS).iterator(chunk_size=AT_ONCE):
        *known, simulated, adjudicates = row
        yield Vote._make((*known, SIMULATED if simulated else PERSON if adjudicates is None else ADJUDICATOR))


def deciding(given: Iterable[Vote]) -> list[Vote]:
    """Of each pair the votes of the highest rank, as the view behind `Preference` counts them."""
    kept: list[Vote] = []
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in given:
        by_pair[vote.pair].append(vote)
    for of_pair in by_pair.values():
        highest = max(vote.rank for vote in of_pair)
        kept += [vote for vote in of_pair if vote.rank == highest]
    return kept


def newest_of_each(given: Iterable[Vote]) -> list[Vote]:
    """One vote an annotator and pair: who was asked about a pair in several campaigns counts once, with the last."""
    newest: dict[tuple[int, int], Vote] = {}
    for vote in given:
        known = newest.get((vote.annotator, vote.pair))
        if known is None or (vote.at and known.at and vote.at > known.at):
            newest[vote.annotator, vote.pair] = vote
    return list(newest.values())
