"""People against machines on the same pairs: the second half of an agreement report."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.people import restorer_pair_of, rule_of
from annotate.labels.judged_pairs import is_anchored
from annotate.labels.votes import Vote
from annotate.models import GoldSet, MachineAnswers, Pair
from annotate.runs import restorer_history, run_folders
from annotate.runs.frm_evaluation import Bin, Calibration, Row, Share
from annotate.runs.run_folders import STRATA
from annotate.statistics.bootstrap import LEAST
from rewardlab import paper
from rewardlab.evaluation import gold_agreement
from rewardlab.manifest import PreferenceRow

Margins = NDArray[np.float64]

MOST_DISPUTED = 6
SAMPLES, STRATUM_SAMPLES = 2000, 500  # draws; the small strata are many
GROUPS = list(MachineAnswers.Group.values)


@dataclass(frozen=True)
class Machine:
    """One machine on the judged pairs of the gold set."""

    answers: MachineAnswers
    rows: list[Row]  # by stratum
    with_one: dict[str, Share]  # stratum -> agreement with a single annotator, tied pairs included
    strata: list[tuple[str, Share | None]]
    calibration: Calibration | None

    @property
    def lines(self) -> list[tuple[Row, Share | None]]:
        return [(row, self.with_one.get(row.stratum)) for row in self.rows]

    @property
    def note(self) -> str:
        return self.answers.reason or self.answers.provenance.get("note", "")


@dataclass(frozen=True)
class Dispute:
    """A pair on which people are divided, or on which people and a machine disagree."""

    pair: Pair
    votes: tuple[int, int, int]  # for the first, for the second, can't tell
    machine: str = ""
    preferred: str = ""  # what the machine prefers: first or second
    p: float | None = None

    @property
    def words(self) -> str:
        first, second, undecided = self.votes
        told = f"{first} chose the first image, {second} the second"
        return told + (f", {undecided} could not tell" if undecided else "")


@dataclass(frozen=True)
class Ceiling:
    """What a machine may reach on a stratum: how far two annotators agree, and one with the majority of the others."""

    stratum: str
    two_agree: Share | None
    one_against_rest: Share | None


@dataclass(frozen=True)
class MachinesReport:
    machines: list[Machine]
    reference: str  # the machine that McNemar's test holds the others against
    ceilings: list[Ceiling]
    strata: list[str]
    disputed_by_people: list[Dispute]
    disputed_by_machine: list[Dispute]
    tied: int
    decided: int

    @property
    def answering(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.rows]

    @property
    def notes(self) -> dict[str, list[str]]:
        """What to know of machines on anchored pairs -> the machines that it holds for."""
        found: dict[str, list[str]] = {}
        for machine in self.answering:
            if note := machine.answers.provenance.get("note"):
                found.setdefault(note, []).append(machine.answers.title)
        return found


@dataclass(frozen=True)
class Ground:
    """The pairs that are compared on. `decided` (judged,): those with a majority, which the other arrays are of."""

    judged: list[PreferenceRow]
    decided: NDArray[np.bool_]
    strata: dict[str, NDArray[np.bool_]]

    @property
    def rows(self) -> list[PreferenceRow]:
        return [row for row, kept in zip(self.judged, self.decided.tolist(), strict=True) if kept]

    def of(self, stratum: str) -> list[PreferenceRow]:
        """Judged pairs of the stratum, the tied ones included."""
        return [row for row in self.judged if is_anchored(row) == (stratum == "anchored")]

    @property
    def anchored(self) -> NDArray[np.bool_]:
        return np.array([is_anchored(row) for row in self.rows], bool)

    @property
    def faces(self) -> NDArray[np.int64]:
        return np.array([row.face for row in self.rows], np.int64)

    def agreement(self, margins: Margins, mask: NDArray[np.bool_], samples: int) -> gold_agreement.Agreement:
        """margins (decided,), of the pairs of the mask."""
        first_wins = np.array([row.p_first > 0.5 for row in self.rows], bool)
        return gold_agreement.agreement(margins[mask], first_wins[mask], self.faces[mask], samples=samples)

    def share(self, margins: Margins, mask: NDArray[np.bool_], samples: int) -> Share:
        return _share(self.agreement(margins, mask, samples), len(np.unique(self.faces[mask])))


def machines_report(gold_set: GoldSet, pairs: Sequence[PreferenceRow], given: Iterable[Vote]) -> MachinesReport:
    """pairs: those of the gold set, with people's votes."""
    ground = _ground([row for row in pairs if sum(row.votes)], given)
    found = sorted(gold_set.machine_answers.all(), key=_order)
    margins = {machine.name: own for machine in found if (own := _margins(machine, ground.judged)) is not None}
    reference = _reference(found, margins)
    return MachinesReport(
        machines=[_machine(machine, margins, ground, reference) for machine in found],
        reference=next((machine.title for machine in found if machine.name == reference), ""),
        ceilings=[_ceiling(stratum, ground.of(stratum)) for stratum in STRATA if ground.of(stratum)],
        strata=list(ground.strata),
        disputed_by_people=_most_divided(ground.judged),
        disputed_by_machine=_most_wrong(ground, margins, next((m for m in found if m.name == reference), None)),
        tied=int((~ground.decided).sum()),
        decided=int(ground.decided.sum()),
    )


