"""Baselines of the reward model: a constant order of restorers, metrics, and predictors on metrics (Table 9).

All are fitted only on rows of split train, even if other rows are passed. Margins are positive if the first image is
preferred. A predictor's margin is its probability minus one half; of other margins only the sign is meaningful.
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
class Method:
    """A method and its margins (N,) in the order of the wanted rows, or None with the reason in `note`."""

    name: str
    title: str
    group: str  # baseline, predictor or metric; frm, start or ablation in a report
    margins: NDArray[np.float64] | None
    note: str = ""


def all_baselines(
    rows: Iterable[PreferenceRow],
    wanted: Sequence[PreferenceRow],
    *,
    seed: int = 0,
    parameters: Parameters | None = None,
    config: PredictorConfig | None = None,
) -> list[Method]:
    """Fit all baselines on the training rows among `rows` and return them with their margins for `wanted`."""
    rows = list(rows)
    predictors = predictor_methods(rows, wanted, seed=seed, parameters=parameters, config=config)
    return [*predictors, constant_order(rows, wanted), *metric_methods(wanted)]


def constant_order(rows: Iterable[PreferenceRow], wanted: Sequence[PreferenceRow]) -> Method:
    """Prefer hq to every restorer, and of two restorers the one that won more of their judged training pairs.

    The margin is the share of wins minus one half; 0 if the two were never compared or won equally often.
    """
    title = "Constant order of restorers"
    labels = training_labels(rows)
    if not labels:
        return Method("constant-order", title, "baseline", None, "No training pair has been judged.")
    train, test = _sources(labels), _sources(wanted)
    found = constant_order_margins(*train, np.array([row.p_first > 0.5 for row in labels], bool), *test)
    hq_first, hq_second = (sources == "hq" for sources in test)
    margins = np.where(hq_first | hq_second, 0.5 * hq_first - 0.5 * hq_second, found)
    return Method("constant-order", title, "baseline", margins)


def _sources(rows: Sequence[PreferenceRow]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    return np.array([row.first_source for row in rows], str), np.array([row.second_source for row in rows], str)


def metric_methods(wanted: Sequence[PreferenceRow]) -> list[Method]:
    """Return one method per metric of Sec. 3.1: the difference of its values, signed so that better is positive."""
    methods = []
    for name in PAPER_METRICS:
        metric = METRICS[name]
        first, second = scores(wanted, (name,))
        reason = _missing(wanted, (name,))
        margins = metric.margin(first[:, 0], second[:, 0])
        methods.append(Method(name, metric.title, "metric", None if reason else margins, reason))
    return methods


def predictor_methods(
    rows: Iterable[PreferenceRow],
    wanted: Sequence[PreferenceRow],
    *,
    seed: int = 0,
    parameters: Parameters | None = None,
    config: PredictorConfig | None = None,
) -> list[Method]:
    """Fit the SVM and the perceptrons of Table 9 and a boosted tree on the same labels.

    Without `parameters` the SVM's grid is searched. All are trained only on contested pairs. On pairs with hq, whose
    PSNR is the metric's maximum, they extrapolate and their margins mean little: an RBF kernel vanishes there, and
    its margin is 0.
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
        return [Method(name, title, "predictor", None, reason) for name, title in names]
    labels = (judged.first, judged.second, judged.first_wins, judged.faces)
    fitted: tuple[Predictor | Mlp | Tree, ...] = (
        fit_svm(judged, parameters=parameters, config=config),
        fit_mlp(*labels, layers=3, seed=seed),
        fit_mlp(*labels, layers=4, seed=seed),
        fit_tree(*labels, seed=seed),
    )
    first, second = scores(wanted, judged.metrics)
    return [
        Method(name, title, "predictor", np.asarray(model.probability_first(first, second) - 0.5, np.float64))
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
