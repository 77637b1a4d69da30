"""Tests of the leaderboard's statistics: Bradley-Terry strengths, intervals, triads, sensitivity, rank correlations."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.special import expit

from annotate.statistics.bradley_terry import (
    PRIOR,
    Ballots,
    fit,
    fit_many,
    intervals,
    limitations,
    rank_correlation,
    ranks,
)
from annotate.statistics.ranking_robustness import sensitivities, triads

NO_PRIOR = 1e6  # a factor for the votes that makes the prior negligible
BASEBALL = [  # American League East 1987, wins of the row's team: Agresti (2002), Table 10.10
    [0, 7, 9, 7, 7, 9, 11],  # Milwaukee
    [6, 0, 7, 5, 11, 9, 9],  # Detroit
    [4, 6, 0, 7, 7, 8, 12],  # Toronto
    [6, 8, 6, 0, 6, 7, 10],  # New York
    [6, 2, 6, 7, 0, 7, 12],  # Boston
    [4, 4, 5, 6, 6, 0, 6],  # Cleveland
    [2, 4, 1, 3, 1, 7, 0],  # Baltimore
]
AGRESTI = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0]
FOUR_TEAMS = [[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]]  # Wikipedia, “Bradley-Terry model”
THEIR_WEIGHTS = [0.139, 0.226, 0.143, 0.492]


def make_ballots(votes, size: int = 3) -> Ballots:
    """votes: (first, second, won by the first[, face, annotator])."""
    rows = np.array([(*vote, 0, 0)[:5] for vote in votes], np.float64)
    first, second, faces, people = (rows[:, column].astype(int) for column in (0, 1, 3, 4))
    return Ballots(tuple("ABCDEFGH"[:size]), first, second, rows[:, 2], np.arange(len(rows)), faces, people)


def test_strengths_match_published_examples():
    found = fit(np.array(BASEBALL) * NO_PRIOR)
    assert found - found[-1] == pytest.approx(AGRESTI, abs=6e-4)
    weights = np.exp(fit(np.array(FOUR_TEAMS) * NO_PRIOR))
    assert weights / weights.sum() == pytest.approx(THEIR_WEIGHTS, abs=6e-4)


def test_strengths_of_two_are_log_odds_with_ties_as_half_wins():
    votes = [(0, 1, 1)] * 28 + [(1, 0, 1)] * 8 + [(0, 1, 0.5)] * 4
    wins = make_ballots(votes, 2).wins()
    assert wins.tolist() == [[0, 30], [10, 0]]
    assert np.ptp(fit(wins)) == pytest.approx(np.log((30 + PRIOR) / (10 + PRIOR)))
    assert np.ptp(fit(wins * NO_PRIOR)) == pytest.approx(np.log(3))


def test_batched_fit_matches_choix():
    random = np.random.default_rng(0)
    wins = random.poisson(2, (40, 7, 7)) * ~np.eye(7, dtype=bool) * 1.0
    wins[1] = np.triu(np.full((7, 7), 1000.0), 1)  # nobody ever beats a restorer with a lower index
    wins[2, :3, 3:] = wins[2, 3:, :3] = 0  # two groups
    wins[3, 6] = wins[3, :, 6] = 0  # no votes on the last
    assert fit_many(wins) == pytest.approx(np.array([fit(one) for one in wins]), abs=1e-6, nan_ok=True)
    assert np.isnan(fit(wins[3])).tolist() == [False] * 6 + [True]
    assert ranks(fit(wins[1])).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ranks(np.array([0.5, np.nan, 0.5, 1.0])).tolist() == [2, 4, 2, 1]


def test_intervals_by_face_have_nominal_coverage():
    """Simulate three votes on every pair of 60 faces. Quality varies by face, so a face's votes are correlated."""
    strengths, face_sd, faces, trials = np.array([0.8, 0.3, -0.3, -0.8]), 0.8, 60, 150
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    differences = strengths[:, None] - strengths
    expected = expit(differences[..., None] + np.sqrt(2) * face_sd * nodes) @ (weights / weights.sum())
    truth = fit(expected * ~np.eye(4, dtype=bool) * NO_PRIOR)
    restorer_pairs = np.repeat(np.array(np.triu_indices(4, 1)).T, 3, axis=0)
    face = np.repeat(np.arange(faces), len(restorer_pairs))
    first, second = np.tile(restorer_pairs, (faces, 1)).T
    inside = naive = 0.0
    for trial in range(trials):
        random = np.random.default_rng(trial)
        quality = strengths + face_sd * random.normal(size=(faces, 4))
        won = (random.random(len(face)) < expit(quality[face, first] - quality[face, second])).astype(float)
        cast = Ballots(tuple("ABCD"), first, second, won, np.arange(len(face)), face, face % 2)
        found = intervals(cast, cast.faces, "faces", draws=300)
        inside += np.mean(
            [own.strength[0] <= value <= own.strength[1] for own, value in zip(found, truth, strict=True)]
        )
        found = intervals(cast, cast.pairs, "votes", draws=300)  # treats votes as independent
        naive += np.mean([own.strength[0] <= value <= own.strength[1] for own, value in zip(found, truth, strict=True)])
    margin = 3 * np.sqrt(0.95 * 0.05 / trials)
    assert inside / trials == pytest.approx(0.95, abs=margin)
    assert naive / trials < 0.95 - margin
    assert intervals(make_ballots([(0, 1, 1, face) for face in range(9)], 2), np.arange(9), "faces")[0].why == (
        "every draw of faces gives the same strength"
    )
    few = intervals(cast, cast.annotators, "annotators")
    assert few[0].strength is None
    assert few[0].why == "2 annotators: an interval needs at least 6"