def _ceiling(stratum: str, rows: Sequence[PreferenceRow]) -> Ceiling:
    people, faces = gold_agreement.people(rows), len({row.face for row in rows})
    if people is None:
        return Ceiling(stratum, None, None)
    rest = _share(people.majority, faces) if len(people.majority) else None
    return Ceiling(stratum, _share(people.pairs_of_answers, faces), rest)


def _order(machine: MachineAnswers) -> tuple[int, str]:
    """Reward models first, baselines last."""
    return -GROUPS.index(machine.group), machine.title


def _ground(judged: list[PreferenceRow], given: Iterable[Vote]) -> Ground:
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in given:
        if not vote.is_repeat:
            by_pair[vote.pair].append(vote)
    decided = np.array([row.p_first != 0.5 for row in judged], bool)
    rows = [row for row in judged if row.p_first != 0.5]
    unanimous = np.array([max(row.votes) == sum(row.votes) for row in rows], bool)
    strata = {"all annotators agree": unanimous, "they do not": ~unanimous}
    for label_of in (restorer_pair_of, rule_of):
        labels = [label_of(by_pair[row.pair]) for row in rows]
        strata |= {label: np.array([own == label for own in labels], bool) for label in sorted(set(labels))}
    return Ground(judged, decided, strata)


def _margins(machine: MachineAnswers, rows: Sequence[PreferenceRow]) -> Margins | None:
    """None if it has none, or lacks one of these pairs."""
    values = [machine.margins.get(str(row.pair)) for row in rows]
    return None if not rows or None in values else np.array(values, np.float64)


def _reference(found: Sequence[MachineAnswers], margins: Mapping[str, Margins]) -> str:
    """The newest reward model, else the SVM, else what there is."""
    answering = [machine for machine in found if machine.name in margins]
    models = [machine for machine in answering if machine.group == MachineAnswers.Group.FRM]
    if models:
        return max(models, key=lambda machine: machine.measured_at).name
    return "svm" if "svm" in margins else answering[0].name if answering else ""


def _machine(answers: MachineAnswers, margins: Mapping[str, Margins], ground: Ground, reference: str) -> Machine:
    if answers.name not in margins or not ground.decided.any():
        return Machine(answers, [], {}, [], None)
    judged, own = margins[answers.name], margins[answers.name][ground.decided]
    against = None if answers.name == reference else margins[reference][ground.decided]
    anchored = ground.anchored
    return Machine(
        answers=answers,
        rows=[
            _row(answers, stratum, own, against, mask, ground)
            for stratum, mask in (("contested", ~anchored), ("anchored", anchored))
            if mask.any()
        ],
        with_one=_with_one(judged, ground),
        strata=[
            (title, ground.share(own, mask, STRATUM_SAMPLES) if mask.any() else None)
            for title, mask in ground.strata.items()
        ],
        calibration=_calibration(own, ground.rows) if answers.is_log_odds else None,
    )


def _with_one(margins: Margins, ground: Ground) -> dict[str, Share]:
    """margins: of all judged pairs."""
    found = {}
    for stratum in STRATA:
        mask = np.array([is_anchored(row) == (stratum == "anchored") for row in ground.judged], bool)
        rows = ground.of(stratum)
        if single := gold_agreement.single_votes(margins[mask], rows):
            found[stratum] = _share(single, len({row.face for row in rows}))
    return found


