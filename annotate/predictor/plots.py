"""Plots of the predictor: error against coverage on the audit sample, accuracy against number of labels."""

from typing import Any

from annotate.charts.axes import Axis, Point, count_axis, percent, share_axis
from annotate.charts.lines import Plot, Series, plot
from annotate.models import Predictor

LOW, HIGH = 0.3, 1.0

CLASSES = {
    "svm": "line",
    "mlp3": "line second",
    "mlp4": "line third",
    "tree": "line fourth",
    "constant-order": "base",
}


def audit_plot(audit: dict[str, Any]) -> Plot | None:
    """Plot the error of the most confident part of the audit sample, and its bound, against the size of that part."""
    levels = audit.get("levels") or []
    if len(levels) < 2:
        return None
    error = [(level["coverage"], level["error"]) for level in levels]
    bound = [(level["coverage"], level["bound"]) for level in levels]
    highest = max(value for _, value in bound)
    top = min(1.0, (int(highest * 10) + 1) / 10)
    listed = ", ".join(
        f"{level['coverage']:.0%}: {level['error']:.0%}, at most {level['bound']:.0%}" for level in levels
    )
    return plot(
        "Error by coverage",
        f"Error of the most confident share of the sample, with its bound: {listed}",
        [Series("line", "error", error, percent(error[-1][1])), Series("base", "simultaneous bound", bound)],
        Axis("share of the sample, most confident first", 0, 1, 0.2, percent),
        Axis("", 0, top, 0.1, percent),
        bands=[error + bound[::-1]],
    )


def learning_plot(results: dict[str, Any]) -> Plot | None:
    """Plot the held-out accuracy of each method against the number of labels, with the SVM's interval."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in results["points"]:
        lines.setdefault(point["method"], []).append(point)
    labels = sorted({point["labels"] for point in results["points"]})
    if len(labels) < 2:
        return None
    series = [
        Series(
            CLASSES[method],
            points[0]["title"],
            [(p["labels"], p["accuracy"]) for p in points],
            percent(points[-1]["accuracy"]),
        )
        for method, points in lines.items()
    ]
    svm = lines.get("svm", [])
    band = [(p["labels"], p["low"]) for p in svm] + [(p["labels"], p["high"]) for p in svm][::-1]
    listed = ", ".join(f"{line.name} {line.newest}" for line in series)
    return plot(
        "Accuracy by number of human labels",
        f"Held-out accuracy with {labels[-1]} labels: {listed}; the table has the figures",
        series,
        count_axis("labels", 0, labels[-1]),
        share_axis([[(0, p["low"]) for p in results["points"]]]),
        bands=[band] if band else [],
    )


def accuracy_curve(limit: int = 500) -> Plot | None:
    """Plot the cross-validated accuracy of versions against their number of labels; None for fewer than two."""
    newest = Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk")
    rows = sorted(newest.values_list("labels", "cv_accuracy", "cv_low", "cv_high", "baseline_accuracy")[:limit])
    if len(rows) < 2 or rows[0][0] == rows[-1][0]:
        return None

    def column(number: int) -> list[Point]:
        return [(row[0], row[number] or 0.0) for row in rows]

    return plot(
        "Accuracy by number of labels",
        "Cross-validated accuracy of each version against the number of labels; the figures are in the table of "
        "predictors in the admin",
        [
            Series("line", "accuracy, with its 95% interval", column(1), f"{rows[-1][1] or 0:.0%}"),
            Series("base", "a constant order of the restorers", column(4), f"{rows[-1][4] or 0:.0%}"),
        ],
        count_axis("labels", rows[0][0], rows[-1][0]),
        Axis("", LOW, HIGH, 0.1, percent),
        bands=[column(3) + column(2)[::-1]],
    )
