"""Measure the learning curve of the predictors: whether more labels would help."""

from collections.abc import Callable
from dataclasses import asdict

from annotate.models import LearningCurve
from annotate.predictor import features
from annotate.predictor import status as predictor_status
from rewardlab import paper
from rewardlab.metrics.registry import PAPER_METRICS
from rewardlab.predictor import learning_curve
from rewardlab.predictor.learning_curve import TITLES, JudgedPairs
from rewardlab.predictor.svm import Parameters

DEFAULT_PARAMETERS: Parameters = {"svc__kernel": "rbf", "svc__C": 1.0, "svc__gamma": 0.03}


def measure_learning_curve(*, points: int, seed: int, log: Callable[[str], None]) -> LearningCurve:
    """Measure and store the curve, with the current version's SVM parameters. Raises `TooFewLabels`, `GoldLeak`."""
    labels = features.training_labels()
    table = features.pair_features(labels, metric_order=PAPER_METRICS)
    rows, known = table.rows_of(labels.pairs)
    rows = rows[known]
    pairs = JudgedPairs(
        first=table.first[rows],
        second=table.second[rows],
        first_sources=table.first_sources[rows],
        second_sources=table.second_sources[rows],
        first_wins=labels.first_wins[known],
        faces=table.faces[rows],
    )
    version = predictor_status.current_predictor()
    found = []
    parameters = version.parameters if version else DEFAULT_PARAMETERS
    for point in learning_curve.measure(pairs, parameters=parameters, points=points, seed=seed):
        log(f"{TITLES[point.method]}, {point.labels} labels: {point.accuracy:.3f}")
        found.append(point)
    doublings = learning_curve.last_doubling(found, pairs.faces)
    results = {
        "points": [
            {name: value for name, value in vars(point).items() if name != "correct"} | {"title": TITLES[point.method]}
            for point in found
        ],
        "doublings": [asdict(doubling) | {"title": TITLES[doubling.method]} for doubling in doublings],
        "labels": len(pairs.faces),
        "simulated": int(labels.simulated[known].sum()),
        "metrics": list(table.metrics),
        "parameters": parameters,
        "seed": seed,
        "paper": {TITLES[name]: figure for name, (figure, _) in paper.AGREEMENT.items() if name in TITLES},
    }
    return LearningCurve.objects.create(results=results)
