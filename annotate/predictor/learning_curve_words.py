"""What a learning curve says, in words."""

from annotate.models import LearningCurve


def in_words(curve: LearningCurve) -> list[str]:
    """A sentence on the labels, and one on the last doubling of each method."""
    found = curve.results
    simulated = f", {found['simulated']} of them by SIMULATED annotators" if found["simulated"] else ""
    sentences = [f"{found['labels']} labels{simulated}; metrics {', '.join(found['metrics'])}."]
    if not found["doublings"]:
        sentences.append("Half of the labels are too few to learn from: whether more would help cannot be said yet.")
    for doubling in found["doublings"]:
        gain = f"{100 * doubling['gain']:+.1f} points ({100 * doubling['low']:+.1f} to {100 * doubling['high']:+.1f})"
        verdict = (
            "more labels help" if doubling["low"] > 0
            else "fewer would have done" if doubling["high"] < 0
            else "no clear gain any more"
        )  # fmt: skip
        sentences.append(
            f"{doubling['title']}: the last doubling of the labels gave {gain.replace('-', '−')}: {verdict}."
        )
    return sentences


def rows_of(curve: LearningCurve) -> list[tuple[int, list[dict]]]:
    """Numbers of labels, each with the point of every method, always in the same order."""
    rows: dict[float, list[dict]] = {}
    for point in curve.results["points"]:
        rows.setdefault(point["share"], []).append(point)
    return [(points[0]["labels"], points) for points in rows.values()]


def newest_curve() -> LearningCurve | None:
    return LearningCurve.objects.order_by("-pk").first()