def test_limitations_name_groups_and_undisputed_order():
    names = ("A", "B", "C", "D")
    assert limitations(names, make_ballots([(0, 1, 1), (0, 1, 0), (1, 2, 0.5), (3, 0, 0.5)], 4).wins()) == []
    apart = limitations(names, make_ballots([(0, 1, 1), (3, 2, 1)], 4).wins())
    assert apart[0].startswith("No vote connects these groups: A, B; C, D.")
    never = limitations(names, make_ballots([(0, 1, 1), (0, 2, 1), (1, 2, 0.5), (3, 0, 1)], 4).wins())
    assert never[0].startswith("No vote contradicts the order D over A over B and C.")


def test_intransitive_triads_need_three_decided_pairs():
    circle = [(0, 1, 1), (1, 2, 1), (0, 2, 0)]
    line = [(0, 1, 1), (1, 2, 1), (0, 2, 1)]
    votes = [
        *((*vote, 1, 1) for vote in circle),
        *((*vote, 2, 1) for vote in line),
        *((*vote, 3, 1) for vote in circle),
        *((*vote, 3, 2) for vote in line),  # on face 3 A and C are tied
        *((*vote, 4, 1) for vote in circle[:2]),
        *((*vote, 5, 1) for vote in circle[:2]),
        (0, 2, 0.5, 5, 1),
    ]
    cast = make_ballots(votes)
    by_face, by_annotator = triads(cast, cast.faces), triads(cast, cast.annotators, cast.faces)
    assert (by_face.intransitive, by_face.decided) == (1, 2)
    assert (by_annotator.intransitive, by_annotator.decided) == (2, 4)
    assert by_annotator.interval == pytest.approx((0.150, 0.850), abs=1e-3)  # Wilson's of 2 in 4
    assert "25% are expected by chance" in by_face.words
    random = np.random.default_rng(0)
    restorer_pairs = [(one, other) for one in range(5) for other in range(one)]
    coins = make_ballots(
        [(*restorer_pair, random.integers(2), face) for face in range(400) for restorer_pair in restorer_pairs], 5
    )
    found = triads(coins, coins.faces)
    assert found.decided == 400 * 10
    assert found.share == pytest.approx(1 / 4, abs=3 * np.sqrt(0.25 * 0.75 / 4000))


