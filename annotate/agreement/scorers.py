"""Scorers' part of an agreement report: agreement of scorers with people on the same pairs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

from annotate.agreement.people import restorer_pair_of, rule_of, title_of
from annotate.common.sides import FIRST, SECOND
from annotate.common.stored_text import translated
from annotate.labels.votes import Vote
from annotate.models import GoldSet, Pair, ScorerAnswers
from annotate.runs import restorer_history, run_folders
from annotate.runs.frm_evaluation import CalibrationCurve, CalibrationPoint, MethodRow, Share
from annotate.runs.run_folders import STRATA, pairs_title
from rewardlab import paper
from rewardlab.evaluation import gold_agreement
from rewardlab.manifest import PreferenceRow

Margins = NDArray[np.float64]

MAX_DISPUTED = 6
SAMPLES, STRATUM_SAMPLES = 2000, 500  # bootstrap draws; fewer for the many small strata
GROUPS = list(ScorerAnswers.Group.values)


@dataclass(frozen=True)
class Scorer:
    """Results of one scorer on the judged pairs of the gold set."""

    answers: ScorerAnswers
    rows: list[MethodRow]  # by stratum
    with_one: dict[str, Share]  # stratum -> agreement with single annotators, including tied pairs
    strata: list[tuple[str, Share | None]]
    calibration: CalibrationCurve | None

    @property
    def lines(self) -> list[tuple[MethodRow, Share | None]]:
        return [(row, self.with_one.get(row.stratum)) for row in self.rows]

    @property
    def title(self) -> str:
        return translated(self.answers.title)

    @property
    def note(self) -> str:
        return translated(self.answers.reason or self.answers.provenance.get("note", ""))


@dataclass(frozen=True)
class Dispute:
    """A pair on which people are divided, or on which people and a scorer disagree."""

    pair: Pair
    votes: tuple[int, int, int]  # for the first, for the second, can't tell
    scorer: str = ""
    preferred: str = ""  # what the scorer prefers: first or second
    p: float | None = None

    @property
    def summary(self) -> str:
        first, second, undecided = self.votes
        counts = {"first": first, "second": second, "undecided": undecided}
        if not undecided:
            return gettext("%(first)s chose the first image, %(second)s the second") % counts
        return gettext("%(first)s chose the first image, %(second)s the second, %(undecided)s could not tell") % counts


@dataclass(frozen=True)
class Ceiling:
    """Human agreement on a stratum: of two annotators, and of one with the majority of the others."""

    stratum: str
    two_agree: Share | None
    one_against_rest: Share | None

    @property
    def words(self) -> str:
        pairs = pairs_title(self.stratum)
        if self.two_agree is None:
            return gettext("%(pairs)s: no pair was answered by two annotators") % {"pairs": pairs}
        shares = {"pairs": pairs, "two": str(self.two_agree), "one": str(self.one_against_rest)}
        if self.one_against_rest is None:
            return gettext("%(pairs)s: two annotators agree on %(two)s") % shares
        return (
            gettext(
                "%(pairs)s: two annotators agree on %(two)s; one annotator agrees with the majority of the others on "
                "%(one)s"
            )
            % shares
        )


@dataclass(frozen=True)
class ScorersReport:
    scorers: list[Scorer]
    reference: str  # the scorer that McNemar's test compares the others with
    ceilings: list[Ceiling]
    strata: list[str]
    disputed_by_people: list[Dispute]
    disputed_by_scorer: list[Dispute]
    tied: int
    decided: int

    @property
    def answering(self) -> list[Scorer]:
        return [scorer for scorer in self.scorers if scorer.rows]

    @property
    def notes(self) -> dict[str, list[str]]:
        """Caution about anchored pairs -> scorers that it applies to."""
        found: dict[str, list[str]] = {}
        for scorer in self.answering:
            if note := scorer.answers.provenance.get("note"):
                found.setdefault(translated(note), []).append(scorer.title)
        return found


@dataclass(frozen=True)
class ComparisonSet:
    """The judged pairs. decided (judged,): whether a pair has a majority. Other arrays cover the decided pairs."""

    judged: list[PreferenceRow]
    decided: NDArray[np.bool_]
    strata: dict[str, NDArray[np.bool_]]

    @property
    def rows(self) -> list[PreferenceRow]:
        return [row for row, kept in zip(self.judged, self.decided.tolist(), strict=True) if kept]

    def of(self, stratum: str) -> list[PreferenceRow]:
        """Select the judged pairs of the stratum, including tied ones."""
        return [row for row in self.judged if row.is_anchored == (stratum == "anchored")]

    @property
    def anchored(self) -> NDArray[np.bool_]:
        return np.array([row.is_anchored for row in self.rows], bool)

    @property
    def faces(self) -> NDArray[np.int64]:
        return np.array([row.face for row in self.rows], np.int64)

    def agreement(self, margins: Margins, mask: NDArray[np.bool_], samples: int) -> gold_agreement.Agreement:
        """Compute the agreement on the pairs of the mask. margins (decided,), mask (decided,)."""
        first_wins = np.array([row.p_first > 0.5 for row in self.rows], bool)
        return gold_agreement.agreement(margins[mask], first_wins[mask], self.faces[mask], samples=samples)

    def share(self, margins: Margins, mask: NDArray[np.bool_], samples: int) -> Share:
        return _share(self.agreement(margins, mask, samples))


def scorers_report(gold_set: GoldSet, pairs: Sequence[PreferenceRow], given: Iterable[Vote]) -> ScorersReport:
    """Compute the report. pairs: of the gold set, with people's votes."""
    compared = _comparison_set([row for row in pairs if sum(row.votes)], given)
    found = sorted(gold_set.scorer_answers.all(), key=_order)
    margins = {scorer.name: own for scorer in found if (own := _margins(scorer, compared.judged)) is not None}
    reference = _reference(found, margins)
    return ScorersReport(
        scorers=[_scorer(scorer, margins, compared, reference) for scorer in found],
        reference=next((translated(scorer.title) for scorer in found if scorer.name == reference), ""),
        ceilings=[_ceiling(stratum, compared.of(stratum)) for stratum in STRATA if compared.of(stratum)],
        strata=list(compared.strata),
        disputed_by_people=_most_divided(compared.judged),
        disputed_by_scorer=_most_wrong(compared, margins, next((m for m in found if m.name == reference), None)),
        tied=int((~compared.decided).sum()),
        decided=int(compared.decided.sum()),
    )


