"""What the reward model is compared with: orders of restorers, metrics, and predictors on metrics (Table 9).

All are fitted on rows of split train alone, whatever rows they are given. Margins are positive where the first image
is preferred; only a predictor's mean more than their sign (probability minus one half).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardlab.manifest import PreferenceRow
from rewardlab.metrics.registry import METRICS, PAPER_METRICS, availability
from rewardlab.predictor import svm
from rewardlab.predictor.boosted_tree import Tree, fit_tree
from rewardlab.predictor.constant_order import margins as constant_order_margins
from rewardlab.predictor.manifest_labels import NO_METRIC, REMEDY, fit_svm, judged_pairs, scores, training_labels
from rewardlab.predictor.mlp import Mlp, fit_mlp
from rewardlab.predictor.svm import Parameters, Predictor, PredictorConfig


@dataclass(frozen=True)
class Rival:
    """Margins (N,) in the order of the wanted rows, or None and the reason why the rival cannot be had."""

    name: str
    title: str
    group: str  # baseline, predictor or metric
    margins: NDArray[np.float64] | None
    reason: str = ""


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
    labels = training_labels(rows)
    if not labels:
        return Rival("constant-order", title, "baseline", None, "No training pair has been judged.")
    learned, asked = _sources(labels), _sources(wanted)
    found = constant_order_margins(*learned, np.array([row.p_first > 0.5 for row in labels], bool), *asked)
    hq_first, hq_second = (sources == "hq" for sources in asked)
    margins = np.where(hq_first | hq_second, 0.5 * hq_first - 0.5 * hq_second, found)
    return Rival("constant-order", title, "baseline", margins)


def _sources(rows: Sequence[PreferenceRow]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    return np.array([row.first_source for row in rows], str), np.array([row.second_source for row in rows], str)


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
        svm.require_enough(judged.faces, config or PredictorConfig())
    except svm.TooFewLabels as error:
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
