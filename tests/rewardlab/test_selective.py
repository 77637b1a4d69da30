"""Selective labelling: the bound against published values, and its rate over simulated campaigns."""

import numpy as np
import pytest

from rewardlab.predictor import selective_labelling
from rewardlab.predictor.learning_curve import JudgedPairs, last_doubling, measure, shares


def test_upper_bound_equals_clopper_pearson():
    # Exact rule of three: no error in 29 pairs bounds the error by 9.8% with 95% confidence.
    assert selective_labelling.upper_bound(0, 29, risk=0.05) == pytest.approx(1 - 0.05 ** (1 / 29))
    assert selective_labelling.upper_bound(0, 28, risk=0.05) > 0.1 > selective_labelling.upper_bound(0, 29, risk=0.05)
    # Clopper and Pearson (1934): 3 of 10, 95% two-sided, 6.7% to 65.2%.
    assert selective_labelling.upper_bound(3, 10, risk=0.025) == pytest.approx(0.6525, abs=5e-5)
    assert selective_labelling.upper_bound(4, 4, risk=0.05) == 1.0


def test_levels_are_nested_and_widest_allowed_is_chosen():
    p_first = np.linspace(0.51, 0.99, 100)
    first_wins = np.ones(100, bool)
    first_wins[:20] = False  # the least confident fifth is wrong
    found = selective_labelling.levels(p_first, first_wins)
    assert [level.pairs for level in found] == list(range(10, 101, 10))
    assert [level.errors for level in found] == [0] * 8 + [10, 20]
    assert selective_labelling.chosen(found, 0.1).pairs == 80
    assert selective_labelling.chosen(found, 0.02) is None
    swapped = selective_labelling.levels(1 - p_first, ~first_wins)
    assert [(level.pairs, level.errors) for level in swapped] == [(level.pairs, level.errors) for level in found]
    assert selective_labelling.levels(np.array([]), np.array([], bool)) == []
    assert (
        selective_labelling.levels(np.full(5, 0.5), np.ones(5, bool))[0].errors == 5
    )  # the predictor prefers neither image


def test_least_pairs_is_the_smallest_sufficient_number():
    enough = selective_labelling.least_pairs(0.1)
    for pairs, suffices in ((enough, True), (enough - 1, False)):
        level = selective_labelling.levels(np.full(pairs, 0.9), np.ones(pairs, bool))[-1]
        assert (level.bound <= 0.1) == suffices


def test_bounds_hold_at_nominal_rate_over_500_campaigns():
    """Simulate audit pairs of varying difficulty and a predictor whose confidence correlates with its error.

    The true error of a level is measured on a million new pairs of the same confidence. All bounds of a campaign must
    hold simultaneously.
    """
    random = np.random.default_rng(0)

    def draw(pairs: int) -> tuple[np.ndarray, np.ndarray]:
        difficulty = random.normal(0, 1, pairs)
        log_odds = random.normal(0, 2, pairs)
        p_right = 1 / (1 + np.exp(-0.6 * np.abs(log_odds) + 0.5 * difficulty))
        right = random.random(pairs) < p_right
        return 1 / (1 + np.exp(-log_odds)), right == (log_odds > 0)

    fresh_p, fresh_wins = draw(1_000_000)
    order = np.argsort(-np.abs(fresh_p - 0.5))
    margins = np.abs(fresh_p - 0.5)[order]
    errors = np.cumsum(((fresh_p > 0.5) != fresh_wins)[order]) / np.arange(1, len(order) + 1)
    broken = misled = 0
    for campaign in range(500):
        found = selective_labelling.levels(*draw((40, 120, 400)[campaign % 3]))
        truth = [errors[np.searchsorted(-margins, -level.least_margin, side="right") - 1] for level in found]
        broken += any(true > level.bound for true, level in zip(truth, found, strict=True))
        chosen = selective_labelling.chosen(found, 0.3)
        misled += chosen is not None and truth[found.index(chosen)] > 0.3
    limit = 500 * 0.05 + 3 * np.sqrt(500 * 0.05 * 0.95)
    assert broken <= limit
    assert misled <= limit
    naive = sum(
        any(true > level.errors / level.pairs for true, level in zip(truth, found, strict=True))
        for found, truth in [
            (levels, [errors[np.searchsorted(-margins, -level.least_margin, side="right") - 1] for level in levels])
            for levels in (selective_labelling.levels(*draw(120)) for _ in range(50))
        ]
    )
    assert naive > 25  # the observed error rate without a bound fails in half of the campaigns


def test_bound_fails_with_several_pairs_per_face():
    """Show why the audit takes one pair per face: six identical results mimic a sample six times as large."""
    random = np.random.default_rng(0)
    broken = {1: 0, 6: 0}
    for _ in range(500):
        right = random.random(120) < 0.9
        p_first = 0.9 + 0.05 * random.random(120)
        for each in broken:
            found = selective_labelling.levels(np.repeat(p_first, each), np.repeat(right, each))
            broken[each] += any(level.bound < 0.1 for level in found)
    assert broken[1] <= 500 * 0.05 + 3 * np.sqrt(500 * 0.05 * 0.95) < 150 < broken[6]


def judged(pairs: int, seed: int = 0) -> JudgedPairs:
    """Generate three pairs per face; the first metric decides, with noise."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, pairs, 2))
    wins = first[:, 0] - second[:, 0] + random.normal(0, 0.5, pairs) > 0
    sources = np.array(["a", "b"])
    return JudgedPairs(
        first, second, sources[[0] * pairs], sources[[1] * pairs], wins, np.arange(pairs, dtype=np.int64) // 3
    )


def test_learning_curve_rises_for_learnable_labels():
    pairs = judged(150)
    found = list(measure(pairs, parameters={"svc__kernel": "linear", "svc__C": 1.0}, points=2))
    assert {point.method for point in found} == {"svm", "mlp3", "mlp4", "tree", "constant-order"}
    svm = [point for point in found if point.method == "svm"]
    assert [point.share for point in svm] == shares(2) == [0.5, 1.0]
    assert shares(5) == [0.0625, 0.125, 0.25, 0.5, 1.0]
    assert [point.labels for point in svm] == sorted(point.labels for point in svm)
    assert svm[-1].labels == 120  # four folds of five
    assert svm[-1].accuracy > 0.8 > next(p for p in found[::-1] if p.method == "constant-order").accuracy
    assert all(point.low <= point.accuracy <= point.high for point in found)
    gain = next(doubling for doubling in last_doubling(found, pairs.faces) if doubling.method == "svm")
    half = next(point for point in svm if point.share == 0.5)
    assert gain.gain == pytest.approx(svm[-1].accuracy - half.accuracy)
    assert gain.low <= gain.gain <= gain.high
