"""Tests of the smoothing of curves, against closed forms, and of thinning."""

import numpy as np
import pytest

from annotate.charts.smoothing import extremes, smoothed

STEPS = np.arange(1.0, 20_001.0)


@pytest.mark.parametrize("length", [0.01, 3, 100, 3000])
def test_average_of_a_ramp_equals_its_closed_form(length):
    w = np.exp(-1 / length)  # the weight of the step before
    powers = w ** (STEPS - 1)
    expected = (STEPS - w * (1 - powers * w) / (1 - w)) / (1 - powers * w)  # sum w^(t-k) k / sum w^(t-k)
    assert smoothed(STEPS, STEPS, length) == pytest.approx(expected, rel=1e-9)


def test_average_of_a_constant_is_that_constant():
    assert smoothed(STEPS, np.full(len(STEPS), 0.3), 100) == pytest.approx(0.3)


def test_average_depends_on_steps_not_on_their_number():
    """Every tenth step of a slow curve gives nearly the average of every step."""
    values = np.sin(STEPS / 4000)
    tenth = slice(9, None, 10)
    assert smoothed(STEPS[tenth], values[tenth], 300)[-500:] == pytest.approx(
        smoothed(STEPS, values, 300)[tenth][-500:], abs=2e-3
    )


def test_gap_stays_a_gap_and_does_not_change_the_average():
    values = np.array([1.0, np.nan, 3.0])
    found = smoothed(np.array([1.0, 2.0, 3.0]), values, 2)
    weight = np.exp(-1)
    assert found[[0, 2]] == pytest.approx([1, (weight + 3) / (weight + 1)])
    assert np.isnan(found[1])


def test_thinned_curve_keeps_extremes_ends_and_gaps():
    values = np.random.default_rng(0).normal(size=len(STEPS))
    values[[7_777, 12_345, 4_321]] = 99, -99, np.nan
    kept = extremes(STEPS, values, 600)
    assert len(kept) <= 600 + 3
    assert {0, 7_777, 12_345, 4_321, len(STEPS) - 1} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("x", [[], [5.0], [5.0] * 9, [0.0, 1.0, 1.0, 2.0]])
def test_short_curves_are_kept_whole(x):
    assert extremes(np.array(x), np.zeros(len(x)), 4).tolist() == list(range(len(x)))


def test_curve_of_gaps_alone_is_thinned():
    assert 2 <= len(extremes(STEPS, np.full(len(STEPS), np.nan), 20)) <= 22
