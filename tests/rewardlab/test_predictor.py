"""The SVM of App. A.1: properties that hold for any data, and comparison with scikit-learn."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from rewardlab.bootstrap import bootstrap_interval
from rewardlab.predictor import constant_order, svm

FEATURES = ("ssim", "psnr", "lpips", "niqe")
QUICK = svm.PredictorConfig(c=(1.0,), gamma=(0.1,), degree=(2,), bootstrap_samples=500)


def judged(pairs: int = 300, noise: float = 0.3, seed: int = 0):
    """Generate pairs whose winner is the image with the higher third metric, up to noise."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, pairs, len(FEATURES))) * [1, 10, 100, 5] + [0, 30, 2, 8]
    gap = (first[:, 2] - second[:, 2]) / 100
    return {
        "first": first,
        "second": second,
        "first_wins": gap + noise * random.normal(size=pairs) > 0,
        "faces": np.arange(pairs) // 3,
    }


def test_probabilities_of_both_orders_sum_to_1():
    fitted = svm.fit(**judged(), features=FEATURES, config=QUICK)
    new = judged(seed=1)
    forward = fitted.probability_first(new["first"], new["second"])
    backward = fitted.probability_first(new["second"], new["first"])
    np.testing.assert_allclose(forward + backward, 1, atol=1e-12)
    same = fitted.probability_first(new["first"], new["first"])
    np.testing.assert_allclose(same, 0.5, atol=1e-12)


def test_fitted_svm_is_accurate_and_calibrated():
    fitted = svm.fit(**judged(900), features=FEATURES, config=QUICK)
    new = judged(3000, seed=1)
    p_first = fitted.probability_first(new["first"], new["second"])
    accuracy = ((p_first > 0.5) == new["first_wins"]).mean()
    assert accuracy > 0.85
    assert fitted.interval[0] - 0.03 < accuracy < fitted.interval[1] + 0.03
    sure = (p_first > 0.8) & (p_first < 0.95)
    assert abs(new["first_wins"][sure].mean() - p_first[sure].mean()) < 0.06


def test_svm_on_random_labels_is_unskilled_and_unconfident():
    data = judged(300)
    data["first_wins"] = np.random.default_rng(5).random(300) > 0.5
    fitted = svm.fit(**data, features=FEATURES, config=QUICK)
    assert fitted.interval[0] < 0.55
    assert np.abs(fitted.probability_first(data["first"], data["second"]) - 0.5).max() < 0.35


def test_grid_search_finds_best_cross_validated_parameters():
    """Compare with a plain cross_val_score of every entry of the grid."""
    data = judged(120)
    config = svm.PredictorConfig(kernels=("linear", "rbf"), c=(0.1, 10.0), gamma=(0.01, 1.0))
    fitted = svm.fit(**data, features=FEATURES, config=config)
    x = np.concatenate([np.hstack([data["first"], data["second"]]), np.hstack([data["second"], data["first"]])])
    y = np.concatenate([data["first_wins"], ~data["first_wins"]]).astype(int)
    groups = np.concatenate([data["faces"]] * 2)

    def score(**parameters):
        pipeline = make_pipeline(StandardScaler(), SVC(**parameters))
        return cross_val_score(pipeline, x, y, groups=groups, cv=GroupKFold(5)).mean()

    chosen = {name.removeprefix("svc__"): value for name, value in fitted.parameters.items()}
    others = [score(kernel="linear", C=c) for c in config.c]
    others += [score(kernel="rbf", C=c, gamma=gamma) for c in config.c for gamma in config.gamma]
    assert score(**chosen) == pytest.approx(max(others))