def _row(
    answers: MachineAnswers,
    stratum: str,
    own: Margins,
    against: Margins | None,
    mask: NDArray[np.bool_],
    ground: Ground,
) -> Row:
    found = ground.agreement(own, mask, 1)
    test = None
    if against is not None:
        test = gold_agreement.mcnemar(found.correct, ground.agreement(against, mask, 1).correct)
    known = paper.AGREEMENT.get(answers.name) or paper.AGREEMENT.get(answers.group) if stratum == "contested" else None
    figure, place = known or (None, "")
    return Row(
        name=answers.name,
        title=answers.title,
        group=answers.group,
        stratum=stratum,
        share=ground.share(own, mask, SAMPLES),
        mcnemar_p=test.p if test and test.better + test.worse else None,
        better=test.better if test else None,
        worse=test.worse if test else None,
        paper=figure,
        paper_where=place,
        note="",
    )


def _share(found: gold_agreement.Agreement, faces: int) -> Share:
    """Without its interval where there are too few faces for one."""
    low, high = (found.low, found.high) if faces >= LEAST else (found.mean, found.mean)
    return Share(found.mean, low, high, len(found))


def _calibration(margins: Margins, decided: Sequence[PreferenceRow]) -> Calibration:
    found = gold_agreement.calibration(
        1 / (1 + np.exp(-margins)), np.array([row.p_first for row in decided], np.float64)
    )
    bins = [Bin(each.predicted, each.observed, each.pairs) for each in found.bins]
    return Calibration(bins, found.ece, found.brier, found.log_loss)


def _most_divided(judged: Sequence[PreferenceRow]) -> list[Dispute]:
    """Pairs with answers for either image, the most even first."""
    divided = [row for row in judged if row.votes[0] and row.votes[1]]
    divided.sort(key=lambda row: (abs(row.p_first - 0.5), -sum(row.votes), row.pair))
    return _disputes(divided[:MOST_DISPUTED])


def _most_wrong(ground: Ground, margins: Mapping[str, Margins], machine: MachineAnswers | None) -> list[Dispute]:
    """Pairs on which the machine is surest of what people do not say, those first on which people agree most."""
    if machine is None:
        return []
    rows, own = ground.rows, margins[machine.name][ground.decided]
    wrong = [place for place, row in enumerate(rows) if own[place] and (own[place] > 0) != (row.p_first > 0.5)]
    wrong.sort(key=lambda place: (-abs(rows[place].p_first - 0.5), -abs(own[place])))
    chosen = wrong[:MOST_DISPUTED]
    told = [
        (machine.title, "first" if own[place] > 0 else "second", _chance(own[place]) if machine.is_log_odds else None)
        for place in chosen
    ]
    return _disputes([rows[place] for place in chosen], told)


def _chance(margin: float) -> float:
    """Of the preferred image."""
    return float(1 / (1 + np.exp(-abs(margin))))


def _disputes(rows: Sequence[PreferenceRow], told: Sequence[tuple[str, str, float | None]] = ()) -> list[Dispute]:
    pairs = Pair.objects.select_related("first", "second").in_bulk([row.pair for row in rows])
    machine = told or [("", "", None)] * len(rows)
    return [Dispute(pairs[row.pair], row.votes, *words) for row, words in zip(rows, machine, strict=True)]


@dataclass(frozen=True)
class Trace:
    """A tuning's reward model and its agreement with people while it is updated (Table 10)."""

    run: str
    points: list[tuple[float, float]]  # step, share of contested pairs
    pairs: int
    simulated: bool


def traces() -> list[Trace]:
    """Of every run of reward feedback learning that looked at its gold pairs."""
    found = []
    for run in run_folders.list_runs():
        if run.kind != "refl" or run.problem:
            continue
        looks = restorer_history.history(run).gold
        points = [(float(look.step), share) for look in looks if (share := look.agreement["contested"]) is not None]
        if points:
            found.append(Trace(run.name, points, looks[-1].pairs["contested"], run.snapshot.gold_simulated))
    return found
