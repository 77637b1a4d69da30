"""Rankings of a leaderboard's restorers by scorers: Bradley-Terry strengths of their choices on the same pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from django.utils.translation import gettext, gettext_noop

from annotate.common.stored_text import translated
from annotate.models import Face, Pair, Score, ScorerAnswers
from annotate.pipeline.ground_truth import lacking, without_original
from annotate.statistics.answer_arrays import Floats
from annotate.statistics.bradley_terry import Ballots, RankCorrelation, fit, rank_correlation, ranks, signed
from rewardlab.metrics.registry import METRICS, Metric, availability

ROWS_PER_QUERY = 5000
PHOTOGRAPH = gettext_noop("the photograph")  # title of hq candidates
GROUPS = (ScorerAnswers.Group.FRM, ScorerAnswers.Group.START, ScorerAnswers.Group.PREDICTOR)  # in the order of display
SEES_ORIGINAL = gettext_noop("it is measured against the photograph, so it always prefers the photograph")
OTHER_PAIRS = gettext_noop(
    "It was measured on other pairs, those of a gold set. Filter by that gold set's campaign, or measure it on the "
    "gold set of these pairs with manage.py agreement."
)


@dataclass(frozen=True)
class Scorer:
    """One scorer. `ranks` is empty if it has no answers; `note` states the reason, or a caution.

    pairs: number of the board's pairs with an answer. correlation: with people's strengths on these pairs.
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
        """Why the correlation is undefined or unreliable."""
        return self.correlation.why if self.correlation else ""

    @property
    def kendall_text(self) -> str:
        return "–" if self.kendall is None else signed(self.kendall)

    @property
    def spearman_text(self) -> str:
        return "–" if self.spearman is None else signed(self.spearman)

    @property
    def correlation_text(self) -> str:
        if self.kendall is None or self.spearman is None:
            return gettext("no rank correlation: %(why)s") % {"why": self.caution}
        return f"with people: Kendall {self.kendall_text}, Spearman {self.spearman_text}"


@dataclass(frozen=True)
class ScorerInfo:
    """What a scorer is, before its answers are ranked."""

    name: str
    title: str
    group: str
    note: str


@dataclass(frozen=True)
class BoardVotes:
    """The board's votes, people's strengths from all votes, and each pair once."""

    cast: Ballots
    strengths: Floats
    once: Ballots

    @property
    def pairs(self) -> list[int]:
        return [int(pair) for pair in self.once.pairs]


def scorers(cast: Ballots, strengths: Floats) -> list[Scorer]:
    """Rank by each scorer: reward models first, then predictors, then metrics. strengths (M,): people's."""
    _, rows = np.unique(cast.pairs, return_index=True)
    board = BoardVotes(cast, strengths, cast.where(rows))
    return [*_models(board), *_metrics(board)]


def _models(board: BoardVotes) -> Iterator[Scorer]:
    """Yield models measured by `manage.py agreement` on gold sets. The newest answer of each name counts."""
    newest: dict[str, ScorerAnswers] = {}
    margins: dict[str, dict[str, float]] = {}
    for answers in ScorerAnswers.objects.filter(group__in=GROUPS).order_by("measured_at"):
        newest[answers.name] = answers
        margins[answers.name] = margins.get(answers.name, {}) | answers.margins
    for answers in sorted(newest.values(), key=lambda own: (GROUPS.index(ScorerAnswers.Group(own.group)), own.title)):
        own = margins[answers.name]
        found = np.array([own.get(str(pair), np.nan) for pair in board.pairs], np.float64)
        note = translated(answers.provenance.get("note", ""))
        info = ScorerInfo(answers.name, translated(answers.title), answers.group, note)
        yield _scorer(board, info, found, translated(answers.reason) or gettext(OTHER_PAIRS))


def _metrics(board: BoardVotes) -> Iterator[Scorer]:
    images = _images(board.pairs)
    values = _scores(sorted({candidate for pair in images.values() for candidate in pair}))
    wild = _face_without_original(board.pairs)
    has_photograph = gettext(PHOTOGRAPH) in board.cast.restorers
    for name, metric in METRICS.items():
        found = _margins(metric, values[name], (images[pair] for pair in board.pairs))
        if metric.on_request and np.isnan(found).all():
            continue
        note = gettext(SEES_ORIGINAL) if has_photograph and metric.needs_reference else ""
        info = ScorerInfo(f"metric-{name}", translated(metric.title), ScorerAnswers.Group.METRIC, note)
        remedy = availability(name) or gettext("Run manage.py score --metrics %(name)s.") % {"name": name}
        if wild and metric.needs_reference:
            remedy = translated(lacking(wild, "the metric needs"))
        reason = gettext("Scores of these pairs are missing. %(remedy)s") % {"remedy": remedy}
        yield _scorer(board, info, found, reason)


def _face_without_original(pairs: Sequence[int]) -> Face | None:
    for part in _parts(pairs):
        wild = without_original(Face.objects.filter(pairs__in=part))
        if face := wild.select_related("dataset").order_by("pk").first():
            return face
    return None


def _margins(metric: Metric, values: Mapping[int, float], images: Iterable[tuple[int, int]]) -> Floats:
    missing = float("nan")
    found = [(values.get(first, missing), values.get(second, missing)) for first, second in images]
    return metric.margin(*np.array(found, np.float64).reshape(-1, 2).T)


def _images(pairs: Sequence[int]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for part in _parts(pairs):
        rows = Pair.objects.filter(pk__in=part).values_list("pk", "first_id", "second_id")
        found |= {pair: (first, second) for pair, first, second in rows}
    return found


def _scores(candidates: Sequence[int]) -> dict[str, dict[int, float]]:
    """Return metric -> candidate -> value for all metrics of the registry."""
    found: dict[str, dict[int, float]] = {name: {} for name in METRICS}
    for part in _parts(candidates):
        rows = Score.objects.filter(candidate__in=part, metric__in=METRICS)
        for candidate, metric, value in rows.values_list("candidate_id", "metric", "value"):
            found[metric][candidate] = value
    return found


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + ROWS_PER_QUERY] for start in range(0, len(numbers), ROWS_PER_QUERY))


def _scorer(board: BoardVotes, info: ScorerInfo, margins: Floats, reason: str) -> Scorer:
    """Rank restorers by one scorer.

    margins (P,): positive if the first image of the pair is preferred, NaN without an answer. reason: why there are no
    answers.
    """
    known, once = ~np.isnan(margins), board.once
    if not known.any():
        return Scorer(info.name, info.title, info.group, 0, len(once), {}, None, reason)
    own = replace(once.where(known), won=(1 + np.sign(margins[known])) / 2)
    strengths = fit(own.wins())
    same = board.cast.where(np.isin(board.cast.pairs, own.pairs))
    people = board.strengths if known.all() else fit(same.wins())
    return Scorer(
        name=info.name,
        title=info.title,
        group=info.group,
        pairs=len(own),
        of=len(once),
        ranks={
            restorer: int(rank)
            for restorer, rank, strength in zip(own.restorers, ranks(strengths), strengths, strict=True)
            if not np.isnan(strength)
        },
        correlation=rank_correlation(people, strengths),
        note=info.note,
    )
