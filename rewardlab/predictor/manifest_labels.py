"""Judged pairs and SVM labels from the rows of a manifest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewardlab.manifest import JUDGED, PreferenceRow
from rewardlab.metrics.registry import PAPER_METRICS
from rewardlab.predictor import svm
from rewardlab.predictor.svm import Array, Parameters, Predictor, PredictorConfig

COMPLETE_SHARE = 0.9  # predictors use a metric if this share of the judged pairs has it
REMEDY = "Score them, then take a new snapshot."
NO_METRIC = f"No metric has values for {COMPLETE_SHARE:.0%} of the judged training pairs. {REMEDY}"


@dataclass(frozen=True)
class ManifestPairs:
    """N decided training pairs: metrics (N, K) of each image, whether the first won (N,), faces (N,)."""

    metrics: tuple[str, ...]
    first: Array
    second: Array
    first_wins: NDArray[np.bool_]
    faces: NDArray[np.int64]


def fit_svm(
    judged: ManifestPairs, *, parameters: Parameters | None = None, config: PredictorConfig | None = None
) -> Predictor:
    """Fit the SVM of App. A.1. Raises `TooFewLabels`, and `ValueError` if the pairs have no metric in common."""
    svm.require_enough(judged.faces, config or PredictorConfig())
    if not judged.metrics:
        raise ValueError(NO_METRIC)
    return svm.fit(
        judged.first,
        judged.second,
        judged.first_wins,
        judged.faces,
        features=judged.metrics,
        parameters=parameters,
        config=config,
    )


def training_labels(rows: Iterable[PreferenceRow]) -> list[PreferenceRow]:
    """Select the training pairs that people or simulated annotators judged, without ties."""
    return [row for row in rows if row.split == "train" and row.origin in JUDGED and row.p_first != 0.5]


def judged_pairs(rows: Iterable[PreferenceRow]) -> ManifestPairs:
    """Return the training labels as arrays, with the metrics that nearly all have. Pairs that lack one are left out."""
    labels = training_labels(rows)
    first, second = scores(labels, PAPER_METRICS)
    scored = ~np.isnan(first) & ~np.isnan(second)
    use = scored.sum(axis=0) >= max(1, COMPLETE_SHARE * len(labels))
    complete = scored[:, use].all(axis=1)
    return ManifestPairs(
        metrics=tuple(name for name, used in zip(PAPER_METRICS, use, strict=True) if used),
        first=first[complete][:, use],
        second=second[complete][:, use],
        first_wins=np.array([row.p_first > 0.5 for row in labels], bool)[complete],
        faces=np.array([row.face for row in labels], np.int64)[complete],
    )


def scores(rows: Sequence[PreferenceRow], metrics: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of the first and of the second image, (N, len(metrics)) each; NaN if missing."""
    values = [[row.scores.get(metric, (np.nan, np.nan)) for metric in metrics] for row in rows]
    table = np.array(values, np.float64).reshape(len(rows), len(metrics), 2)
    return table[:, :, 0], table[:, :, 1]


def with_human_fraction(
    rows: Sequence[PreferenceRow],
    fraction: float,
    seed: int,
    *,
    parameters: Parameters | None = None,
    config: PredictorConfig | None = None,
) -> list[PreferenceRow]:
    """Return the rows as if only a fraction, in (0, 1], of the training labels had been collected (Table 12).

    Pairs are drawn by the seed; smaller fractions are subsets of larger ones. An SVM is fitted on the kept labels and
    labels all other training pairs, including those that the original SVM labelled: its probability, origin svm, no
    votes. Of these, pairs that lack a metric of the SVM are left out. Rows of other splits and anchored pairs are
    unchanged. Raises `ValueError` for other fractions and for pairs without metrics, and `TooFewLabels`.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction of human labels must be in (0, 1], not {fraction}")
    if fraction == 1:
        return list(rows)
    pairs = sorted(row.pair for row in rows if row.split == "train" and row.origin in JUDGED)
    order = np.random.default_rng(seed).permutation(len(pairs))
    kept = {pairs[index] for index in order[: round(fraction * len(pairs))]}
    stale = [
        row
        for row in rows
        if row.split == "train" and (row.origin == "svm" or (row.origin in JUDGED and row.pair not in kept))
    ]
    judged = judged_pairs(row for row in rows if row.pair in kept)
    model = fit_svm(judged, parameters=parameters, config=config)
    first, second = scores(stale, judged.metrics)
    scored = ~np.isnan(first).any(axis=1) & ~np.isnan(second).any(axis=1)
    p_first = np.full(len(stale), np.nan)
    p_first[scored] = model.probability_first(first[scored], second[scored])
    labels = dict(zip((row.pair for row in stale), p_first.tolist(), strict=True))
    relabelled = (
        replace(row, p_first=labels[row.pair], origin="svm", votes=(0, 0, 0)) if row.pair in labels else row
        for row in rows
    )
    return [row for row in relabelled if not np.isnan(row.p_first)]
