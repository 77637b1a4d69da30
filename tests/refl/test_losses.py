"""Losses of ReFL against closed forms and independent implementations."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import pywt
import torch
from scipy import ndimage
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn import functional as F

from refl import losses
from rewardlab import assets, images
from rewardlab.metrics.perceptual import load_network

WAVELETS = ["haar", "dual-tree"]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_reward_loss_is_minus_the_mean_score():
    scores = torch.tensor([0.4, -0.1, 0.3], requires_grad=True)
    loss = losses.reward_loss(scores)
    assert loss.item() == pytest.approx(-0.2)
    loss.backward()
    assert scores.grad.tolist() == pytest.approx([-1 / 3] * 3)


# --- LPIPS

needs_demo = pytest.mark.skipif(
    not (assets.is_available("demo-faces") and assets.is_available("lpips-vgg")),
    reason="requirements-demo.txt is not installed",
)


@pytest.fixture(scope="module")
def vgg():
    return load_network("vgg")


@pytest.fixture(scope="module")
def portraits():
    """Return two photographs and their blurred versions: (2, 3, 64, 64) each, in [0, 1]."""
    files = sorted(assets.find("demo-faces").glob("*.jpg"))[:2]
    pictures = images.to_tensor([images.read(file)[100:164, 100:164] for file in files])
    return pictures, F.avg_pool2d(pictures, 3, stride=1, padding=1)


@needs_demo
def test_perceptual_loss_matches_the_lpips_package(vgg, portraits):
    photographs, blurred = portraits
    # By default the package expects [-1, 1]; normalize=True lets it accept [0, 1].
    theirs = vgg.network(blurred, photographs, normalize=True)
    assert theirs.shape == (2, 1, 1, 1)
    assert losses.perceptual_loss(vgg, blurred, photographs).item() == pytest.approx(theirs.mean().item(), rel=1e-5)
    assert losses.perceptual_loss(vgg, blurred, photographs) > 0.05
    assert losses.perceptual_loss(vgg, photographs, photographs) == 0


@needs_demo
def test_perceptual_loss_has_gradient_out_of_range(vgg, portraits):
    photographs, _ = portraits
    restored = (3 * photographs - 1).requires_grad_()
    outside = (restored < 0) | (restored > 1)
    assert 0.2 < outside.float().mean() < 1
    losses.perceptual_loss(vgg, restored, photographs).backward()
    assert (restored.grad[outside] != 0).float().mean() > 0.99
    assert all(parameter.grad is None for parameter in vgg.parameters())


# --- wavelets

NEAR_SYM_B = np.array([-9, 0, 114, -240, -247, 1520, 2844, 1520, -247, -240, 114, 0, -9]) / 5120  # 13 taps
# Kingsbury's 14-tap q-shift filter of tree a, to eight decimals. Tree b uses it reversed.
QSHIFT_B = np.array(
    [
        [0.00325314, -0.00388321, 0.03466035, -0.03887280, -0.11720389, 0.27529538, 0.75614564],
        [0.56881042, 0.01186609, -0.10671180, 0.02382538, 0.01702522, -0.00543948, -0.00455690],
    ]
).ravel()


def test_reference_filters_have_the_named_coefficients():
    assert NEAR_SYM_B.sum() == pytest.approx(1)
    for shift in range(0, 14, 2):  # orthonormal to its even shifts
        product = QSHIFT_B[shift:] @ QSHIFT_B[: 14 - shift]
        assert product == pytest.approx(float(shift == 0), abs=1e-7)


def dual_tree_low_pass(row: np.ndarray, levels: int) -> np.ndarray:
    """Compute one dimension from the definition.

    The first level is undecimated; its even and odd samples are the two trees. Further levels filter each tree with its
    q-shift filter and halve it. Ends are extended by reflection.
    """
    row = ndimage.convolve1d(row, NEAR_SYM_B, mode="reflect")
    for _ in range(levels - 1):
        padded = np.pad(row, 14, mode="symmetric")
        tree_b, tree_a = padded[2::2], padded[3::2]
        halves = [np.convolve(tree_b, QSHIFT_B[::-1], "valid")[::2], np.convolve(tree_a, QSHIFT_B, "valid")[::2]]
        row = np.stack(halves, axis=1).ravel()
    return row


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_haar_matches_pywavelets(levels):
    pictures = noise(2, 3, 32, 48)
    theirs = pywt.wavedec2(pictures.numpy(), "haar", level=levels)[0]
    assert torch.allclose(losses.low_pass(pictures, "haar", levels), torch.from_numpy(theirs), atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_dual_tree_matches_its_definition(levels):
    pictures = noise(2, 3, 32, 48)
    expected = pictures.numpy()
    for axis in (2, 3):
        expected = np.apply_along_axis(dual_tree_low_pass, axis, expected, levels)
    # The taps have eight decimals here, and float32 precision in the library.
    assert torch.allclose(losses.low_pass(pictures, "dual-tree", levels), torch.from_numpy(expected), atol=2e-6)


@pytest.mark.parametrize(("wavelet", "gain", "sides"), [("haar", 8, (3, 4)), ("dual-tree", 4, (6, 8))])
def test_constant_difference_costs_the_gain_of_the_band(wavelet, gain, sides):
    photographs = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    assert losses.low_pass(photographs, wavelet, 3).shape[-2:] == sides
    assert losses.structure_loss(photographs + 0.1, photographs, wavelet).item() == pytest.approx(0.1 * gain, rel=1e-4)
    assert losses.structure_loss(photographs, photographs, wavelet) == 0


def test_structure_loss_ignores_detail():
    photographs, restored = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    bands = [pywt.wavedec2(pictures.numpy(), "haar", level=3)[0] for pictures in (restored, photographs)]
    expected = np.abs(bands[0] - bands[1]).mean()
    assert losses.structure_loss(restored, photographs, "haar").item() == pytest.approx(expected)
    assert losses.structure_loss(restored, photographs) == losses.structure_loss(restored, photographs, "dual-tree")
    checks = torch.ones(16, 16, dtype=torch.float64)
    checks[::2, ::2] = checks[1::2, 1::2] = -1  # the highest frequency
    # A constant of this size costs 8 and 4. The remainder of the dual tree comes from the reflected edges.
    assert losses.structure_loss(photographs + checks, photographs, "haar") < 1e-12
    assert losses.structure_loss(photographs + checks, photographs, "dual-tree") < 0.04


def test_dual_tree_is_nearly_shift_invariant_and_haar_is_not():
    kept = {}
    for wavelet in WAVELETS:
        energies = []
        for start in range(28, 36):
            line = torch.zeros(1, 1, 64, 64)
            line[..., start : start + 8] = 1  # the width of a Haar block
            energies.append(losses.low_pass(line, wavelet, 3).square().sum().item())
        kept[wavelet] = min(energies) / max(energies)
    assert kept["haar"] == pytest.approx(0.5)  # two half-covered blocks instead of one full block
    assert kept["dual-tree"] > 0.97


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_structure_loss_has_gradient_out_of_range(wavelet):
    restored = noise(1, 3, 16, 16).requires_grad_()
    outside = (restored < 0) | (restored > 1)
    losses.structure_loss(restored, torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64), wavelet).backward()
    assert outside.any()
    assert (restored.grad[outside] != 0).all()


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_structure_loss_under_mixed_precision_is_exact(wavelet):
    restored, photographs = (noise(1, 3, 16, 16, seed=seed, dtype=torch.float32) for seed in (0, 1))
    exact = losses.structure_loss(restored, photographs, wavelet).item()
    restored.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses.structure_loss(restored, photographs, wavelet)
    loss.backward()
    assert loss.item() == exact
    assert restored.grad.abs().sum() > 0


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_invalid_sides_and_unknown_wavelets_are_refused(wavelet):
    for height, width in ((60, 64), (64, 60)):
        with pytest.raises(ValueError, match=f"multiples of 8, not {height}x{width}"):
            losses.low_pass(torch.zeros(1, 3, height, width), wavelet, 3)
    with pytest.raises(ValueError, match=r"'coiflet'.*haar or dual-tree"):
        losses.low_pass(torch.zeros(1, 3, 8, 8), "coiflet", 3)


def test_dual_tree_is_imported_lazily_without_a_warning():
    program = """
