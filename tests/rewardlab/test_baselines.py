"""Baselines of the reward model: fitted only on training labels, and antisymmetric."""

from dataclasses import replace

import numpy as np
import pytest

from rewardlab.evaluation import baselines
from rewardlab.manifest import PreferenceRow
from rewardlab.predictor import manifest_labels, mlp
from rewardlab.predictor.svm import PredictorConfig, TooFewLabels

LINEAR = {"svc__kernel": "linear", "svc__C": 1.0}
QUICK = PredictorConfig(bootstrap_samples=50)
RESTORERS = ("a", "b", "c")


def row(pair, *, p_first, split="train", sources=("a", "b"), origin="human", scores=None):
    return PreferenceRow(
        pair=pair, face=pair // 3, identity=f"{pair // 3:x}", split=split, caption="The face of a man.",
        first=f"{pair}.png", first_source=sources[0], second=f"{pair}-.png", second_source=sources[1],
        p_first=p_first, origin=origin, weight=1.0, votes=(0, 0, 0) if origin in ("svm", "ground_truth") else (2, 1, 0),
        scores=scores or {},
    )  # fmt: skip


def judged(train=120, gold=60, seed=0):
    """Generate contested pairs won by the lower LPIPS; SSIM is noise. Every tenth is tied, every seventh the SVM's."""
    random = np.random.default_rng(seed)
    rows = []
    for pair in range(train + gold):
        lpips, ssim = random.uniform(0, 1, (2, 2)).tolist()
        p_first = 0.5 if pair % 10 == 9 else float(lpips[0] < lpips[1])
        origin = "svm" if pair % 7 == 6 else ("human", "simulated")[pair % 2]
        rows.append(
            row(
                pair,
                p_first=p_first,
                split="train" if pair < train else "gold",
                sources=random.permutation(RESTORERS)[:2].tolist(),
                origin=origin,
                scores={"lpips": tuple(lpips), "ssim": tuple(ssim)},
            )
        )
    return rows


def of(rows, split):
    return [each for each in rows if each.split == split]


def flipped(rows, where):
    return [replace(each, p_first=1 - each.p_first) if where(each) else each for each in rows]


def swapped(each):
    return replace(
        each, first=each.second, second=each.first, first_source=each.second_source, second_source=each.first_source,
        p_first=1 - each.p_first, scores={name: values[::-1] for name, values in each.scores.items()},
    )  # fmt: skip


def fitted(rows, wanted):
    found = baselines.all_baselines(rows, wanted, parameters=LINEAR, config=QUICK)
    return {method.name: method for method in found}


@pytest.fixture(scope="module")
def rows():
    return judged()


@pytest.fixture(scope="module")
def found(rows):
    return fitted(rows, of(rows, "gold"))


def accuracy(method, wanted):
    decided = [
        (margin, each.p_first) for margin, each in zip(method.margins, wanted, strict=True) if each.p_first != 0.5
    ]
    return np.mean([(margin > 0) == (p_first > 0.5) for margin, p_first in decided])


def test_baselines_learn_the_signal_of_their_inputs(rows, found):
    gold = of(rows, "gold")
    assert accuracy(found["lpips"], gold) == 1.0
    assert {name for name in ("svm", "mlp3", "mlp4") if accuracy(found[name], gold) > 0.85} == {"svm", "mlp3", "mlp4"}
    assert 0.2 < accuracy(found["ssim"], gold) < 0.8
    assert 0.2 < accuracy(found["constant-order"], gold) < 0.8
    assert {name: method.group for name, method in found.items()} == {
        "svm": "predictor", "mlp3": "predictor", "mlp4": "predictor", "tree": "predictor", "constant-order": "baseline",
    } | dict.fromkeys(("ssim", "psnr", "lpips", "musiq", "niqe", "clipiqa"), "metric")  # fmt: skip


def test_swapped_pair_has_opposite_margin(rows):
    gold = of(rows, "gold")
    for name, method in fitted(rows, [*gold, *(swapped(each) for each in gold)]).items():
        if method.margins is not None:
            forward, backward = np.split(method.margins, 2)
            np.testing.assert_allclose(backward, -forward, atol=1e-12, err_msg=name)
            assert np.abs(forward).max() > 0.05


