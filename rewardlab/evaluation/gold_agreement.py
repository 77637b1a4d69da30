"""Agreement with people on the gold set: intervals over faces, tests, ceiling and calibration.

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

CLIPPED_AT = 1e-7  # minimum distance of probabilities from 0 and 1 in the log loss


class GoldError(ValueError):
    """The gold set has no decided pair; the message says what to do."""


@dataclass(frozen=True)
class Stratum:
    """N decided pairs; the arrays are in the order of `rows`."""

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
    """The gold set. `contested` pairs compare two restorers, `anchored` pairs compare an image with hq."""

    contested: Stratum  # judged by people or simulated annotators, and decided
    tied: tuple[PreferenceRow, ...]  # judged and contested, with equal votes for both images
    anchored: Stratum  # labels fixed by definition (Sec. 3.1)

    @property
    def judged(self) -> tuple[PreferenceRow, ...]:
        """Contested pairs with and without a winner."""
        return self.contested.rows + self.tied

    @property
    def simulated(self) -> int:
        """Count the judged pairs whose labels come from simulated annotators."""
        return sum(row.origin == "simulated" for row in self.judged)

    @classmethod
    def from_rows(cls, rows: Iterable[PreferenceRow]) -> "Gold":
        """Select the rows of split gold, except those labelled by the SVM. Raises `GoldError`."""
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
    """correct (N,) in {0, .5, 1}, its mean, and the mean's 95% interval by a bootstrap over faces, if it has one."""

    correct: NDArray[np.float64]
    mean: float
    low: float | None
    high: float | None

    def __len__(self) -> int:
        return len(self.correct)


def agreement(
    margins: Array, first_wins: NDArray[np.bool_], faces: NDArray[np.int64], *, samples: int = 2000, seed: int = 0
) -> Agreement:
    """Measure how often margins (N,), positive for the first image, match the label (N,); a margin of 0 counts half.

    Raises `ValueError` for no pairs, different lengths and NaN margins.
    """
    margins = np.asarray(margins, np.float64)
    if not len(margins) == len(first_wins) == len(faces):
        raise ValueError(f"lengths differ: {len(margins)} margins, {len(first_wins)} labels and {len(faces)} faces")
    if np.isnan(margins).any():
        raise ValueError(f"{int(np.isnan(margins).sum())} of {len(margins)} margins are NaN")
    return _with_interval((1 + np.sign(margins) * np.where(first_wins, 1, -1)) / 2, faces, samples, seed)


def _with_interval(correct: NDArray[np.float64], faces: NDArray[np.int64], samples: int, seed: int) -> Agreement:
    if len(correct) == 0:
        raise ValueError("agreement needs at least one pair")
    low, high = bootstrap_interval(correct, faces, samples=samples, seed=seed)
    return Agreement(correct, float(correct.mean()), low, high)


@dataclass(frozen=True)
class McNemar:
    """Numbers of pairs that only the first and only the second method gets right, and the two-sided p."""

    better: int
    worse: int
    p: float


def mcnemar(correct_a: Array, correct_b: Array) -> McNemar:
    """Run McNemar's exact test of two methods on the same pairs: `correct` (N,) in {0, .5, 1} each.

    Pairs on which either is undecided (.5) are left out; without a discordant pair p is 1. The test assumes
    independent pairs, but pairs of one face are correlated: prefer the intervals over faces. Raises `ValueError` for
    arrays of different lengths.
    """
    a, b = np.asarray(correct_a, np.float64), np.asarray(correct_b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"both methods need the same pairs, not {a.shape} and {b.shape}")
    better = int(((a == 1) & (b == 0)).sum())
    worse = int(((a == 0) & (b == 1)).sum())
    p = 2 * bdtr(min(better, worse), better + worse, 0.5) if better + worse else 1.0  # a fair coin, both sides
    return McNemar(better, worse, min(1.0, float(p)))


@dataclass(frozen=True)
class People:
    """Agreement of annotators on a pair: of two with each other, and of one with the majority of the others."""

    pairs_of_answers: Agreement
    majority: Agreement


def people(rows: Iterable[PreferenceRow], *, samples: int = 2000, seed: int = 0) -> People | None:
    """Measure the agreement of annotators. “Can't tell” answers are left out, as are ties of the others.

    Pass all judged pairs (`Gold.judged`): decided pairs alone would exclude much of the disagreement.
    `pairs_of_answers` is the ceiling of `single_votes`, not of the agreement with majority labels, which excludes tied
    pairs. Returns None if no pair has two votes.
    """
    pairs_of_answers: list[tuple[int, int, int]] = []  # face, comparisons that agree, that disagree
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
    """Measure how often a method agrees with one annotator, as `People.pairs_of_answers` does for two annotators.

    margins (N,) of judged pairs, including tied ones; each vote for an image counts once. None without votes.
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
    """Return the agreement from tuples (face, comparisons that agree, that disagree, that count half)."""
    table = np.array(counts, np.int64)
    numbers = table[:, 1:]
    values = np.tile(np.array([1.0, 0.0, 0.5])[: numbers.shape[1]], len(table))
    return _with_interval(
        values.repeat(numbers.ravel()), table[:, 0].repeat(numbers.sum(axis=1)), samples=samples, seed=seed
    )


@dataclass(frozen=True)
class Bin:
    """Pairs whose preferred image has a probability in [low, high): mean probability and observed share of votes."""

    low: float
    high: float
    pairs: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """The non-empty bins, the expected calibration error over them, Brier score and log loss (nats)."""

    bins: tuple[Bin, ...]
    ece: float
    brier: float
    log_loss: float


def calibration(predicted: Array, p_first: Array, *, bins: int = 10) -> Calibration:
    """Measure the calibration of probabilities (N,). p_first (N,): share of the votes for the first image, in [0, 1].

    Pairs are folded to the preferred image: max(p, 1 - p), in bins of equal width over [.5, 1], is compared with its
    share of the votes (one half if p is .5). Brier score and log loss are means over single votes, so that a split
    vote scores above 0 even for the exact share. The result does not depend on the order of the images. Raises
    `ValueError`.
    """
    p, share = np.asarray(predicted, np.float64), np.asarray(p_first, np.float64)
    if p.shape != share.shape or len(p) == 0:
        raise ValueError(
            f"probabilities and labels must have one length of at least 1, not {p.shape} and {share.shape}"
        )
    if not ((p >= 0) & (p <= 1) & (share >= 0) & (share <= 1)).all():
        raise ValueError("probabilities and label shares must be in [0, 1]")
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
    kept = np.clip(p, CLIPPED_AT, 1 - CLIPPED_AT)
    return Calibration(
        bins=filled,
        ece=sum(each.pairs * abs(each.predicted - each.observed) for each in filled) / len(p),
        brier=float((share * (1 - p) ** 2 + (1 - share) * p**2).mean()),
        log_loss=float(-(share * np.log(kept) + (1 - share) * np.log(1 - kept)).mean()),
    )