import sys, torch, warnings
from refl import losses
assert "pytorch_wavelets" not in sys.modules
filters = list(warnings.filters)
losses.low_pass(torch.zeros(1, 3, 8, 8), "dual-tree", 3)
assert "pkg_resources" in sys.modules
assert warnings.filters == filters
"""
    done = subprocess.run([sys.executable, "-W", "default", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pkg_resources is deprecated" not in done.stderr


# --- weights


def test_residuals_are_summed_and_steps_averaged():
    frozen = [noise(2, 4, size, size, seed=size) for size in range(1, 14)]
    tuned = [residual + number for number, residual in enumerate(frozen, start=1)]
    squares = sum(number**2 for number in range(1, 14))
    assert losses.residual_distance(tuned, frozen).item() == pytest.approx(squares)
    assert losses.output_distance(tuned, frozen).item() == pytest.approx(squares / 13)
    for distance in (losses.residual_distance, losses.output_distance):
        assert distance(frozen, frozen) == 0
        with pytest.raises(ValueError, match="shorter"):
            distance(tuned, frozen[:12])


LAYERS = [(4, 3), (7,), (2, 3, 3, 3)]
BASE = [noise(*shape, seed=number) for number, shape in enumerate(LAYERS)]
TUNED = [layer + 0.3 * noise(*layer.shape, seed=number) for number, layer in enumerate(BASE, start=10)]


@pytest.mark.parametrize("sigma", [1.0, 0.25])
def test_gaussian_kl_matches_torch(sigma):
    pairs = zip(TUNED, BASE, strict=True)
    theirs = sum(kl_divergence(Normal(ours, sigma), Normal(base, sigma)).sum() for ours, base in pairs)
    assert losses.gaussian_kl(iter(TUNED), iter(BASE), sigma).item() == pytest.approx(theirs.item())


def test_gaussian_kl_by_default_has_unit_variance():
    assert losses.gaussian_kl([torch.tensor([3.0, 4.0])], [torch.zeros(2)]).item() == 12.5


def categorical(ours: torch.Tensor, base: torch.Tensor) -> float:
    """Return the KL divergence of two softmaxes, computed by torch in double precision."""
    return kl_divergence(*(Categorical(logits=layer.double().flatten()) for layer in (ours, base))).item()


def test_softmax_kl_matches_torch():
    theirs = sum(categorical(ours, base) for ours, base in zip(TUNED, BASE, strict=True))
    assert losses.softmax_kl(iter(TUNED), iter(BASE)).item() == pytest.approx(theirs)
    # The divergence is KL(tuned || base), not the reverse.
    assert theirs != pytest.approx(sum(categorical(base, ours) for ours, base in zip(TUNED, BASE, strict=True)))


def test_softmax_kl_ignores_shifts_and_halves_the_variance():
    assert losses.softmax_kl([BASE[0] + 3], [BASE[0]]).item() == pytest.approx(0, abs=1e-12)
    base = 0.02 * noise(100_000, dtype=torch.float32)
    step = 1e-4 * noise(100_000, seed=1, dtype=torch.float32)
    weak = losses.softmax_kl([base + step], [base])
    assert weak.dtype == torch.float32
    assert weak.item() == pytest.approx(categorical(base + step, base), rel=1e-4)  # accurate although it is only 5e-9
    assert weak.item() == pytest.approx(step.var().item() / 2, rel=0.02)


# --- the reward model's update


def test_frm_loss_of_equal_scores_is_log_2():
    scores = torch.tensor([0.2, 0.4])
    assert losses.frm_loss(scores, scores, 100.0).item() == pytest.approx(math.log(2))
    loss = losses.frm_loss(torch.tensor([0.30]), torch.tensor([0.25]), torch.tensor(100.0))
    assert loss.item() == pytest.approx(-math.log(math.exp(30) / (math.exp(30) + math.exp(25))), rel=1e-4)


def test_frm_loss_matches_cross_entropy_of_scaled_scores():
    photographs, restored = noise(16), noise(16, seed=1)
    pairs = 7.0 * torch.stack([photographs, restored], dim=1)
    theirs = F.cross_entropy(pairs, torch.zeros(16, dtype=torch.long))
    assert losses.frm_loss(photographs, restored, 7.0).item() == pytest.approx(theirs.item())


def test_frm_loss_with_extreme_scores_is_finite():
    photographs = torch.tensor([-1.0], requires_grad=True)
    loss = losses.frm_loss(photographs, torch.tensor([1.0]), 1000.0)
    loss.backward()
    assert loss.item() == 2000
    assert photographs.grad.item() == -1000
    assert losses.frm_loss(torch.tensor([1.0]), torch.tensor([-1.0]), 1000.0) == 0


# --- gradients


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: losses.structure_loss(x, noise(*x.shape, seed=5), "haar", 2),
        lambda x: losses.structure_loss(x, noise(*x.shape, seed=5), "dual-tree", 2),
        lambda x: losses.structure_loss(x, noise(*x.shape, seed=5), "dual-tree", 3),
        lambda x: losses.residual_distance([x, 2 * x], [noise(*x.shape, seed=5)] * 2),
        lambda x: losses.output_distance([x, 2 * x], [noise(*x.shape, seed=5)] * 2),
        lambda x: losses.gaussian_kl([x, 2 * x], [noise(*x.shape, seed=5)] * 2, 0.5),
        lambda x: losses.softmax_kl([x, 2 * x], [noise(*x.shape, seed=5)] * 2),
        lambda x: losses.frm_loss(x[0, 0, 0], x[0, 0, 1], x[0, 0, 2, 0].exp()),
    ],
    ids=["haar", "dual-tree 2", "dual-tree 3", "residual", "output", "gaussian", "softmax", "frm"],
)
def test_gradients_match_finite_differences(loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.autograd.gradcheck(loss, noise(1, 1, 8, 16).requires_grad_())
