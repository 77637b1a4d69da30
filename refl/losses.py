"""The losses of ReFL (Sec. 3.3): Eq. 2 to 5, weighted and summed by Eq. 6, and the update of the reward model.

Every loss is a scalar tensor. Images are float (B, 3, H, W) in [0, 1]. A restorer's output may leave that range. It is
not clamped, because clamped pixels would get no gradient.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab.metrics.perceptual import Lpips
from rewardlab.reward_model.losses import preference_losses

Wavelet = Literal["haar", "dual-tree"]


def reward_loss(scores: Tensor) -> Tensor:
    """Return -R (Eq. 2), averaged over the batch.

    scores (B,): raw cosines of restored images and captions, in [-1, 1].
    """
    return -scores.mean()


def perceptual_loss(network: Lpips, images: Tensor, photographs: Tensor) -> Tensor:
    """Return LPIPS (Eq. 3) of restored images and photographs, averaged over the batch; >= 0, 0 for equal images.

    network: `rewardlab.metrics.perceptual.load_network("vgg")` on the images' device. images, photographs:
    (B, 3, H, W) in [0, 1].
    """
    distance: Tensor = network(images, photographs).mean()
    return distance


def structure_loss(images: Tensor, photographs: Tensor, wavelet: Wavelet = "dual-tree", levels: int = 3) -> Tensor:
    """Return the mean absolute difference of low-pass bands (Eq. 4) of restored images and photographs; >= 0.

    images, photographs: (B, 3, H, W) in [0, 1]. Like the released code, this averages over coefficients, so the result
    does not depend on the image size. The band is scaled (see `low_pass`): at three levels a constant difference d
    costs 8 d with "haar" and 4 d with "dual-tree". The released code's weight .01 was chosen for "dual-tree".
    """
    return F.l1_loss(low_pass(images, wavelet, levels), low_pass(photographs, wavelet, levels))


def low_pass(images: Tensor, wavelet: Wavelet, levels: int) -> Tensor:
    """Return the low-pass band (DWT_LF in Eq. 4) of images (B, C, H, W) after `levels` levels. It is linear in them.

    haar: the orthonormal approximation band, (B, C, H / 2^levels, W / 2^levels); a constant c becomes 2^levels c.
    dual-tree: the interleaved low-pass bands of the four trees of the dual-tree complex wavelet transform, with the
        released code's filters (near_sym_b, then qshift_b), (B, C, H / 2^(levels - 1), W / 2^(levels - 1)); a
        constant c becomes 2^(levels - 1) c. Unlike Haar it is nearly shift-invariant.
        The library is derived from a toolbox licensed for research only.

    Raises `ValueError` for sides not divisible by 2^levels, as the band would depend on the padding.
    """
    height, width = images.shape[-2:]
    multiple = 2**levels
    if height % multiple or width % multiple:
        raise ValueError(
            f"{levels} wavelet levels need sides that are multiples of {multiple}, not {height}x{width}. "
            "Resize the images or use fewer levels."
        )
    if wavelet == "haar":
        # A level is half the sum of each 2x2 block, so `levels` levels are the mean of each block times its side.
        means: Tensor = F.avg_pool2d(images, multiple) * multiple
        return means
    if wavelet == "dual-tree":
        # The library's backward pass fails under autocast.
        with torch.autocast(images.device.type, enabled=False):
            low: Tensor = _dual_tree(levels).to(images)(images)[0]
            return low
    raise ValueError(f"unknown wavelet {wavelet!r}; choose haar or dual-tree")


def _dual_tree(levels: int) -> nn.Module:
    with warnings.catch_warnings():
        # The library loads its filters with the deprecated pkg_resources; setuptools is pinned to keep it available.
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning, "pytorch_wavelets")
        try:
            from pytorch_wavelets import DTCWTForward
        except ModuleNotFoundError as error:
            raise ValueError(
                "The dual-tree wavelets need pytorch-wavelets, parts of which are licensed for research only: "
                "pip install --no-deps -r requirements-pyiqa.txt. Or use --wavelet haar, which needs no package and "
                "costs 1.7 to 2 times as much, with half of the weight (--lambda-dwt)."
            ) from error
    transform: nn.Module = DTCWTForward(J=levels, biort="near_sym_b", qshift="qshift_b", skip_hps=True)
    return transform


def residual_distance(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> Tensor:
    """Return Eq. 5 as in the released code: the distance between the tuned and the frozen ControlNet's residuals.

    tuned, frozen: the residuals for the same input, one tensor per zero convolution (13 in Stable Diffusion), of
    equal shapes. The result is the sum over residuals of the mean squared difference, >= 0.
    """
    return torch.stack(_squared_distances(tuned, frozen)).sum()


def output_distance(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> Tensor:
    """Return Eq. 5 on a network's outputs, for bases without a ControlNet: mean squared difference, >= 0.

    tuned, frozen: outputs (B, C, h, w) of the tuned and the frozen network for the same input, one per step with a
    gradient: predicted noise, or the restored images in [0, 1] of a base without steps. The result is the mean over
    these steps.
    """
    return torch.stack(_squared_distances(tuned, frozen)).mean()


def _squared_distances(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> list[Tensor]:
    return [F.mse_loss(ours, theirs) for ours, theirs in zip(tuned, frozen, strict=True)]


def gaussian_kl(parameters: Iterable[Tensor], base: Iterable[Tensor], sigma: float = 1.0) -> Tensor:
    """Return Eq. 5 with weights as means of Gaussians: ||theta - theta_base||^2 / (2 sigma^2), >= 0.

    This is KL(N(theta, sigma^2 I) || N(theta_base, sigma^2 I)) in nats. parameters, base: the trained tensors and
    their values before training, in the same order. sigma: in units of the weights.
    """
    squares = [F.mse_loss(theta, start, reduction="sum") for theta, start in zip(parameters, base, strict=True)]
    return torch.stack(squares).sum() / (2 * sigma**2)


def softmax_kl(parameters: Iterable[Tensor], base: Iterable[Tensor]) -> Tensor:
    """Return Eq. 5 taken literally: the sum over tensors of KL(softmax(theta) || softmax(theta_base)) in nats, >= 0.

    The softmax is over all entries of a tensor, so the loss ignores constant shifts of a tensor and depends on how
    weights are divided into layers. It is weak: about half the variance of a layer's change, while `gaussian_kl` is
    half the sum of squares. parameters, base: as in `gaussian_kl`.
    """
    return torch.stack([_softmax_kl(theta, start) for theta, start in zip(parameters, base, strict=True)]).sum()


def _softmax_kl(theta: Tensor, base: Tensor) -> Tensor:
    # Double precision: after a few steps the divergence is far below the float32 resolution of a log-probability.
    ours, theirs = (torch.log_softmax(tensor.flatten(), dim=0, dtype=torch.float64) for tensor in (theta, base))
    return F.kl_div(theirs, ours, reduction="sum", log_target=True).to(theta.dtype)


def frm_loss(hq_scores: Tensor, restored_scores: Tensor, scale: Tensor | float) -> Tensor:
    """Return the loss of the reward model's update (Eq. 7, 8): -log P(photograph preferred over its restoration).

    hq_scores, restored_scores (B,): raw cosines with the same captions. scale: 1 / tau (`FaceRewardModel.scale`). As in
    training (App. A.2), the softmax over a pair uses scaled cosines, with the photograph as the label. The result is
    averaged over the batch; > 0, log 2 for equal scores. Numerically stable.
    """
    logits = scale * (hq_scores - restored_scores)
    return preference_losses(logits, torch.ones_like(logits)).mean()
