"""How scorers order the restorers of a leaderboard: Bradley-Terry strengths of what they choose on the same pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from annotate.models import Pair, Score, ScorerAnswers
from annotate.statistics.answer_arrays import Floats
from annotate.statistics.bradley_terry import Ballots, RankCorrelation, fit, rank_correlation, ranks, signed
from rewardlab.metrics.registry import METRICS, Metric, availability

AT_ONCE = 5000
PHOTOGRAPH = "the photograph"  # what candidates hq are called
ASKED = (ScorerAnswers.Group.FRM, ScorerAnswers.Group.START, ScorerAnswers.Group.PREDICTOR)  # as they are shown
SEES_ORIGINAL = "it compares with the photograph, so it always prefers the photograph"
OTHER_PAIRS = (
    "It was asked about other pairs: its answers are on the pairs of a gold set. Choose that campaign, or ask it with "
    "manage.py agreement."
)


@dataclass(frozen=True)
class Scorer:
    """One scorer. Only where it has answers are there ranks; `note` says why not, or what to know of them.

    pairs: on how many of the board's pairs it had an answer. correlation: with people's strengths on these pairs.
    """

    name: str
    title: str
    group: str
    pairs: int
    of: int
    ranks: dict[str, int]  # by restorer
    correlation: RankCorrelation | None
    note: str = ""

    @property
    def kendall(self) -> float | None:
        return self.correlation.kendall if self.correlation else None

    @property
    def spearman(self) -> float | None:
        return self.correlation.spearman if self.correlation else None

    @property
    def caution(self) -> str:
        """Why there is no correlation, or why not to lean on it."""
        return self.correlation.why if self.correlation else ""

    @property
    def kendall_words(self) -> str:
        return "–" if self.kendall is None else signed(self.kendall)

    @property
    def spearman_words(self) -> str:
        return "–" if self.spearman is None else signed(self.spearman)

    @property
    def words(self) -> str:
        if self.kendall is None or self.spearman is None:
            return f"no rank correlation: {self.caution}"
        return f"with people: Kendall {self.kendall_words}, Spearman {self.spearman_words}"


@dataclass(frozen=True)
class Asked:
    name: str
    title: str
    group: str
    note: str


@dataclass(frozen=True)
class BoardVotes:
    """The board's votes, people's strengths by all of them, and each pair once."""

    cast: Ballots
    strengths: Floats
    once: Ballots

    @property
    def pairs(self) -> list[int]:
        return [int(pair) for pair in self.once.pairs]


def scorers(cast: Ballots, strengths: Floats) -> list[Scorer]:
    """Reward models first, then predictors, then metrics. strengths (M,): people's."""
    _, rows = np.unique(cast.pairs, return_index=True)
    board = BoardVotes(cast, strengths, cast.where(rows))
    return [*_asked(board), *_metrics(board)]


def _asked(board: BoardVotes) -> Iterator[Scorer]:
    """Scorers that `manage.py agreement` asked about the pairs of gold sets; the newest answer of each name counts."""
    newest: dict[str, ScorerAnswers] = {}
    margins: dict[str, dict[str, float]] = {}
    for answers in ScorerAnswers.objects.filter(group__in=ASKED).order_by("measured_at"):
        newest[answers.name] = answers
        margins[answers.name] = margins.get(answers.name, {}) | answers.margins
    for answers in sorted(newest.values(), key=lambda own: (ASKED.index(ScorerAnswers.Group(own.group)), own.title)):
        own = margins[answers.name]
        found = np.array([own.get(str(pair), np.nan) for pair in board.pairs], np.float64)
        asked = Asked(answers.name, answers.title, answers.group, answers.provenance.get("note", ""))
        yield _scorer(board, asked, found, answers.reason or OTHER_PAIRS)


def _metrics(board: BoardVotes) -> Iterator[Scorer]:
    images = _images(board.pairs)
    values = _scores(sorted({candidate for pair in images.values() for candidate in pair}))
    has_photograph = PHOTOGRAPH in board.cast.restorers
    for name, metric in METRICS.items():
        found = _margins(metric, values[name], (images[pair] for pair in board.pairs))
        note = SEES_ORIGINAL if has_photograph and metric.needs_reference else ""
        asked = Asked(f"metric-{name}", metric.title, ScorerAnswers.Group.METRIC, note)
        remedy = availability(name) or f"Score them: manage.py score --metrics {name}"
        yield _scorer(board, asked, found, f"Its scores of these pairs are missing. {remedy}")


def _margins(metric: Metric, values: Mapping[int, float], images: Iterable[tuple[int, int]]) -> Floats:
    missing = float("nan")
    differences = [values.get(first, missing) - values.get(second, missing) for first, second in images]
    return np.array(differences, np.float64) * (1 if metric.higher_is_better else -1)


def _images(pairs: Sequence[int]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for part in _parts(pairs):
        rows = Pair.objects.filter(pk__in=part).values_list("pk", "first_id", "second_id")
        found |= {pair: (first, second) for pair, first, second in rows}
    return found


def _scores(candidates: Sequence[int]) -> dict[str, dict[int, float]]:
    """Metric -> candidate -> value, of every metric that is known."""
    found: dict[str, dict[int, float]] = {name: {} for name in METRICS}
    for part in _parts(candidates):
        rows = Score.objects.filter(candidate__in=part, metric__in=METRICS)
        for candidate, metric, value in rows.values_list("candidate_id", "metric", "value"):
            found[metric][candidate] = value
    return found


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE))


def _scorer(board: BoardVotes, asked: Asked, margins: Floats, silent: str) -> Scorer:
    """margins (P,): above 0 where the first image of the pair is preferred, NaN where it has no answer."""
    known, once = ~np.isnan(margins), board.once
    if not known.any():
        return Scorer(asked.name, asked.title, asked.group, 0, len(once), {}, None, silent)
    own = replace(once.where(known), won=(1 + np.sign(margins[known])) / 2)
    strengths = fit(own.wins())
    same = board.cast.where(np.isin(board.cast.pairs, own.pairs))
    people = board.strengths if known.all() else fit(same.wins())
    return Scorer(
        name=asked.name,
        title=asked.title,
        group=asked.group,
        pairs=len(own),
        of=len(once),
        ranks={
            restorer: int(rank)
            for restorer, rank, strength in zip(own.restorers, ranks(strengths), strengths, strict=True)
            if not np.isnan(strength)
        },
        correlation=rank_correlation(people, strengths),
        note=asked.note,
    )
