"""Metric vectors of pairs as arrays, for the predictor. Needs numpy, so only the worker and commands import it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotate.labels.gold_guard import refuse_gold_in_training
from annotate.models import Candidate, Pair, Preference, Score
from annotate.models.faces import Split

# A metric that is still being computed must not exclude pairs from the fit.
COMPLETE_SHARE = 0.9


@dataclass(frozen=True)
class PairFeatures:
    """N contested pairs that have every metric: ids (N,), metrics of each image (N, K), K = len(metrics)."""

    metrics: tuple[str, ...]
    pairs: NDArray[np.int64]
    faces: NDArray[np.int64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    first_sources: NDArray[np.str_]
    second_sources: NDArray[np.str_]

    def rows_of(self, pair_ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the row of each pair id, and whether the pair is present. `pairs` is sorted."""
        rows = np.searchsorted(self.pairs, pair_ids).clip(max=max(len(self.pairs) - 1, 0))
        return rows, self.pairs[rows] == pair_ids if len(self.pairs) else np.zeros(len(pair_ids), bool)


@dataclass(frozen=True)
class Labels:
    """Judged contested pairs with a majority: pair ids and winners (M,). simulated (M,): no person judged the pair."""

    pairs: NDArray[np.int64]
    first_wins: NDArray[np.bool_]
    simulated: NDArray[np.bool_]


def training_labels(*, without: NDArray[np.int64] | None = None) -> Labels:
    """Return the majority answers on pairs of training faces. The predictor never trains on gold or test faces.

    without: ids of faces to leave out, for the audit. Raises `GoldLeak` if a gold face is among the training faces.
    """
    refuse_gold_in_training()
    rows = list(
        Preference.objects.filter(origin__in=Preference.JUDGED, pair__face__split=Split.TRAIN)
        .exclude(p_first=0.5)
        .order_by("pair_id")
        .values_list("pair_id", "p_first", "origin", "pair__face")
    )
    if without is not None and rows:
        kept = ~np.isin([row[3] for row in rows], without)
        rows = [row for row, is_kept in zip(rows, kept.tolist(), strict=True) if is_kept]
    return Labels(
        pairs=np.array([row[0] for row in rows], np.int64),
        first_wins=np.array([row[1] > 0.5 for row in rows], bool),
        simulated=np.array([row[2] == Preference.Origin.SIMULATED for row in rows], bool),
    )


def pair_features(labels: Labels, *, metric_order: tuple[str, ...]) -> PairFeatures:
    """Return the features of all contested pairs that have every metric. A metric is used once nearly all judged pairs
    have it."""
    candidates, values = _score_table(metric_order)
    pairs = np.array(
        list(
            Pair.objects.filter(kind=Pair.Kind.CONTESTED)
            .order_by("pk")
            .values_list("pk", "face_id", "first_id", "second_id")
        ),
        np.int64,
    ).reshape(-1, 4)
    first = _lookup(candidates, values, pairs[:, 2])
    second = _lookup(candidates, values, pairs[:, 3])
    judged = np.isin(pairs[:, 0], labels.pairs)
    present = ~np.isnan(first) & ~np.isnan(second)
    complete: NDArray[np.bool_] = np.asarray(
        present[judged].mean(axis=0) >= COMPLETE_SHARE if judged.any() else present.any(axis=0)
    )
    rows = present[:, complete].all(axis=1) & bool(complete.any())
    sources = _sources(pairs[rows])
    return PairFeatures(
        metrics=tuple(metric for metric, use in zip(metric_order, complete, strict=True) if use),
        pairs=pairs[rows, 0],
        faces=pairs[rows, 1],
        first=first[rows][:, complete],
        second=second[rows][:, complete],
        first_sources=sources[0],
        second_sources=sources[1],
    )


def _score_table(metrics: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return sorted candidate ids (C,) and their scores (C, len(metrics)), NaN where missing."""
    columns = []
    for metric in metrics:
        rows = Score.objects.filter(metric=metric).order_by("candidate_id").values_list("candidate_id", "value")
        columns.append(np.array(list(rows), np.float64).reshape(-1, 2))
    candidates = np.unique(np.concatenate([column[:, 0] for column in columns])).astype(np.int64)
    values = np.full((len(candidates), len(metrics)), np.nan)
    for index, column in enumerate(columns):
        values[np.searchsorted(candidates, column[:, 0]), index] = column[:, 1]
    return candidates, values


def _lookup(
    candidates: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    found = np.full((len(wanted), values.shape[1]), np.nan)
    if len(candidates):
        rows = np.searchsorted(candidates, wanted).clip(max=len(candidates) - 1)
        known = candidates[rows] == wanted
        found[known] = values[rows[known]]
    return found


def _sources(pairs: NDArray[np.int64]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    names = dict(Candidate.objects.filter(restorer__isnull=False).values_list("pk", "source"))
    return (
        np.array([names[pk] for pk in pairs[:, 2]], str),
        np.array([names[pk] for pk in pairs[:, 3]], str),
    )
