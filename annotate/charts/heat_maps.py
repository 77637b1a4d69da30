"""Heat maps as tables: each cell has a shade (a CSS class) and its value as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

SHADES = 8


@dataclass(frozen=True)
class Cell:
    words: str
    shade: int | None = None  # 0 is the lightest; None: nothing to show
    title: str = ""


@dataclass(frozen=True)
class HeatMap:
    title: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


def shade(value: float, low: float, high: float) -> int:
    inside = min(max(value, low), high)
    return min(int((inside - low) / (high - low) * SHADES), SHADES - 1) if high > low else 0


def counted(title: str, corner: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> HeatMap:
    """Build a confusion matrix of counts, shaded by the share of the row."""
    rows = []
    for label, line in zip(labels, counts, strict=True):
        total = sum(line)
        cells = [Cell(f"{count:,}", shade(count / total, 0, 1) if total else None) for count in line]
        rows.append((label, cells))
    return HeatMap(title, corner, list(labels), rows)


def symmetric(title: str, labels: Sequence[str], values: dict[tuple[str, str], tuple[str, float | None]]) -> HeatMap:
    """Build a symmetric map. values: for two labels, the cell's text and the value in [0, 1] for its shade."""
    rows = []
    for one in labels:
        cells = []
        for other in labels:
            words, value = values.get((one, other)) or values.get((other, one)) or ("", None)
            both = gettext("%(one)s and %(other)s") % {"one": one, "other": other}
            cells.append(Cell(words, None if value is None else shade(value, 0, 1), both))
        rows.append((one, cells))
    return HeatMap(title, "", list(labels), rows)