def _ceiling(stratum: str, rows: Sequence[PreferenceRow]) -> Ceiling:
    people = gold_agreement.people(rows)
    if people is None:
        return Ceiling(stratum, None, None)
    rest = _share(people.majority) if len(people.majority) else None
    return Ceiling(stratum, _share(people.pairs_of_answers), rest)


def _order(scorer: ScorerAnswers) -> tuple[int, str]:
    """Sort reward models first, baselines last."""
    return -GROUPS.index(scorer.group), scorer.title


def _comparison_set(judged: list[PreferenceRow], given: Iterable[Vote]) -> ComparisonSet:
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in given:
        if not vote.is_repeat:
            by_pair[vote.pair].append(vote)
    decided = np.array([row.p_first != 0.5 for row in judged], bool)
    rows = [row for row in judged if row.p_first != 0.5]
    unanimous = np.array([max(row.votes) == sum(row.votes) for row in rows], bool)
    strata = {gettext("annotators agree"): unanimous, gettext("annotators disagree"): ~unanimous}
    for label_of in (restorer_pair_of, rule_of):
        labels = [title_of(label_of(by_pair[row.pair])) for row in rows]
        strata |= {label: np.array([own == label for own in labels], bool) for label in sorted(set(labels))}
    return ComparisonSet(judged, decided, strata)


def _margins(scorer: ScorerAnswers, rows: Sequence[PreferenceRow]) -> Margins | None:
    """Return the margins of these pairs; None if one is missing."""
    values = [scorer.margins.get(str(row.pair)) for row in rows]
    return None if not rows or None in values else np.array(values, np.float64)


def _reference(found: Sequence[ScorerAnswers], margins: Mapping[str, Margins]) -> str:
    """Choose the newest reward model, else the SVM, else the first scorer with answers."""
    answering = [scorer for scorer in found if scorer.name in margins]
    models = [scorer for scorer in answering if scorer.group == ScorerAnswers.Group.FRM]
    if models:
        return max(models, key=lambda scorer: scorer.measured_at).name
    return "svm" if "svm" in margins else answering[0].name if answering else ""


def _scorer(answers: ScorerAnswers, margins: Mapping[str, Margins], compared: ComparisonSet, reference: str) -> Scorer:
    if answers.name not in margins or not compared.decided.any():
        return Scorer(answers, [], {}, [], None)
    judged, own = margins[answers.name], margins[answers.name][compared.decided]
    against = None if answers.name == reference else margins[reference][compared.decided]
    anchored = compared.anchored
    return Scorer(
        answers=answers,
        rows=[
            _row(answers, stratum, own, against, mask, compared)
            for stratum, mask in (("contested", ~anchored), ("anchored", anchored))
            if mask.any()
        ],
        with_one=_with_one(judged, compared),
        strata=[
            (title, compared.share(own, mask, STRATUM_SAMPLES) if mask.any() else None)
            for title, mask in compared.strata.items()
        ],
        calibration=_calibration(own, compared.rows) if answers.is_log_odds else None,
    )