@pytest.mark.parametrize(
    "kernel",
    [{"kernel": "linear"}, {"kernel": "rbf", "gamma": 0.1}, {"kernel": "poly", "degree": 3, "gamma": 0.1}],
)
def test_fast_margin_equals_svm_margin(kernel):
    data = judged(200)
    fitted = svm.fit(
        **data,
        features=FEATURES,
        config=QUICK,
        parameters={f"svc__{name}": value for name, value in kernel.items()},
    )
    x = np.hstack([data["first"], data["second"]])
    exact = fitted.pipeline.decision_function(x)
    np.testing.assert_allclose(svm.decision_function(fitted.pipeline, x), exact, atol=2e-3 * np.abs(exact).max())


def test_folds_never_divide_a_face():
    """Use one label per face and features that identify only the face: without leakage nothing can be learned."""
    random = np.random.default_rng(0)
    faces = np.repeat(np.arange(60), 6)
    identity = random.normal(size=(60, 4))[faces] * 3
    data = {
        "first": identity + 0.01 * random.normal(size=(360, 4)),
        "second": identity[:, ::-1] + 0.01 * random.normal(size=(360, 4)),
        "first_wins": (random.random(60) > 0.5)[faces],
        "faces": faces,
    }
    fitted = svm.fit(**data, features=FEATURES, config=QUICK, parameters={"svc__kernel": "rbf", "svc__C": 100.0})
    assert fitted.accuracy < 0.65  # a split across faces would reach 1.0


def test_too_few_labels_are_refused_with_counts():
    data = {name: values[:6] for name, values in judged().items()}
    with pytest.raises(svm.TooFewLabels, match="Judged pairs: 6, of faces: 2"):
        svm.fit(**data, features=FEATURES)


def test_bootstrap_interval_of_single_pairs_is_the_normal_one():
    """For independent faces the interval is close to p +- 1.96 sqrt(p(1-p)/n)."""
    correct = np.arange(1000) < 700
    low, high = bootstrap_interval(correct, np.arange(1000), samples=4000, seed=0)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert low == pytest.approx(0.7 - half, abs=0.004)
    assert high == pytest.approx(0.7 + half, abs=0.004)


def test_constant_order_accuracy_is_1_or_chance():
    names = np.array(["a", "b", "c"])
    random = np.random.default_rng(0)
    first, second = names[random.permuted(np.tile(np.arange(3), (400, 1)), axis=1)[:, :2].T]
    faces = np.arange(400)
    assert constant_order.cross_validated_accuracy(first, second, first < second, faces) == 1.0
    chance = constant_order.cross_validated_accuracy(first, second, random.random(400) > 0.5, faces)
    assert 0.4 < chance < 0.6


def test_constant_order_margin_of_ties_and_unknown_restorers():
    train = np.array(["a", "b", "b", "c"]), np.array(["b", "a", "c", "b"]), np.array([True, False, True, True])
    test = np.array(["a", "b", "b", "c", "a", "d"]), np.array(["b", "a", "c", "b", "c", "a"])
    assert constant_order.margins(*train, *test).tolist() == [0.5, -0.5, 0, 0, 0, 0]
    decided = constant_order.margins(*train, *test, ties_by_name=True)
    assert np.sign(decided).tolist() == [1, -1, 1, -1, 1, -1]


def test_saved_predictor_predicts_the_same_after_loading(tmp_path):
    data = judged()
    fitted = svm.fit(**data, features=FEATURES, config=QUICK)
    svm.save(fitted, tmp_path / "svm.skops")
    loaded = svm.load(tmp_path / "svm.skops")
    assert (loaded.features, loaded.parameters, loaded.accuracy) == (
        fitted.features,
        fitted.parameters,
        fitted.accuracy,
    )
    np.testing.assert_array_equal(
        loaded.probability_first(data["first"], data["second"]),
        fitted.probability_first(data["first"], data["second"]),
    )


def test_file_with_untrusted_types_is_refused(tmp_path):
    import skops.io

    skops.io.dump({"pipeline": tmp_path.joinpath}, tmp_path / "evil.skops")
    with pytest.raises(Exception, match=r"[Uu]ntrusted"):
        svm.load(tmp_path / "evil.skops")
