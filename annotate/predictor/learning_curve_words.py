"""Format the learning curve as sentences and table rows."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.models import LearningCurve

# By the title that is stored with the curve.
TITLES = {
    "MLP (3-layer)": gettext_lazy("MLP (3-layer)"),
    "MLP (4-layer)": gettext_lazy("MLP (4-layer)"),
    "gradient-boosted tree": gettext_lazy("gradient-boosted tree"),
    "constant order of restorers": gettext_lazy("constant order of restorers"),
}


def translated(title: str) -> str:
    """Return a method's title in the reader's language."""
    return str(TITLES.get(title, title))


def summary(curve: LearningCurve) -> list[str]:
    """Return a sentence on the labels, and for each method one on the last doubling of the labels."""
    found = curve.results
    counts = {"n": found["labels"], "simulated": found["simulated"], "metrics": ", ".join(found["metrics"])}
    if found["simulated"]:
        sentences = [_("%(n)s labels, %(simulated)s of them by SIMULATED annotators; metrics %(metrics)s.") % counts]
    else:
        sentences = [_("%(n)s labels; metrics %(metrics)s.") % counts]
    if not found["doublings"]:
        sentences.append(
            _("There are too few labels to train on half of them, so it is unknown whether more labels would help.")
        )
    for doubling in found["doublings"]:
        points = {
            name: f"{100 * doubling[name]:+.1f}".replace("-", "−")
            for name in ("gain", "low", "high")
            if doubling[name] is not None
        }
        has_interval = "low" in points
        gain = (_("%(gain)s points (%(low)s to %(high)s)") if has_interval else _("%(gain)s points")) % points
        verdict = (
            _("more labels help") if has_interval and doubling["low"] > 0
            else _("fewer labels would be enough") if has_interval and doubling["high"] < 0
            else _("no clear further gain")
        )  # fmt: skip
        sentences.append(
            _("%(method)s: the last doubling of the labels gave %(gain)s: %(verdict)s.")
            % {"method": translated(doubling["title"]), "gain": gain, "verdict": verdict}
        )
    return sentences


def rows_of(curve: LearningCurve) -> list[tuple[int, list[dict]]]:
    """Return, for each number of labels, the points of all methods in a fixed order."""
    rows: dict[float, list[dict]] = {}
    for point in curve.results["points"]:
        rows.setdefault(point["share"], []).append(point | {"title": translated(point["title"])})
    return [(points[0]["labels"], points) for points in rows.values()]


def paper_figures(curve: LearningCurve) -> list[tuple[str, float]]:
    """Return the paper's accuracy of each method."""
    return [(translated(title), figure) for title, figure in curve.results["paper"].items()]


def newest_curve() -> LearningCurve | None:
    return LearningCurve.objects.order_by("-pk").first()
