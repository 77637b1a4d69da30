"""Agreement with people on the gold set: its pairs, intervals over faces, tests, ceiling and calibration.

Human consistency in Tables 10 to 12 is the share of manually annotated pairs on which model and label agree.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from rewardlab.bootstrap import Array, bootstrap_interval
from rewardlab.manifest import JUDGED, PreferenceRow

SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss


class GoldError(ValueError):
    """The gold set holds nothing to measure with; the message is the remedy."""


@dataclass(frozen=True)
class Stratum:
    """N decided pairs: who won, the faces and the label shares follow the order of `rows`."""

    rows: tuple[PreferenceRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def first_wins(self) -> NDArray[np.bool_]:
        return self.p_first > 0.5

    @property
    def faces(self) -> NDArray[np.int64]:
        return np.array([row.face for row in self.rows], np.int64)

    @property
    def p_first(self) -> NDArray[np.float64]:
        return np.array([row.p_first for row in self.rows], np.float64)


@dataclass(frozen=True)
class Gold:
    """The gold set. Restorer against restorer is `contested`, anything against hq is `anchored`."""

    contested: Stratum  # judged by people or simulated annotators, and decided
    tied: tuple[PreferenceRow, ...]  # judged and contested, with as many votes for either image
    anchored: Stratum  # labels fixed by definition (Sec. 3.1)

    @property
    def judged(self) -> tuple[PreferenceRow, ...]:
        """Contested pairs with and without a winner."""
        return self.contested.rows + self.tied

    @property
    def simulated(self) -> int:
        """How many of the judged pairs only programs judged."""
        return sum(row.origin == "simulated" for row in self.judged)

    @classmethod
    def from_rows(cls, rows: Iterable[PreferenceRow]) -> "Gold":
        """Takes the rows of split gold; those that the SVM labelled are not gold. Raises `GoldError`."""
        gold = [row for row in rows if row.split == "gold"]
        judged = [row for row in gold if row.origin in JUDGED]
        decided = tuple(row for row in judged if row.p_first != 0.5)
        if not decided:
            found = f"All {len(judged)} judged gold pairs are tied." if judged else "No gold pair has been judged."
            raise GoldError(
                f"{found} Judge {'more ' if judged else ''}pairs of gold faces, then take a new snapshot: "
                "manage.py snapshot."
            )
        return cls(
            contested=Stratum(decided),
            tied=tuple(row for row in judged if row.p_first == 0.5),
            anchored=Stratum(tuple(row for row in gold if row.origin == "ground_truth" and row.p_first != 0.5)),
        )


@dataclass(frozen=True)
class Agreement:
    """correct (N,) in {0, .5, 1}, its mean, and the mean's 95% interval by a bootstrap over faces."""

    correct: NDArray[np.float64]
    mean: float
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.correct)


def agreement(
    margins: Array, first_wins: NDArray[np.bool_], faces: NDArray[np.int64], *, samples: int = 2000, seed: int = 0
) -> Agreement:
    """How often margins (N,), positive for the first image, have the sign of the label (N,); 0 is half right.

    Raises `ValueError` for no pairs and for margins that are not numbers.
    """
    margins = np.asarray(margins, np.float64)
    if not len(margins) == len(first_wins) == len(faces):
        raise ValueError(f"{len(margins)} margins, {len(first_wins)} labels and {len(faces)} faces")
    if np.isnan(margins).any():
        raise ValueError(f"{int(np.isnan(margins).sum())} of {len(margins)} margins are not numbers")
    return _summed((1 + np.sign(margins) * np.where(first_wins, 1, -1)) / 2, faces, samples, seed)


def _summed(correct: NDArray[np.float64], faces: NDArray[np.int64], samples: int, seed: int) -> Agreement:
    if len(correct) == 0:
        raise ValueError("there is no pair to measure agreement on")
    low, high = bootstrap_interval(correct, faces, samples=samples, seed=seed)
    return Agreement(correct, float(correct.mean()), low, high)


@dataclass(frozen=True)
class McNemar:
    """Pairs that only the first method has right, that only the second has right, and the two-sided p."""

    better: int
    worse: int
    p: float


def mcnemar(correct_a: Array, correct_b: Array) -> McNemar:
    """McNemar's exact test of two methods on the same pairs: `correct` (N,) in {0, .5, 1} each.

    Pairs on which either says nothing (.5) are left out; without a discordant pair p is 1. It takes pairs as
    independent, which those of one face are not quite: the intervals over faces are the more careful statement.
    """
    a, b = np.asarray(correct_a, np.float64), np.asarray(correct_b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"two methods on {a.shape} and {b.shape} pairs")
    better = int(((a == 1) & (b == 0)).sum())
    worse = int(((a == 0) & (b == 1)).sum())
    p = 2 * bdtr(min(better, worse), better + worse, 0.5) if better + worse else 1.0  # a fair coin, both sides
    return McNemar(better, worse, min(1.0, float(p)))


