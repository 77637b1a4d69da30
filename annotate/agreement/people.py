"""People's part of an agreement report: agreement between annotators, and each annotator's answers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.utils.translation import gettext, gettext_noop
from numpy.typing import NDArray

from annotate.common.sides import CANT_TELL, LEFT, side_of
from annotate.common.stored_text import translated
from annotate.labels.vote_arrays import answers_of
from annotate.labels.votes import Vote
from annotate.models import Candidate
from annotate.models.campaigns import Criterion
from annotate.models.faces import photograph_last
from annotate.statistics import agreement_coefficients
from annotate.statistics.annotator_checks import CheckedAnswer, behaviours
from annotate.statistics.answer_arrays import Answers
from annotate.statistics.bootstrap import Estimate, few_faces
from annotate.statistics.dawid_skene import dawid_skene
from annotate.statistics.intervals import wilson
from annotate.statistics.significance import binomial_two_sided, holm
from rewardlab.bootstrap import bootstrap_interval

MAX_PARTS, MIN_PAIRS_PER_PART = 8, 10  # of the agreement over time
NO_RULE = gettext_noop("no rule")


@dataclass(frozen=True)
class NamedEstimate:
    """An estimate with its title; `css` is its class in plots."""

    title: str
    estimate: Estimate
    css: str = ""


@dataclass(frozen=True)
class AnnotatorPair:
    """Agreement of two annotators on the pairs that both answered."""

    one: str
    other: str
    share: Estimate
    kappa: Estimate


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator. Counts are of first answers; `retested` are mirrored repeats."""

    name: str
    simulated: bool
    answers: int
    cant_tell: int
    left: int
    sided: int
    left_p: float | None  # p-value against a fair coin, Holm-corrected over annotators
    retested: int
    same_again: int
    accuracy: Estimate  # Dawid-Skene

    @property
    def left_share(self) -> float | None:
        return self.left / self.sided if self.sided else None

    @property
    def retest(self) -> tuple[float, float, float] | None:
        """Share of equal answers with Wilson's interval."""
        return (self.same_again / self.retested, *wilson(self.same_again, self.retested)) if self.retested else None

    @property
    def left_text(self) -> str:
        if self.left_share is None:
            return "–"
        return gettext("%(share)s of %(n)s") % {"share": f"{round(100 * self.left_share)}%", "n": f"{self.sided:,}"}

    @property
    def retest_text(self) -> str:
        if self.retest is None:
            return gettext("no repeats")
        share = Estimate(*self.retest, self.retested).percent_text
        return gettext("%(share)s of %(n)s") % {"share": share, "n": self.retested}


@dataclass(frozen=True)
class Confusion:
    """How often, for the same choice on the same pair, one annotator named the row's rule and another the column's."""

    labels: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class PeopleReport:
    overall: list[NamedEstimate]
    strata: list[NamedEstimate]
    rules: list[NamedEstimate]
    restorer_pairs: list[NamedEstimate]
    over_time: list[tuple[datetime, NamedEstimate]]
    annotator_pairs: list[AnnotatorPair]
    annotators: list[AnnotatorRow]
    rules_confused: Confusion
    retest: NamedEstimate
    left: NamedEstimate
    left_p: float | None


def people_report(given: Sequence[Vote], names: Mapping[int, str], simulated: set[int]) -> PeopleReport:
    """Compute the report from all current answers of a campaign, including mirrored repeats.

    names: display names of annotators, by id. simulated: ids of simulated annotators.
    """
    first_time = [vote for vote in given if not vote.is_repeat]
    answers = answers_of(first_time)
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in first_time:
        by_pair[vote.pair].append(vote)

    def grouped(label: Callable[[list[Vote]], str]) -> list[NamedEstimate]:
        of_pair = {pair: label(of_this) for pair, of_this in by_pair.items()}
        labels = [of_pair[pair] for pair in answers.pairs.tolist()]
        found = agreement_coefficients.by_group(answers, labels, agreement_coefficients.share)
        return [NamedEstimate(title_of(name), found[name]) for name in sorted(found, key=_order)]

    accuracy = dawid_skene(answers).accuracy
    sides = _sides(first_time)
    return PeopleReport(
        overall=[
            NamedEstimate(gettext("Two annotators give the same answer"), agreement_coefficients.share(answers)),
            NamedEstimate(
                gettext("Krippendorff's alpha (nominal)"), agreement_coefficients.krippendorff_alpha(answers)
            ),
            NamedEstimate(gettext("Fleiss' kappa"), agreement_coefficients.fleiss_kappa(answers)),
        ],
        strata=grouped(_stratum),
        rules=grouped(rule_of),
        restorer_pairs=grouped(restorer_pair_of),
        over_time=_over_time(answers, by_pair),
        annotator_pairs=[
            AnnotatorPair(names[one], names[other], found.share, found.kappa)
            for (one, other), found in agreement_coefficients.cohen_kappas(answers).items()
        ],
        annotators=_annotators(given, names, simulated, accuracy),
        rules_confused=_rules_confused(by_pair),
        retest=NamedEstimate(gettext("Same answer to a mirrored repeat"), _retest(given)),
        left=NamedEstimate(gettext("Left image chosen"), _share(*_as_arrays(sides))),
        left_p=binomial_two_sided(sum(left for _, left in sides), len(sides)) if sides else None,
    )


def _order(name: str) -> tuple[int, str]:
    known = [*Criterion.values, NO_RULE]
    return (known.index(name) if name in known else -1), name


