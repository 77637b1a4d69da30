"""Geometry of the plots on pages: numbers to points of an inline SVG, no script and no style needed."""

from dataclasses import dataclass

from annotate.models import Predictor

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 44, 24
LOW, HIGH = 0.3, 1.0


@dataclass(frozen=True)
class Mark:
    label: str
    x: float = 0
    y: float = 0


@dataclass(frozen=True)
class Curve:
    accuracy: str
    baseline: str
    band: str
    grid: list[Mark]
    ticks: list[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def accuracy_curve(limit: int = 500) -> Curve | None:
    """Cross-validated accuracy of the last versions against their number of labels; None below two versions."""
    newest = Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk")
    rows = sorted(newest.values_list("labels", "cv_accuracy", "cv_low", "cv_high", "baseline_accuracy")[:limit])
    if len(rows) < 2 or rows[0][0] == rows[-1][0]:
        return None
    first, last = rows[0][0], rows[-1][0]

    def x(labels: int) -> float:
        return round(LEFT + (labels - first) / (last - first) * (WIDTH - LEFT - 12), 1)

    def y(share: float | None) -> float:
        inside = min(max(share or 0.0, LOW), HIGH)
        return round(8 + (HIGH - inside) / (HIGH - LOW) * (HEIGHT - BOTTOM - 8), 1)

    def points(column: int) -> list[str]:
        return [f"{x(row[0])},{y(row[column])}" for row in rows]

    return Curve(
        accuracy=" ".join(points(1)),
        baseline=" ".join(points(4)),
        band=" ".join(points(3) + points(2)[::-1]),
        grid=[Mark(f"{share:.0%}", y=y(share)) for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        ticks=[Mark(str(labels), x=x(labels)) for labels in sorted({first, (first + last) // 2, last})],
    )