@dataclass(frozen=True)
class People:
    """How far annotators agree: each with each other, and each with the majority of the others on the pair."""

    pairs_of_answers: Agreement
    majority: Agreement


def people(rows: Iterable[PreferenceRow], *, samples: int = 2000, seed: int = 0) -> People | None:
    """From the votes for the first and the second image; who cannot tell is left out, as are ties of the others.

    Give it all judged pairs (`Gold.judged`): among decided pairs only, disagreement has been sorted out beforehand.
    `pairs_of_answers` is the ceiling of `single_votes`, not of the agreement with majority labels, which leaves out the
    tied pairs. None if no pair has two votes.
    """
    pairs_of_answers: list[tuple[int, int, int]] = []  # face, comparisons that agree, that do not
    majorities: list[tuple[int, int, int]] = []
    for row in rows:
        first, second, _ = row.votes
        pairs_of_answers.append((row.face, comb(first, 2) + comb(second, 2), first * second))
        with_others = first * (first - 1 > second) + second * (second - 1 > first)
        against_others = first * (first - 1 < second) + second * (second - 1 < first)
        majorities.append((row.face, with_others, against_others))
    if not any(agree or differ for _, agree, differ in pairs_of_answers):
        return None
    return People(_counted(pairs_of_answers, samples, seed), _counted(majorities, samples, seed))


def single_votes(
    margins: Array, rows: Sequence[PreferenceRow], *, samples: int = 2000, seed: int = 0
) -> Agreement | None:
    """How often a method agrees with one annotator: what `People.pairs_of_answers` says of two annotators.

    margins (N,) of judged pairs, the tied ones included; each vote for an image counts once. None without votes.
    """
    counts = []
    for sign, row in zip(np.sign(margins), rows, strict=True):
        first, second, _ = row.votes
        if sign:
            counts.append((row.face, *((first, second) if sign > 0 else (second, first)), 0))
        else:
            counts.append((row.face, 0, 0, first + second))
    return _counted(counts, samples, seed) if any(sum(count[1:]) for count in counts) else None


def _counted(counts: Sequence[tuple[int, ...]], samples: int, seed: int) -> Agreement:
    """From (face, comparisons that agree, that do not, that are half right)."""
    table = np.array(counts, np.int64)
    numbers = table[:, 1:]
    values = np.tile(np.array([1.0, 0.0, 0.5])[: numbers.shape[1]], len(table))
    return _summed(values.repeat(numbers.ravel()), table[:, 0].repeat(numbers.sum(axis=1)), samples=samples, seed=seed)


@dataclass(frozen=True)
class Bin:
    """Pairs whose preferred image has a probability in [low, high): mean probability, observed share of votes."""

    low: float
    high: float
    pairs: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """The filled bins, the expected calibration error over them, Brier score and log loss (nats)."""

    bins: tuple[Bin, ...]
    ece: float
    brier: float
    log_loss: float


def calibration(predicted: Array, p_first: Array, *, bins: int = 10) -> Calibration:
    """Do probabilities (N,) mean what they say? p_first (N,): share of the votes for the first image, in [0, 1].

    Pairs are folded to the preferred image: max(p, 1 - p), in bins of equal width over [.5, 1], against its share of
    the votes (one half where p is .5). Brier score and log loss are the means over single votes, so that for a split
    vote even the right share does not score 0. The order of the images changes nothing. Raises `ValueError`.
    """
    p, share = np.asarray(predicted, np.float64), np.asarray(p_first, np.float64)
    if p.shape != share.shape or len(p) == 0:
        raise ValueError(f"probabilities {p.shape} and labels {share.shape} of at least one pair are needed")
    if not ((p >= 0) & (p <= 1) & (share >= 0) & (share <= 1)).all():
        raise ValueError("probabilities and label shares must lie in [0, 1]")
    preferred = np.maximum(p, 1 - p)
    observed = np.select([p > 0.5, p < 0.5], [share, 1 - share], 0.5)
    edges = np.linspace(0.5, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, preferred, side="right") - 1, 0, bins - 1)
    filled = tuple(
        Bin(
            float(edges[number]),
            float(edges[number + 1]),
            int((index == number).sum()),
            float(preferred[index == number].mean()),
            float(observed[index == number].mean()),
        )
        for number in np.unique(index)
    )
    kept = np.clip(p, SMALLEST, 1 - SMALLEST)
    return Calibration(
        bins=filled,
        ece=sum(each.pairs * abs(each.predicted - each.observed) for each in filled) / len(p),
        brier=float((share * (1 - p) ** 2 + (1 - share) * p**2).mean()),
        log_loss=float(-(share * np.log(kept) + (1 - share) * np.log(1 - kept)).mean()),
    )
