"""Agreement and accuracy of annotators, checked against published examples, other libraries and planted truths."""

import krippendorff
import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import OneCoinDawidSkene
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from annotate.statistics import agreement_coefficients, pairwise_agreement
from annotate.statistics.answer_arrays import Answers
from annotate.statistics.dawid_skene import dawid_skene


def from_sheet(sheet, faces=None) -> Answers:
    """Convert a sheet (pairs, annotators) of choices, -1 for none. By default each pair has its own face."""
    sheet = np.asarray(sheet)
    pair, annotator = np.nonzero(sheet >= 0)
    faces = np.arange(len(sheet)) if faces is None else np.asarray(faces)
    return Answers(pair, faces[pair], annotator, sheet[pair, annotator])


def simulated(accuracies, *, faces=60, seed=0, cant_tell=0.1, answered=1.0):
    """Return the better image of each of three pairs per face, and answers of annotators with these accuracies."""
    random = np.random.default_rng(seed)
    shape = (3 * faces, len(accuracies))
    better = random.integers(2, size=shape[0])
    sheet = np.where(random.random(shape) < accuracies, better[:, None], 1 - better[:, None])
    sheet[random.random(shape) < cant_tell] = 2
    sheet[random.random(shape) >= answered] = -1
    return better, from_sheet(sheet, np.arange(shape[0]) // 3)


def test_krippendorff_alpha_matches_published_example():
    """Krippendorff (2011), section C: alpha for nominal data is .743."""
    rows = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
    sheet = np.array([[-1 if value == "." else int(value) for value in row.split()] for row in rows]).T
    found = agreement_coefficients.krippendorff_alpha(from_sheet(sheet))
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.low < found.value < found.high
    assert found.count == 11


def test_fleiss_kappa_matches_published_example():
    """Fourteen raters on ten subjects: kappa is .210."""
    table = """0 0 0 0 14  0 2 6 4 2  0 0 3 5 6  0 3 9 2 0  2 2 8 1 1  7 7 0 0 0  3 2 6 3 0  2 5 3 2 2  6 5 2 1 0
        0 2 2 3 7"""
    table = np.array(table.split(), int).reshape(10, 5)
    found = agreement_coefficients.fleiss_kappa(from_sheet([np.repeat(np.arange(5), counts) for counts in table]))
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.value == pytest.approx(fleiss_kappa(table))


def test_fleiss_kappa_weights_pairs_equally():
    """Two answers, both first, on one pair; one first of three on the other: agreement (1 + 1/3) / 2, chance
    (2/3)^2 + (1/3)^2."""
    assert agreement_coefficients.fleiss_kappa(from_sheet([[0, 0, -1], [0, 1, 1], [0, -1, -1]])).value == pytest.approx(
        0.25
    )


def test_cohen_kappa_matches_published_example():
    """Two readers agree on 35 of 50 proposals: kappa is .40."""
    sheet = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [20, 5, 10, 15], axis=0)
    annotator_pair = agreement_coefficients.cohen_kappas(from_sheet(sheet))[0, 1]
    assert annotator_pair.share.value == pytest.approx(0.7)
    assert annotator_pair.kappa.value == pytest.approx(0.4)
    assert annotator_pair.kappa.count == 50
    # With one pair per face, pairs are independent (Cohen 1960, the standard error of kappa).
    half = 1.96 * np.sqrt(0.7 * 0.3 / 50) / 0.5
    assert (annotator_pair.kappa.high - annotator_pair.kappa.low) / 2 == pytest.approx(half, rel=0.15)


