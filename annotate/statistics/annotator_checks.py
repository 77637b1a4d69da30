"""Summarise how annotators answer, and flag what a lead should check.

Almost every flag is a significance test against the answers expected of an attentive person. The p-values of all
annotators and flags of a campaign are corrected together (Holm), so false flags are as rare among twenty honest
annotators as for one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from django.utils.translation import gettext as _

from annotate.common.sides import CANT_TELL, side_of
from annotate.statistics.intervals import wilson
from annotate.statistics.significance import binomial_two_sided, fewer_than, holm

LEVEL = 0.05
TOO_FAST = 0.7  # seconds, too short to compare two faces; the desk warns below the same limit
TOO_FAST_SHARE, MIN_TIMED = 0.2, 20


class CheckedAnswer(NamedTuple):
    """One current answer. `first_question`: False for a study's second question, which keeps the sides of the first."""

    annotator: int
    item: int
    first_question: bool
    choice: str  # first, second or cant_tell
    left_is_first: bool
    seconds: float | None
    is_repeat: bool
    at: datetime

    @property
    def side(self) -> str | None:
        """left or right; None if the annotator could not tell."""
        return None if self.choice == CANT_TELL else side_of(self.choice, left_is_first=self.left_is_first)


@dataclass(frozen=True)
class Behaviour:
    """Summary of an annotator's answers. Only `repeats` counts mirrored repeats."""

    answered: int = 0
    cant_tell: int = 0
    left: int = 0
    sided: int = 0  # first questions answered with a side
    switches: int = 0  # changes of side between consecutive such answers
    timed: int = 0
    too_fast: int = 0
    median_seconds: float | None = None
    repeats: int = 0
    consistent: int = 0  # repeats with the same answer as the first time
    compared: int = 0  # items on which the other annotators have a majority
    with_others: int = 0  # of these, answered like that majority

    @property
    def left_share(self) -> float | None:
        return self.left / self.sided if self.sided else None

    @property
    def consistency(self) -> float | None:
        return self.consistent / self.repeats if self.repeats else None

    @property
    def consistency_interval(self) -> tuple[float, float] | None:
        return wilson(self.consistent, self.repeats) if self.repeats else None

    @property
    def agreement(self) -> float | None:
        return self.with_others / self.compared if self.compared else None


def behaviours(answers: Iterable[CheckedAnswer]) -> dict[int, Behaviour]:
    by_annotator: dict[int, list[CheckedAnswer]] = defaultdict(list)
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        by_annotator[answer.annotator].append(answer)
        if not answer.is_repeat:
            votes[answer.item][answer.choice] += 1
    return {annotator: _behaviour(own, votes) for annotator, own in by_annotator.items()}


def _behaviour(answers: list[CheckedAnswer], votes: dict[int, Counter[str]]) -> Behaviour:
    first_time = sorted((answer for answer in answers if not answer.is_repeat), key=lambda answer: answer.at)
    sides = [answer.side for answer in first_time if answer.first_question and answer.side]
    seconds = sorted(answer.seconds for answer in first_time if answer.seconds is not None)
    earlier = {answer.item: answer.choice for answer in first_time}
    repeats = [answer for answer in answers if answer.is_repeat and answer.item in earlier]
    compared = [(answer.choice, _majority(votes[answer.item], without=answer.choice)) for answer in first_time]
    return Behaviour(
        answered=len(first_time),
        cant_tell=sum(answer.choice == "cant_tell" for answer in first_time),
        left=sides.count("left"),
        sided=len(sides),
        switches=sum(one != other for one, other in pairwise(sides)),
        timed=len(seconds),
        too_fast=sum(value < TOO_FAST for value in seconds),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        repeats=len(repeats),
        consistent=sum(answer.choice == earlier[answer.item] for answer in repeats),
        compared=sum(majority is not None for _, majority in compared),
        with_others=sum(own == majority for own, majority in compared),
    )


def _majority(votes: Counter[str], *, without: str) -> str | None:
    """Return the majority choice of the other annotators, or None if there is none."""
    others = votes - Counter([without])
    ranked = others.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


@dataclass(frozen=True)
class Flag:
    """A pattern that a lead should check."""

    annotator: int
    words: str
    p: float | None = None  # corrected; None if the flag is a fixed limit, not a test


def flags(found: dict[int, Behaviour]) -> dict[int, list[Flag]]:
    """Return for each annotator the patterns that are unlikely for an attentive person."""
    tests = [test for annotator, behaviour in found.items() for test in _tests(annotator, behaviour, found)]
    found_flags: dict[int, list[Flag]] = defaultdict(list)
    for (annotator, words, _p), p in zip(tests, holm([test[2] for test in tests]), strict=True):
        if p < LEVEL:
            found_flags[annotator].append(Flag(annotator, words, p))
    for annotator, behaviour in found.items():
        if behaviour.timed >= MIN_TIMED and behaviour.too_fast > TOO_FAST_SHARE * behaviour.timed:
            words = _("%(n)s of %(total)s answers came in under %(seconds)s s: too fast to compare two images.") % {
                "n": behaviour.too_fast,
                "total": behaviour.timed,
                "seconds": TOO_FAST,
            }
            found_flags[annotator].append(Flag(annotator, words))
    return dict(found_flags)


def _tests(annotator: int, behaviour: Behaviour, found: dict[int, Behaviour]) -> Iterable[tuple[int, str, float]]:
    if behaviour.sided:
        words = _(
            "Chose the left image in %(n)s of %(total)s answers; the sides are drawn at random, so half are expected."
        ) % {"n": behaviour.left, "total": behaviour.sided}
        yield annotator, words, binomial_two_sided(behaviour.left, behaviour.sided)
    if behaviour.sided > 1:
        yield _switching(annotator, behaviour)
    others = [one for key, one in found.items() if key != annotator]
    theirs = (sum(one.consistent for one in others), sum(one.repeats for one in others))
    if behaviour.repeats and theirs[1]:
        words = _(
            "Gave the same answer to %(n)s of %(total)s mirrored repeats; the others to %(their_n)s of %(their_total)s."
        ) % {"n": behaviour.consistent, "total": behaviour.repeats, "their_n": theirs[0], "their_total": theirs[1]}
        yield annotator, words, fewer_than(behaviour.consistent, behaviour.repeats, *theirs)
    theirs = (sum(one.with_others for one in others), sum(one.compared for one in others))
    if behaviour.compared and theirs[1] and len(others) > 1:
        words = _(
            "Agreed with the majority of the others on %(n)s of %(total)s pairs; the others on %(their_n)s of "
            "%(their_total)s."
        ) % {"n": behaviour.with_others, "total": behaviour.compared, "their_n": theirs[0], "their_total": theirs[1]}
        yield annotator, words, fewer_than(behaviour.with_others, behaviour.compared, *theirs)


def _switching(annotator: int, behaviour: Behaviour) -> tuple[int, str, float]:
    """Test how often the annotator went from one side to the other."""
    steps = behaviour.sided - 1
    if behaviour.switches < steps / 2:
        words = _("Switched sides %(n)s times in %(steps)s, too rarely for sides drawn at random: half are expected.")
    else:
        words = _("Switched sides %(n)s times in %(steps)s, too often for sides drawn at random: half are expected.")
    words %= {"n": behaviour.switches, "steps": steps}
    return annotator, words, binomial_two_sided(behaviour.switches, steps)