def _stratum(votes: list[Vote]) -> str:
    if Candidate.HQ in (votes[0].first, votes[0].second):
        return gettext("against the photograph (anchored)")
    return gettext("contested")


def rule_of(votes: list[Vote]) -> str:
    """Return the rule that most annotators of a pair named."""
    named = Counter(vote.criterion for vote in votes if vote.criterion)
    return max(sorted(named), key=named.__getitem__) if named else NO_RULE


def title_of(label: str) -> str:
    """Return the title of a rule, in the reader's language; other labels are titles already."""
    return gettext(NO_RULE) if label == NO_RULE else translated(label) if label in Criterion.values else label


def restorer_pair_of(votes: list[Vote]) -> str:
    """Return the names of a pair's two restorers, the photograph last."""
    names = photograph_last(votes[0].first, votes[0].second)
    one, other = (gettext("the photograph") if name == Candidate.HQ else name for name in names)
    return gettext("%(one)s and %(other)s") % {"one": one, "other": other}


def _over_time(answers: Answers, by_pair: Mapping[int, list[Vote]]) -> list[tuple[datetime, NamedEstimate]]:
    """Compute agreement in equal parts of the pairs, in the order of their last answers."""
    ended = {pair: max(vote.at for vote in votes if vote.at) for pair, votes in by_pair.items() if len(votes) > 1}
    ordered = sorted(ended, key=lambda pair: (ended[pair], pair))
    count = min(MAX_PARTS, max(1, len(ordered) // MIN_PAIRS_PER_PART))
    parts = [part for part in np.array_split(np.array(ordered, np.int64), count) if len(part)]
    lines = []
    for number, part in enumerate(parts, start=1):
        chosen = answers.where(np.isin(answers.pairs, part))
        lines.append(
            (
                ended[int(part[-1])],
                NamedEstimate(
                    gettext("part %(n)s of %(total)s") % {"n": number, "total": len(parts)},
                    agreement_coefficients.share(chosen),
                ),
            )
        )
    return lines


def _sides(votes: Sequence[Vote]) -> list[tuple[int, bool]]:
    """Return the face of each decided answer, and whether the left image was chosen."""
    return [(vote.face, chose_left(vote)) for vote in votes if vote.choice != CANT_TELL]


def chose_left(vote: Vote) -> bool:
    return side_of(vote.choice, left_is_first=vote.left_is_first) == LEFT


def _as_arrays(rows: Sequence[tuple[int, bool]]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    table = np.array(rows, np.int64).reshape(-1, 2)
    return table[:, 1].astype(bool), table[:, 0]


def _share(right: NDArray[np.bool_], faces: NDArray[np.int64]) -> Estimate:
    """Estimate a share with its interval over faces."""
    if not len(right):
        return Estimate(None, None, None, 0, gettext("no such answers"))
    low, high = bootstrap_interval(right, faces, samples=2000, seed=0)
    why = few_faces() if low is None else ""
    return Estimate(float(right.mean()), low, high, len(right), why)


def _retests(given: Sequence[Vote]) -> list[tuple[Vote, bool]]:
    """Return each mirrored repeat whose first answer still counts, and whether both answers are equal."""
    before = {(vote.annotator, vote.pair): vote.choice for vote in given if not vote.is_repeat}
    repeats = [vote for vote in given if vote.is_repeat and (vote.annotator, vote.pair) in before]
    return [(vote, vote.choice == before[vote.annotator, vote.pair]) for vote in repeats]


def _retest(given: Sequence[Vote]) -> Estimate:
    found = _share(*_as_arrays([(vote.face, same) for vote, same in _retests(given)]))
    if found.value is None:
        why = gettext("no mirrored repeat was answered: they are drawn by the campaign's share of answers to repeat")
        return Estimate(None, None, None, 0, why)
    return found


def _annotators(
    given: Sequence[Vote], names: Mapping[int, str], simulated: set[int], accuracy: Mapping[int, Estimate]
) -> list[AnnotatorRow]:
    own = behaviours(map(_checked, given))
    people = sorted((person for person, behaviour in own.items() if behaviour.answered), key=names.__getitem__)
    sided = [own[person] for person in people if own[person].sided]
    corrected = iter(holm([binomial_two_sided(behaviour.left, behaviour.sided) for behaviour in sided]))
    return [
        AnnotatorRow(
            name=names[person],
            simulated=person in simulated,
            answers=own[person].answered,
            cant_tell=own[person].cant_tell,
            left=own[person].left,
            sided=own[person].sided,
            left_p=next(corrected) if own[person].sided else None,
            retested=own[person].repeats,
            same_again=own[person].consistent,
            accuracy=accuracy[person],
        )
        for person in people
    ]


def _checked(vote: Vote) -> CheckedAnswer:
    if vote.at is None:
        raise AssertionError("An answer has no time.")
    return CheckedAnswer(
        vote.annotator, vote.pair, True, vote.choice, vote.left_is_first, vote.seconds, vote.is_repeat, vote.at
    )


def _rules_confused(by_pair: Mapping[int, list[Vote]]) -> Confusion:
    labels = list(Criterion.values)
    counts = [[0] * len(labels) for _ in labels]
    for votes in by_pair.values():
        named = Counter((vote.choice, vote.criterion) for vote in votes if vote.criterion)
        for (choice, rule), count in named.items():
            for (other_choice, other_rule), other in named.items():
                if choice == other_choice:
                    pairs = count * (other - 1) if rule == other_rule else count * other
                    counts[labels.index(rule)][labels.index(other_rule)] += pairs
    return Confusion([str(Criterion(label).label) for label in labels], counts)