def test_coefficients_match_libraries_with_missing_answers():
    _, answers = simulated((0.9, 0.8, 0.7, 0.6), cant_tell=0.2, answered=0.7)
    sheet = np.full((180, 4), np.nan)
    sheet[answers.pairs, answers.annotators] = answers.choices
    assert agreement_coefficients.krippendorff_alpha(answers).value == pytest.approx(
        krippendorff.alpha(reliability_data=sheet.T, level_of_measurement="nominal")
    )
    found = agreement_coefficients.cohen_kappas(answers)
    assert len(found) == 6
    for (one, other), annotator_pair in found.items():
        both = ~np.isnan(sheet[:, [one, other]]).any(axis=1)
        assert annotator_pair.kappa.count == both.sum()
        assert annotator_pair.share.value == pytest.approx((sheet[both, one] == sheet[both, other]).mean())
        assert annotator_pair.kappa.value == pytest.approx(cohen_kappa_score(sheet[both, one], sheet[both, other]))
        plain = [(str(a), str(b)) for a, b in zip(sheet[both, one], sheet[both, other], strict=True)]
        assert annotator_pair.kappa.value == pytest.approx(pairwise_agreement.cohen_kappa(plain))  # campaign page
    total = sum(annotator_pair.share.count for annotator_pair in found.values())
    weighted = sum(annotator_pair.share.value * annotator_pair.share.count for annotator_pair in found.values()) / total
    assert agreement_coefficients.share(answers).value == pytest.approx(weighted)


def test_undefined_coefficients_state_reason():
    alone, disjoint = from_sheet([[0], [1]]), from_sheet([[0, -1], [-1, 1]])
    alike = from_sheet(np.zeros((6, 2), int))
    for function in (
        agreement_coefficients.share,
        agreement_coefficients.krippendorff_alpha,
        agreement_coefficients.fleiss_kappa,
    ):
        assert function(from_sheet(np.zeros((0, 2), int))).why == "there are no answers"
        assert function(alone).why == "only one annotator"
        assert function(disjoint).why == "no pair was answered by two annotators"
        few = function(from_sheet([[0, 1], [0, 0], [1, 1], [1, 0]]))
        assert few.value is not None
        assert few.low is None
        assert few.why == "fewer than 6 faces: no interval"
    assert agreement_coefficients.cohen_kappas(disjoint) == {}
    annotator_pair = agreement_coefficients.cohen_kappas(alike)[0, 1]
    for found in (
        agreement_coefficients.krippendorff_alpha(alike),
        agreement_coefficients.fleiss_kappa(alike),
        annotator_pair.kappa,
    ):
        assert (found.value, found.low, found.count) == (None, None, 6)
        assert "all answers are the same" in found.why
    assert (annotator_pair.share.value, annotator_pair.share.low) == (1, None)
    assert "every draw of faces gives the same value" in annotator_pair.share.why
    twice = Answers(np.array([7, 7]), np.array([1, 1]), np.array([3, 3]), np.array([0, 1]))
    with pytest.raises(ValueError, match="Annotator 3 answered pair 7 more than once"):
        agreement_coefficients.share(twice)


def test_intervals_reach_nominal_coverage_when_faces_differ():
    """Annotators are right in 95% of the pairs on half of the faces, and in 60% on the others."""
    right = np.array([0.95, 0.6])
    share = (right**2 + (1 - right) ** 2).mean()
    kappa = 2 * share - 1
    truths = {
        agreement_coefficients.share: share,
        agreement_coefficients.krippendorff_alpha: kappa,
        agreement_coefficients.fleiss_kappa: kappa,
        lambda answers: agreement_coefficients.cohen_kappas(answers.where(answers.annotators < 2))[0, 1].kappa: kappa,
    }
    random, times = np.random.default_rng(1), 200
    covered = np.zeros(len(truths))
    for _ in range(times):
        accuracy = right[random.integers(2, size=60)].repeat(3)[:, None]
        better = random.integers(2, size=(180, 1))
        answers = from_sheet(np.where(random.random((180, 4)) < accuracy, better, 1 - better), np.arange(60).repeat(3))
        found = [function(answers) for function in truths]
        covered += [one.low <= truth <= one.high for one, truth in zip(found, truths.values(), strict=True)]
    assert (covered / times >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / times) - 0.01).all()


def test_by_group_splits_answers_by_label():
    answers = from_sheet([[0, 0], [0, 0], [0, 1], [1, 1]])
    found = agreement_coefficients.by_group(
        answers, [("lanczos", "easy" if pair < 2 else "hard") for pair in answers.pairs], agreement_coefficients.share
    )
    assert {label: (one.value, one.count) for label, one in found.items()} == {
        ("lanczos", "easy"): (1, 2),
        ("lanczos", "hard"): (0.5, 2),
    }
    with pytest.raises(ValueError, match="8 answers and 1 labels"):
        agreement_coefficients.by_group(answers, ["one"], agreement_coefficients.share)


