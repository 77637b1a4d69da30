"""What the reward model is compared with: orders of restorers, metrics, and predictors on metrics (Table 9).

All are fitted on rows of split train alone, whatever rows they are given. Margins are positive where the first image
is preferred; only a predictor's mean more than their sign (probability minus one half).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewardlab import predictor
from rewardlab.boosting import Tree, fit_tree
from rewardlab.gold import JUDGED
from rewardlab.manifest import PreferenceRow
from rewardlab.metrics.registry import METRICS, PAPER_METRICS, availability
from rewardlab.mlp import Mlp, fit_mlp
from rewardlab.predictor import Array, Parameters, Predictor, PredictorConfig

COMPLETE_SHARE = 0.9  # a metric takes part in a predictor once this share of the judged pairs has it
REMEDY = "Score them, then take a new snapshot."
NO_METRIC = f"No metric has values for {COMPLETE_SHARE:.0%} of the judged training pairs. {REMEDY}"


@dataclass(frozen=True)
class Rival:
    """Margins (N,) in the order of the wanted rows, or None and the reason why the rival cannot be had."""

    name: str
    title: str
    group: str  # baseline, predictor or metric
    margins: NDArray[np.float64] | None
    reason: str = ""


@dataclass(frozen=True)
class JudgedPairs:
    """N judged training pairs with a winner: metrics (N, K) of each image, who won (N,), faces (N,)."""

    metrics: tuple[str, ...]
    first: Array
    second: Array
    first_wins: NDArray[np.bool_]
    faces: NDArray[np.int64]


def all_rivals(
    rows: Iterable[PreferenceRow],
    wanted: Sequence[PreferenceRow],
    *,
    seed: int = 0,
    parameters: Parameters | None = None,
    config: PredictorConfig | None = None,
) -> list[Rival]:
    """Every rival, fitted on the training rows among `rows`, with its margins for `wanted`."""
    rows = list(rows)
    predictors = predictor_rivals(rows, wanted, seed=seed, parameters=parameters, config=config)
    return [*predictors, constant_order(rows, wanted), *metric_rivals(wanted)]


def constant_order(rows: Iterable[PreferenceRow], wanted: Sequence[PreferenceRow]) -> Rival:
    """Prefers hq to everything, and of two restorers the one that won more of their judged training pairs.

    The margin is the share of wins minus one half; 0 for two that never met or won as often as each other.
    """
    title = "Constant order of restorers"
    won: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in training_labels(rows):
        low_first = row.first_source <= row.second_source
        won[_couple(row)].append((row.p_first > 0.5) == low_first)
    if not won:
        return Rival("constant-order", title, "baseline", None, "No training pair has been judged.")

    def margin(row: PreferenceRow) -> float:
        if "hq" in (row.first_source, row.second_source):
            return 0.5 * ((row.first_source == "hq") - (row.second_source == "hq"))
        wins = won.get(_couple(row))
        low = float(np.mean(wins)) - 0.5 if wins else 0.0
        return low if row.first_source <= row.second_source else -low

    return Rival("constant-order", title, "baseline", np.array([margin(row) for row in wanted], np.float64))


def _couple(row: PreferenceRow) -> tuple[str, str]:
    low, high = sorted((row.first_source, row.second_source))
    return low, high


def metric_rivals(wanted: Sequence[PreferenceRow]) -> list[Rival]:
    """One for each metric of Sec. 3.1: the difference of its values, turned so that better is positive."""
    rivals = []
    for name in PAPER_METRICS:
        metric = METRICS[name]
        first, second = scores(wanted, (name,))
        reason = _missing(wanted, (name,))
        margins = (first - second)[:, 0] * (1 if metric.higher_is_better else -1)
        rivals.append(Rival(name, metric.title, "metric", None if reason else margins, reason))
    return rivals


def predictor_rivals(
    rows: Iterable[PreferenceRow],
    wanted: Sequence[PreferenceRow],
    *,
    seed: int = 0,
    parameters: Parameters | None = None,
    config: PredictorConfig | None = None,
) -> list[Rival]:
    """The SVM and the perceptrons of Table 9, and a boosted tree, on the same labels; without `parameters` the SVM's
    grid is searched.

    They learn from contested pairs alone. On pairs with hq, whose PSNR is the metric's upper end, they extrapolate, and
    what they say there means little: an RBF kernel vanishes, and its margin is 0.
    """
    judged = judged_pairs(rows)
    reason = _missing(wanted, judged.metrics) if judged.metrics else NO_METRIC
    try:
        predictor.require_enough(judged.faces, config or PredictorConfig())
    except predictor.TooFewLabels as error:
        reason = str(error)
    names = (
        ("svm", "SVM on metrics"),
        ("mlp3", "MLP on metrics (3-layer)"),
        ("mlp4", "MLP on metrics (4-layer)"),
        ("tree", "Gradient-boosted tree on metrics"),
    )
    if reason:
        return [Rival(name, title, "predictor", None, reason) for name, title in names]
    labels = (judged.first, judged.second, judged.first_wins, judged.faces)
    fitted: tuple[Predictor | Mlp | Tree, ...] = (
        fit_svm(judged, parameters=parameters, config=config),
        fit_mlp(*labels, layers=3, seed=seed),
        fit_mlp(*labels, layers=4, seed=seed),
        fit_tree(*labels, seed=seed),
    )
    first, second = scores(wanted, judged.metrics)
    return [
        Rival(name, title, "predictor", np.asarray(model.probability_first(first, second) - 0.5, np.float64))
        for (name, title), model in zip(names, fitted, strict=True)
    ]


def fit_svm(
    judged: JudgedPairs, *, parameters: Parameters | None = None, config: PredictorConfig | None = None
) -> Predictor:
    """The SVM of App. A.1 on these pairs. Raises `TooFewLabels`, and `ValueError` if they have no metric in common."""
    predictor.require_enough(judged.faces, config or PredictorConfig())
    if not judged.metrics:
        raise ValueError(NO_METRIC)
    return predictor.fit(
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


def judged_pairs(rows: Iterable[PreferenceRow]) -> JudgedPairs:
    """The training labels as arrays, with the metrics that nearly all have. Pairs that lack one are left out."""
    labels = training_labels(rows)
    first, second = scores(labels, PAPER_METRICS)
    there = ~np.isnan(first) & ~np.isnan(second)
    use = there.sum(axis=0) >= max(1, COMPLETE_SHARE * len(labels))
    whole = there[:, use].all(axis=1)
    return JudgedPairs(
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


def _missing(rows: Sequence[PreferenceRow], metrics: Sequence[str]) -> str:
    first, second = scores(rows, metrics)
    lacking = (np.isnan(first) | np.isnan(second)).sum(axis=0)
    parts = [
        f"{count} of {len(rows)} pairs have no {METRICS[name].title}"
        for name, count in zip(metrics, lacking.tolist(), strict=True)
        if count
    ]
    remedies = dict.fromkeys(
        availability(name) or REMEDY for name, count in zip(metrics, lacking, strict=True) if count
    )
    return f"{', '.join(parts)}. {' '.join(remedies)}" if parts else ""


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