def dropped_from(cast: Ballots, drops) -> Ballots:
    kept = np.ones(len(cast), bool)
    for drop in drops:
        one, other = cast.restorers.index(drop.winner), cast.restorers.index(drop.loser)
        if drop.tied:
            alike = (cast.won == 0.5) & np.isin(cast.first, (one, other)) & np.isin(cast.second, (one, other))
        else:
            alike = (cast.first == one) & (cast.second == other) & (cast.won == 1)
            alike |= (cast.first == other) & (cast.second == one) & (cast.won == 0)
        kept[np.flatnonzero(alike & kept)[: drop.votes]] = False
    return cast.where(kept)


@pytest.mark.parametrize("seed", range(6))
def test_dropped_votes_reverse_order_and_one_fewer_does_not(seed):
    random = np.random.default_rng(seed)
    quality = random.normal(0, 0.6, 5)
    first = random.integers(0, 5, 900)
    second = (first + random.integers(1, 5, 900)) % 5
    won = (random.random(900) < expit(quality[first] - quality[second])).astype(float)
    won[random.random(900) < 0.1] = 0.5
    cast = make_ballots(zip(first, second, won, strict=True), 5)
    found = sensitivities(cast)
    assert len(found) == 4
    assert any(pair.dropped for pair in found)
    for pair in found:
        if pair.dropped is None:
            assert "Dropping up to 10% of the votes" in pair.words
            continue
        upper, lower = cast.restorers.index(pair.upper), cast.restorers.index(pair.lower)
        without = fit(dropped_from(cast, pair.dropped).wins())
        assert without[lower] > without[upper]
        kept = []
        for number, drop in enumerate(pair.dropped):
            others = [*pair.dropped[:number], drop.fewer(1), *pair.dropped[number + 1 :]]
            strengths = fit(dropped_from(cast, others).wins())
            kept.append(strengths[upper] >= strengths[lower])
        assert any(kept)


def test_greedy_choice_of_dropped_votes_is_minimal():
    """Compare with all sets of votes of a small board."""
    counts = {(0, 1): 9, (1, 0): 8, (1, 2): 9, (2, 1): 7, (0, 2): 8, (2, 0): 5}
    cast = make_ballots([(*restorer_pair, 1) for restorer_pair, votes in counts.items() for _ in range(votes)])
    first = sensitivities(cast)[0]
    assert (first.upper, first.lower) == ("A", "B")

    def reverses(dropped) -> bool:
        wins = cast.wins()
        for restorer_pair in dropped:
            wins[restorer_pair] -= 1
        strengths = fit(wins)
        return wins.min() >= 0 and strengths[0] < strengths[1]

    assert "Tied: A and B" in sensitivities(make_ballots([(0, 1, 1), (1, 0, 1)], 2))[0].words
    assert not any(reverses(drops) for drops in combinations_with_replacement(counts, first.votes - 1))
    assert any(reverses(drops) for drops in combinations_with_replacement(counts, first.votes))


def test_rank_correlations_match_scipy_or_state_reason():
    one = np.array([3.0, 2.0, 1.0, 0.0, -1.0, np.nan])
    other = np.array([2.0, 3.0, 1.0, -1.0, -1.0, 5.0])
    found = rank_correlation(one, other)
    assert found.restorers == 5
    # Ten restorer pairs: eight in the same order, one against it, one tied in the other ranking.
    assert found.kendall == pytest.approx(7 / np.sqrt(10 * 9))
    assert found.spearman == pytest.approx(np.corrcoef([1, 2, 3, 4, 5], [2, 1, 3, 4.5, 4.5])[0, 1])
    assert found.why == ""
    assert "only 3 restorers" in rank_correlation(one[:3], other[:3]).why
    assert rank_correlation(one, np.zeros(6)).why == "all restorers are tied in one of the rankings"
