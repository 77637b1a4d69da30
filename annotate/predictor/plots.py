"""Plots of the predictor: error against coverage on the audit sample, accuracy against number of labels."""

from typing import Any

from django.utils.translation import gettext as _

from annotate.charts.axes import Axis, Point, count_axis, percent, share_axis
from annotate.charts.lines import Plot, Series, plot
from annotate.models import Predictor
from annotate.predictor.learning_curve_words import translated

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
    spoken = ", ".join(
        _("%(coverage)s: %(error)s, at most %(bound)s")
        % {name: percent(level[name]) for name in ("coverage", "error", "bound")}
        for level in levels
    )
    return plot(
        _("Error by coverage"),
        _("Error of the most confident share of the sample, with its bound: %(levels)s") % {"levels": spoken},
        [Series("line", _("error"), error, percent(error[-1][1])), Series("base", _("simultaneous bound"), bound)],
        Axis(_("share of the sample, most confident first"), 0, 1, 0.2, percent),
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
            translated(points[0]["title"]),
            [(p["labels"], p["accuracy"]) for p in points],
            percent(points[-1]["accuracy"]),
        )
        for method, points in lines.items()
    ]
    svm = [point for point in lines.get("svm", []) if point["low"] is not None]
    band = [(p["labels"], p["low"]) for p in svm] + [(p["labels"], p["high"]) for p in svm][::-1]
    listed = ", ".join(f"{line.name} {line.newest}" for line in series)
    return plot(
        _("Accuracy by number of human labels"),
        _("Held-out accuracy with %(n)s labels: %(figures)s; the table has the figures")
        % {"n": labels[-1], "figures": listed},
        series,
        count_axis(_("labels"), 0, labels[-1]),
        share_axis([[(0, p["accuracy"] if p["low"] is None else p["low"]) for p in results["points"]]]),
        bands=[band] if band else [],
    )


def accuracy_curve(limit: int = 500) -> Plot | None:
    """Plot the cross-validated accuracy of versions against their number of labels; None for fewer than two."""
    newest = Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk")
    rows = sorted(newest.values_list("labels", "cv_accuracy", "cv_low", "cv_high", "baseline_accuracy")[:limit])
    if len(rows) < 2 or rows[0][0] == rows[-1][0]:
        return None

    def column(number: int) -> list[Point]:
        return [(row[0], value) for row in rows if (value := row[number]) is not None]

    return plot(
        _("Accuracy by number of labels"),
        _(
            "Cross-validated accuracy of each version against the number of labels; the figures are in the table of "
            "predictors in the admin"
        ),
        [
            Series("line", _("accuracy, with its 95% interval"), column(1), f"{rows[-1][1] or 0:.0%}"),
            Series("base", _("a constant order of the restorers"), column(4), f"{rows[-1][4] or 0:.0%}"),
        ],
        count_axis(_("labels"), rows[0][0], rows[-1][0]),
        Axis("", LOW, HIGH, 0.1, percent),
        bands=[band] if (band := column(3) + column(2)[::-1]) else [],
    )
