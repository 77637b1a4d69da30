"""Judged pairs and SVM labels of a manifest's rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewardlab.manifest import JUDGED, PreferenceRow
from rewardlab.metrics.registry import PAPER_METRICS
from rewardlab.predictor import svm
from rewardlab.predictor.svm import Array, Parameters, Predictor, PredictorConfig

COMPLETE_SHARE = 0.9  # a metric takes part in a predictor once this share of the judged pairs has it
REMEDY = "Score them, then take a new snapshot."
NO_METRIC = f"No metric has values for {COMPLETE_SHARE:.0%} of the judged training pairs. {REMEDY}"


@dataclass(frozen=True)
class ManifestPairs:
    """N judged training pairs with a winner: metrics (N, K) of each image, who won (N,), faces (N,)."""

    metrics: tuple[str, ...]
    first: Array
    second: Array
    first_wins: NDArray[np.bool_]
    faces: NDArray[np.int64]


def fit_svm(
    judged: ManifestPairs, *, parameters: Parameters | None = None, config: PredictorConfig | None = None
) -> Predictor:
    """The SVM of App. A.1 on these pairs. Raises `TooFewLabels`, and `ValueError` if they have no metric in common."""
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
    """Training pairs that people or simulated annotators judged, and decided."""
    return [row for row in rows if row.split == "train" and row.origin in JUDGED and row.p_first != 0.5]


def judged_pairs(rows: Iterable[PreferenceRow]) -> ManifestPairs:
    """The training labels as arrays, with the metrics that nearly all have. Pairs that lack one are left out."""
    labels = training_labels(rows)
    first, second = scores(labels, PAPER_METRICS)
    there = ~np.isnan(first) & ~np.isnan(second)
    use = there.sum(axis=0) >= max(1, COMPLETE_SHARE * len(labels))
    whole = there[:, use].all(axis=1)
    return ManifestPairs(
        metrics=tuple(name for name, used in zip(PAPER_METRICS, use, strict=True) if used),
        first=first[whole][:, use],
        second=second[whole][:, use],
        first_wins=np.array([row.p_first > 0.5 for row in labels], bool)[whole],
        faces=np.array([row.face for row in labels], np.int64)[whole],
    )


def scores(rows: Sequence[PreferenceRow], metrics: Sequence[str]) -> tuple[Array, Array]:
    """Values for the first and the second image, (N, len(metrics)) each; NaN where a row has none."""
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
    """The rows as they were if only a fraction, in (0, 1], of the training labels had been given (Table 12).

    Pairs are drawn by the seed, and those of a smaller fraction are among those of a larger. The SVM is fitted on the
    kept labels and labels the rest, and also the pairs that the whole set's SVM had labelled: its probability,
    origin svm, no votes. Those that lack a metric of the SVM have no label then and are left out. Rows of other
    splits and anchored pairs stay. Raises `ValueError` for another fraction or pairs without metrics, and
    `TooFewLabels`.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction of human labels must lie in (0, 1], not {fraction}")
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
