"""Axes of the charts: range, ticks and tick labels."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]  # step, value

SMALLEST = 1e-12  # smaller values are plotted as zero


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with a tick every `step`. Values outside are drawn at the edge."""

    title: str
    low: float
    high: float
    step: float
    text: Callable[[float], str]

    def place(self, value: float, start: float, end: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(start + (inside - self.low) / (self.high - self.low) * (end - start), 1)

    def ticks(self) -> list[float]:
        numbers = range(math.ceil(self.low / self.step - 1e-6), math.floor(self.high / self.step + 1e-6) + 1)
        return [number * self.step for number in numbers]


@dataclass(frozen=True)
class Decades(Axis):
    """A logarithmic axis. `low` and `high` are powers of ten, `step` is a number of decades."""

    def place(self, value: float, start: float, end: float) -> float:
        low, high = math.log10(self.low), math.log10(self.high)
        inside = math.log10(min(max(value, self.low), self.high))
        return round(start + (inside - low) / (high - low) * (end - start), 1)

    def ticks(self) -> list[float]:
        low, high = round(math.log10(self.low)), round(math.log10(self.high))
        return [10.0**power for power in range(low, high + 1, int(self.step))]


def count_axis(title: str, low: int, high: int) -> Axis:
    return Axis(title, low, high, max(_round_step(high - low), 1), lambda value: f"{value:,.0f}")


def loss_axis(points: Sequence[Point]) -> Axis:
    return value_axis([value for _, value in points], 0.01)


def value_axis(values: Sequence[float], least: float = 0) -> Axis:
    """Return an axis around the values, at least `least` wide, by default a hundredth of the largest value.

    It is never so narrow that its ends are the same floating-point number.
    """
    largest = max(map(abs, values))
    least = max(least or largest / 100, largest * 1e-6)
    step = _round_step(max(max(values) - min(values), least if least > SMALLEST else 0.01))
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step + 1e-6) * step
    return Axis("", low, high, step, lambda value: _signed(f"{value:.4g}"))


def decades_axis(values: Sequence[float]) -> Axis:
    """Return a logarithmic axis if positive values span more than a decade. Zeros are drawn on the lower edge."""
    positive = [max(value, SMALLEST) for value in values if value > 0]
    if not positive or max(positive) < 10 * min(positive):
        return value_axis(values)
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Decades("", 10.0**low, 10.0**high, -(-(high - low) // 6), lambda value: _signed(f"{value:g}"))


def share_axis(lines: Iterable[Sequence[Point]]) -> Axis:
    """Return an axis to 100%, from 50% or from the multiple of 10% below the lowest share."""
    lowest = min([0.5, *(value for points in lines for _, value in points)])
    return Axis("", math.floor(lowest * 10 + 1e-6) / 10, 1.0, 0.1, percent)


def _round_step(span: float, most: int = 5) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides the span into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * most >= span * (1 - 1e-9))


def _signed(digits: str) -> str:
    return digits.replace("-", "−")


def percent(value: float) -> str:
    return f"{value:.0%}"
