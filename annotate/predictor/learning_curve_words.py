"""Format the learning curve as sentences and table rows."""

from annotate.models import LearningCurve


def summary(curve: LearningCurve) -> list[str]:
    """Return a sentence on the labels, and for each method one on the last doubling of the labels."""
    found = curve.results
    simulated = f", {found['simulated']} of them by SIMULATED annotators" if found["simulated"] else ""
    sentences = [f"{found['labels']} labels{simulated}; metrics {', '.join(found['metrics'])}."]
    if not found["doublings"]:
        sentences.append(
            "There are too few labels to train on half of them, so it is unknown whether more labels would help."
        )
    for doubling in found["doublings"]:
        gain = f"{100 * doubling['gain']:+.1f} points ({100 * doubling['low']:+.1f} to {100 * doubling['high']:+.1f})"
        verdict = (
            "more labels help" if doubling["low"] > 0
            else "fewer labels would be enough" if doubling["high"] < 0
            else "no clear further gain"
        )  # fmt: skip
        sentences.append(
            f"{doubling['title']}: the last doubling of the labels gave {gain.replace('-', '−')}: {verdict}."
        )
    return sentences


def rows_of(curve: LearningCurve) -> list[tuple[int, list[dict]]]:
    """Return, for each number of labels, the points of all methods in a fixed order."""
    rows: dict[float, list[dict]] = {}
    for point in curve.results["points"]:
        rows.setdefault(point["share"], []).append(point)
    return [(points[0]["labels"], points) for points in rows.values()]


def newest_curve() -> LearningCurve | None:
    return LearningCurve.objects.order_by("-pk").first()