def test_margins_depend_on_training_labels_not_gold_labels(rows, found):
    gold = of(rows, "gold")
    blind = fitted(flipped(rows, lambda each: each.split == "gold"), gold)
    for name, method in found.items():
        np.testing.assert_array_equal(blind[name].margins, method.margins, err_msg=name)
    turned = fitted(flipped(rows, lambda each: each.split == "train"), gold)
    for name in ("svm", "mlp3", "mlp4", "constant-order"):
        assert np.corrcoef(turned[name].margins, found[name].margins)[0, 1] < -0.9


def test_svm_labels_are_not_training_labels(rows):
    labels = manifest_labels.training_labels(rows)
    assert {each.origin for each in labels} == {"human", "simulated"}
    assert manifest_labels.training_labels([each for each in rows if each.origin != "svm"]) == labels
    assert len(manifest_labels.judged_pairs(rows).faces) == len(labels)


def test_constant_order_margin_is_share_of_training_wins():
    rows = [
        row(1, p_first=1.0, sources=("a", "b")),
        row(2, p_first=0.0, sources=("b", "a")),
        row(3, p_first=0.25, sources=("a", "b"), origin="simulated"),
        row(4, p_first=0.5, sources=("a", "b")),
        row(5, p_first=1.0, sources=("b", "c")),
        row(6, p_first=1.0, sources=("c", "b")),
        row(7, p_first=0.0, sources=("a", "b"), split="gold"),
        row(8, p_first=0.0, sources=("a", "b"), split="test"),
        row(9, p_first=0.0, sources=("a", "b"), origin="svm"),
    ]
    restorer_pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("a", "c"), ("hq", "c"), ("a", "hq")]
    wanted = [
        row(10 + n, p_first=1.0, sources=restorer_pair, split="gold") for n, restorer_pair in enumerate(restorer_pairs)
    ]
    margins = baselines.constant_order(rows, wanted).margins
    np.testing.assert_allclose(margins, [2 / 3 - 0.5, 0.5 - 2 / 3, 0, 0, 0.5, -0.5])
    unjudged = baselines.constant_order(rows[6:], wanted)
    assert unjudged.margins is None and "No training pair" in unjudged.note


def test_metric_margin_is_positive_for_better_image():
    wanted = [
        row(1, p_first=1.0, scores={"psnr": (30.0, 20.0), "niqe": (4.0, 7.0), "ssim": (0.5, 0.75)}),
        row(2, p_first=1.0, scores={"psnr": (20.0, 21.0), "niqe": (7.0, 6.5)}),
    ]
    found = {method.name: method for method in baselines.metric_methods(wanted)}
    assert found["psnr"].margins.tolist() == [10, -1]
    assert found["niqe"].margins.tolist() == [3, -0.5]
    assert found["ssim"].margins is None and "1 of 2 pairs have no SSIM" in found["ssim"].note
    assert found["musiq"].margins is None and "2 of 2 pairs" in found["musiq"].note


def test_pair_without_metric_leaves_predictors_without_margins(rows):
    gold = of(rows, "gold")
    gold[3] = replace(gold[3], scores={"ssim": gold[3].scores["ssim"]})
    found = fitted(rows, gold)
    for name in ("svm", "mlp3", "mlp4", "lpips"):
        assert found[name].margins is None
        assert "1 of 60 pairs have no LPIPS" in found[name].note
    assert len(found["ssim"].margins) == len(found["constant-order"].margins) == 60


