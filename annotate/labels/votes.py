"""Current answers to preference questions, and the one rule for which of them count.

A pair's votes are the answers of the highest rank (adjudicators, else people, else simulated annotators). Answers of
simulated annotators are left out unless the label policy counts them, or the caller asks for them. Each person has one
vote per pair, their newest answer, even when several campaigns asked. A mirrored repeat is never a vote, nor are an
answer to an attention check and the answers of an annotator who is excluded from their campaign. The database view
behind `Preference` (migration 0013) implements the same rule in SQL; `tests/annotate/test_votes.py` compares the two.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from annotate.common.sides import CANT_TELL, FIRST, SECOND
from annotate.models import Campaign, LabelPolicy, Lease, Membership
from annotate.models.campaigns import Question

ROWS_AT_ONCE = 5000
# What a vote counts for the first image; “can't tell” counts half.
FOR_FIRST = {FIRST: 1.0, SECOND: 0.0, CANT_TELL: 0.5}
SIMULATED, PERSON, ADJUDICATOR = 0, 1, 2


class Vote(NamedTuple):
    """One annotator's answer to one pair. rank: see the module docstring."""

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
    at: datetime | None  # when the pair was first answered
    rank: int
    given_at: datetime | None = None  # when this answer was given: later than `at` if it was changed
    key: UUID | None = None  # of the stored answer
    revision: int = 0
    cant_tell_kind: str = ""  # both_good, both_bad or empty
    note: str = ""


FIELDS = (
    "annotator_id", "item__pair_id", "item__pair__face_id", "item__pair__face__split", "item__pair__first__source",
    "item__pair__second__source", "judgement__choice", "judgement__criterion", "judgement__left_is_first",
    "judgement__seconds", "is_repeat", "closed_at", "annotator__simulated", "item__campaign__adjudicates_id",
    "judgement__created_at", "judgement__key", "judgement__revision", "judgement__cant_tell_kind", "judgement__note",
)  # fmt: skip


def counts_simulated() -> bool:
    """Check whether answers of simulated annotators count as labels on this site (`manage.py count_simulated`)."""
    return LabelPolicy.objects.filter(pk=1, count_simulated=True).exists()


def votes(
    *,
    campaign: Campaign | None = None,
    splits: Iterable[str] = (),
    annotators: Iterable[int] = (),
    criteria: Iterable[str] = (),
    with_repeats: bool = False,
    with_simulated: bool | None = None,
) -> Iterator[Vote]:
    """Yield votes ordered by pair. An empty filter matches everything. Answers in user studies are not votes.

    with_simulated: include the answers of simulated annotators; None: if they count as labels on this site.
    """
    answered = Lease.objects.answered() if with_repeats else Lease.objects.answered_first()
    found = _filtered(answered, campaign, splits, annotators, criteria)
    if not (counts_simulated() if with_simulated is None else with_simulated):
        found = found.filter(annotator__simulated=False)
    for row in found.order_by("item__pair_id", "pk").values_list(*FIELDS).iterator(chunk_size=ROWS_AT_ONCE):
        *known, simulated, adjudicates, given_at, key, revision, kind, note = row
        rank = SIMULATED if simulated else PERSON if adjudicates is None else ADJUDICATOR
        yield Vote._make((*known, rank, given_at, key, revision, kind, note))


def counting(leases: QuerySet[Lease]) -> QuerySet[Lease]:
    """Leave out attention checks, and the answers of annotators who are excluded from their campaign."""
    excluded = Membership.objects.filter(
        campaign=OuterRef("item__campaign"), annotator=OuterRef("annotator"), excluded_at__isnull=False
    )
    return leases.filter(~Exists(excluded), item__known_answer="")


def simulated_answers(
    *,
    campaign: Campaign | None = None,
    splits: Iterable[str] = (),
    annotators: Iterable[int] = (),
    criteria: Iterable[str] = (),
) -> int:
    """Count the answers of simulated annotators, for notices that they are left out. The filters are as for `votes`."""
    found = _filtered(Lease.objects.answered_first(), campaign, splits, annotators, criteria)
    return found.filter(annotator__simulated=True).count()


def answers_left_out() -> int:
    """Count the answers of simulated annotators if they do not count as labels on this site; else return 0."""
    return 0 if counts_simulated() else simulated_answers()


def _filtered(
    answered: QuerySet[Lease],
    campaign: Campaign | None,
    splits: Iterable[str],
    annotators: Iterable[int],
    criteria: Iterable[str],
) -> QuerySet[Lease]:
    found = counting(answered).filter(item__question=Question.PREFERENCE)
    if campaign:
        found = found.filter(item__campaign=campaign)
    if splits := list(splits):
        found = found.filter(item__pair__face__split__in=splits)
    if annotators := list(annotators):
        found = found.filter(annotator__in=annotators)
    if criteria := list(criteria):
        found = found.filter(judgement__criterion__in=criteria)
    return found


def counted(given: Iterable[Vote]) -> list[Vote]:
    """Return the votes that count, in the given order of pairs and annotators. `given` must not contain repeats."""
    highest: dict[int, int] = {}
    newest: dict[tuple[int, int, int], Vote] = {}
    for vote in given:
        highest[vote.pair] = max(vote.rank, highest.get(vote.pair, vote.rank))
        key = (vote.pair, vote.annotator, vote.rank)
        known = newest.get(key)
        if known is None or _is_newer(vote, known):
            newest[key] = vote
    return [vote for vote in newest.values() if vote.rank == highest[vote.pair]]


def _is_newer(vote: Vote, known: Vote) -> bool:
    return known.given_at is None or (vote.given_at is not None and vote.given_at >= known.given_at)


def share_for_first(given: Collection[Vote]) -> float:
    """Return the share of votes for the first image, or one half without votes."""
    return sum(FOR_FIRST[vote.choice] for vote in given) / len(given) if given else 0.5