def test_dawid_skene_intervals_cover_planted_accuracies():
    """One annotator answers at random, and one mostly wrong."""
    planted, times = np.array([0.92, 0.85, 0.8, 0.7, 0.5, 0.2]), 100
    covered, found = np.zeros(len(planted)), np.zeros((times, len(planted)))
    for seed in range(times):
        accuracy = dawid_skene(simulated(planted, seed=seed)[1]).accuracy
        covered += [accuracy[who].low <= truth <= accuracy[who].high for who, truth in enumerate(planted)]
        found[seed] = [accuracy[who].value for who in range(len(planted))]
    assert covered.sum() / covered.size >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / times)
    assert found.mean(axis=0) == pytest.approx(planted, abs=0.015)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_dawid_skene_matches_crowd_kit():
    better, answers = simulated((0.9, 0.85, 0.8, 0.7, 0.6, 0.5), faces=100, cant_tell=0)
    swapped = {"task": answers.pairs + 300, "worker": answers.annotators, "label": 1 - answers.choices}
    given = {"task": answers.pairs, "worker": answers.annotators, "label": answers.choices}
    both = pd.concat([pd.DataFrame(given), pd.DataFrame(swapped)])  # so that either image is as often the better one
    theirs = OneCoinDawidSkene(n_iter=500, tol=1e-9).fit(both)
    found = dawid_skene(answers)
    assert found.converged
    assert list(found.weights.values()) == pytest.approx(theirs.skills_.sort_index().to_list(), abs=0.01)
    p_first = np.array([found.p_first[pair] for pair in range(300)])
    assert p_first == pytest.approx(theirs.probas_.sort_index()[0].to_numpy()[:300], abs=0.03)
    assert ((p_first > 0.5) == (better == 0)).mean() > 0.9
    assert 0 < p_first.min() < p_first.max() < 1


@pytest.mark.parametrize(("liars", "same_pairs"), [(2, True), (3, False)])
def test_dawid_skene_assumes_most_annotators_beat_chance(liars, same_pairs):
    """Always-wrong annotators answer all pairs; each of seven honest ones shares only a few pairs with them."""
    random = np.random.default_rng(0)
    better = random.integers(2, size=300)
    honest = np.where(random.random((300, 7)) < 0.95, better[:, None], 1 - better[:, None])
    pairs = np.arange(300)[:, None]
    shared = pairs < 40 if same_pairs else pairs // 30 == np.arange(7)
    sheet = np.hstack([np.tile(1 - better[:, None], liars), np.where(shared, honest, -1)])
    found = dawid_skene(from_sheet(sheet))
    assert max(found.weights[who] for who in range(liars)) < 0.1
    assert min(found.weights[who] for who in range(liars, liars + 7)) > 0.8
    assert all((p > 0.5) == (better[pair] == 0) for pair, p in found.p_first.items())


def test_unidentified_accuracy_states_reason():
    sheet = np.full((30, 6), -1)
    sheet[:, 0] = 0
    sheet[:20, 1] = [0, 0, 0, 1] * 5  # shares pairs with annotator 0 only
    sheet[20:, 2] = 1  # shares pairs with annotator 0 only
    sheet[:, 3] = 2  # never decides
    sheet = np.concatenate([sheet, np.full((5, 6), -1)])
    sheet[30:, 4] = 1  # shares pairs with nobody
    found = dawid_skene(from_sheet(sheet))
    assert all(found.accuracy[who].value is None for who in range(5))
    assert "three annotators" in found.accuracy[0].why
    assert "three annotators" in found.accuracy[4].why
    assert "never decided" in found.accuracy[3].why
    # Their answers still count, weighted by the prior.
    assert found.p_first[34] == pytest.approx(0.2, abs=1e-5)
    assert found.p_first[0] > found.p_first[3]
    assert dawid_skene(from_sheet(np.full((3, 2), 2))).p_first == {0: 0.5, 1: 0.5, 2: 0.5}