def test_predictors_use_metrics_of_nearly_all_judged_pairs(rows):
    labels = manifest_labels.training_labels(rows)
    bare, some = {each.pair for each in labels[:5]}, {each.pair for each in labels[: len(labels) // 2]}
    changed = [
        replace(
            each,
            scores={
                **({} if each.pair in bare else {"lpips": each.scores["lpips"]}),
                **({} if each.pair in some else {"ssim": each.scores["ssim"]}),
            },
        )
        for each in rows
    ]
    found = manifest_labels.judged_pairs(changed)
    assert found.metrics == ("lpips",)
    assert found.first.shape == found.second.shape == (len(labels) - 5, 1)
    assert len(found.faces) == len(found.first_wins) == len(labels) - 5
    assert manifest_labels.judged_pairs(rows).metrics == ("ssim", "lpips")  # the paper's order


def test_too_few_labels_or_no_metric_is_reported(rows):
    for few in (rows[:8], []):
        found = {method.name: method for method in baselines.all_baselines([*few, *of(rows, "gold")], of(rows, "gold"))}
        assert found["svm"].margins is found["mlp3"].margins is None
        assert "at least 12 pairs" in found["svm"].note
        assert found["ssim"].margins is not None
    with pytest.raises(TooFewLabels):
        manifest_labels.with_human_fraction(rows, 0.01, seed=0)
    bare = [replace(each, scores={}) for each in rows]
    assert "No metric" in fitted(bare, of(rows, "gold"))["svm"].note
    with pytest.raises(ValueError, match="No metric"):
        manifest_labels.with_human_fraction(bare, 0.5, 0)


def test_mlp_layers_count_weights_and_folds_keep_faces_apart():
    """Use one label per face and features that identify only the face: without leakage nothing can be learned."""
    random = np.random.default_rng(0)
    faces = random.permutation(np.repeat(np.arange(24), 4))
    identity = random.normal(size=(24, 4))[faces] * 3
    first, second = identity + 0.01 * random.normal(size=(2, 96, 4))
    wins = (random.random(24) > 0.5)[faces]
    for layers in (3, 4):
        found = mlp.fit_mlp(first, second[:, ::-1], wins, faces, layers=layers, seed=0)
        assert len(found.pipeline["mlp"].coefs_) == layers
        assert found.accuracy < 0.75  # a split across faces would reach 1.0
        assert ((found.probability_first(first, second[:, ::-1]) > 0.5) == wins).mean() > 0.95
    same = found.probability_first(first, first)
    np.testing.assert_allclose(same, 0.5, atol=1e-12)
    assert found.probability_first(first[:0], first[:0]).shape == (0,)


def human(rows):
    return {each.pair for each in rows if each.split == "train" and each.origin in ("human", "simulated")}


def fraction_of(rows, fraction, seed=0):
    return manifest_labels.with_human_fraction(rows, fraction, seed, parameters=LINEAR, config=QUICK)


def test_smaller_fractions_are_nested(rows):
    kept = {fraction: human(fraction_of(rows, fraction)) for fraction in (0.3, 0.5, 0.8)}
    assert kept[0.3] < kept[0.5] < kept[0.8] < human(rows)
    assert {fraction: len(pairs) for fraction, pairs in kept.items()} == {
        fraction: round(fraction * len(human(rows))) for fraction in kept
    }
    assert human(fraction_of(rows, 0.5, seed=1)) != kept[0.5]
    assert fraction_of(rows, 0.5) == fraction_of(rows, 0.5)
    assert human(fraction_of(rows[::-1], 0.5)) == kept[0.5]


def test_svm_of_kept_labels_labels_the_rest(rows):
    rows = [*rows, row(900, p_first=1.0, sources=("hq", "a"), origin="ground_truth")]
    half = fraction_of(rows, 0.5)
    assert [each.pair for each in half] == [each.pair for each in rows]
    labelled = 0
    for before, after in zip(rows, half, strict=True):
        if before.split == "train" and after.origin == "svm":
            assert after == replace(before, p_first=after.p_first, origin="svm", votes=(0, 0, 0))
            assert 0 < after.p_first < 1
            lpips = before.scores["lpips"]
            labelled += (after.p_first > 0.5) == (lpips[0] < lpips[1])
        else:
            assert after == before
    replaced = sum(each.origin == "svm" and each.split == "train" for each in half)
    assert labelled > 0.85 * replaced
    assert fraction_of(rows, 1.0) == rows


def test_dropped_and_gold_labels_do_not_affect_fraction(rows):
    half = fraction_of(rows, 0.5)
    kept = human(half)
    other = fraction_of(flipped(rows, lambda each: each.split == "train" and each.pair not in kept), 0.5)
    assert other == half
    blind = fraction_of(flipped(rows, lambda each: each.split == "gold"), 0.5)
    assert of(blind, "train") == of(half, "train")
    assert of(half, "gold") == of(rows, "gold")
    taught = fraction_of(flipped(rows, lambda each: each.pair in kept), 0.5)
    assert of(taught, "train") != of(half, "train")


def test_unscored_pairs_are_left_out_of_fraction(rows):
    lost = next(each.pair for each in rows if each.split == "train" and each.origin == "svm")
    bare = [replace(each, scores={}) if each.pair == lost else each for each in rows]
    half = fraction_of(bare, 0.5)
    assert {each.pair for each in rows} - {each.pair for each in half} == {lost}


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_fraction_outside_0_to_1_is_refused(rows, fraction):
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        manifest_labels.with_human_fraction(rows, fraction, 0)