def _with_one(margins: Margins, compared: ComparisonSet) -> dict[str, Share]:
    """Compute the agreement with single annotators by stratum. margins (judged,)."""
    found = {}
    for stratum in STRATA:
        mask = np.array([row.is_anchored == (stratum == "anchored") for row in compared.judged], bool)
        rows = compared.of(stratum)
        if single := gold_agreement.single_votes(margins[mask], rows):
            found[stratum] = _share(single)
    return found


def _row(
    answers: ScorerAnswers,
    stratum: str,
    own: Margins,
    against: Margins | None,
    mask: NDArray[np.bool_],
    compared: ComparisonSet,
) -> MethodRow:
    found = compared.agreement(own, mask, 1)
    test = None
    if against is not None:
        test = gold_agreement.mcnemar(found.correct, compared.agreement(against, mask, 1).correct)
    known = paper.AGREEMENT.get(answers.name) or paper.AGREEMENT.get(answers.group) if stratum == "contested" else None
    figure, place = known or (None, "")
    return MethodRow(
        name=answers.name,
        title=translated(answers.title),
        group=answers.group,
        stratum=stratum,
        share=compared.share(own, mask, SAMPLES),
        mcnemar_p=test.p if test and test.better + test.worse else None,
        better=test.better if test else None,
        worse=test.worse if test else None,
        paper=figure,
        paper_where=place,
        note="",
    )


def _share(found: gold_agreement.Agreement) -> Share:
    """Convert to a share. Agreement on all pairs has no interval: resampling shows no uncertainty."""
    if found.low is None or found.low == found.high:
        return Share(found.mean, None, None, len(found))
    return Share(found.mean, found.low, found.high, len(found))


def _calibration(margins: Margins, decided: Sequence[PreferenceRow]) -> CalibrationCurve:
    found = gold_agreement.calibration(
        1 / (1 + np.exp(-margins)), np.array([row.p_first for row in decided], np.float64)
    )
    bins = [CalibrationPoint(each.predicted, each.observed, each.pairs) for each in found.bins]
    return CalibrationCurve(bins, found.ece, found.brier, found.log_loss)


def _most_divided(judged: Sequence[PreferenceRow]) -> list[Dispute]:
    """Return pairs with answers for both images, the most evenly divided first."""
    divided = [row for row in judged if row.votes[0] and row.votes[1]]
    divided.sort(key=lambda row: (abs(row.p_first - 0.5), -sum(row.votes), row.pair))
    return _disputes(divided[:MAX_DISPUTED])


def _most_wrong(compared: ComparisonSet, margins: Mapping[str, Margins], scorer: ScorerAnswers | None) -> list[Dispute]:
    """Return pairs on which the scorer and people disagree, by people's agreement, then by the scorer's confidence."""
    if scorer is None:
        return []
    rows, own = compared.rows, margins[scorer.name][compared.decided]
    wrong = [place for place, row in enumerate(rows) if own[place] and (own[place] > 0) != (row.p_first > 0.5)]
    wrong.sort(key=lambda place: (-abs(rows[place].p_first - 0.5), -abs(own[place])))
    chosen = wrong[:MAX_DISPUTED]
    preferences = [
        (
            translated(scorer.title),
            FIRST if own[place] > 0 else SECOND,
            _probability(own[place]) if scorer.is_log_odds else None,
        )
        for place in chosen
    ]
    return _disputes([rows[place] for place in chosen], preferences)


def _probability(margin: float) -> float:
    """Return the probability of the preferred image."""
    return float(1 / (1 + np.exp(-abs(margin))))


def _disputes(
    rows: Sequence[PreferenceRow], preferences: Sequence[tuple[str, str, float | None]] = ()
) -> list[Dispute]:
    pairs = Pair.objects.select_related("first", "second").in_bulk([row.pair for row in rows])
    scorer = preferences or [("", "", None)] * len(rows)
    return [Dispute(pairs[row.pair], row.votes, *fields) for row, fields in zip(rows, scorer, strict=True)]


@dataclass(frozen=True)
class Trace:
    """Agreement of a tuning's reward model with people during its updates (Table 10)."""

    run: str
    points: list[tuple[float, float]]  # step, share of contested pairs
    pairs: int
    simulated: bool


def traces() -> list[Trace]:
    """Read the agreement of every tuning that was evaluated on gold pairs."""
    found = []
    for run in run_folders.list_runs():
        if run.kind != "refl" or run.problem:
            continue
        on_gold = restorer_history.history(run).gold
        points = [
            (float(point.step), share) for point in on_gold if (share := point.agreement["contested"]) is not None
        ]
        if points:
            found.append(Trace(run.name, points, on_gold[-1].pairs["contested"], run.snapshot.gold_simulated))
    return found
