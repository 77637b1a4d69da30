"""The objectives of ReFL (Sec. 3.3): Eq. 2 to 5, which Eq. 6 weighs and adds, and the update of the reward model.

Every loss is a scalar tensor. Images are float (B, 3, H, W) in [0, 1]. A restorer's output may leave that range:
nothing is clamped here, because a clamp gives the pixels outside no gradient, and they would never come back.
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
    """Eq. 2: -R, the mean over the batch. scores (B,): raw cosines of restored images and captions, in [-1, 1]."""
    return -scores.mean()


def perceptual_loss(network: Lpips, images: Tensor, photographs: Tensor) -> Tensor:
    """Eq. 3: LPIPS of restored images and their photographs, the mean over the batch; >= 0, 0 where they are equal.

    network: `rewardlab.metrics.perceptual.load_network("vgg")` on the images' device. images, photographs:
    (B, 3, H, W) in [0, 1].
    """
    distance: Tensor = network(images, photographs).mean()
    return distance


def structure_loss(images: Tensor, photographs: Tensor, wavelet: Wavelet = "haar", levels: int = 3) -> Tensor:
    """Eq. 4: mean absolute difference of the low-pass bands of restored images and their photographs; >= 0.

    images, photographs: (B, 3, H, W) in [0, 1]. The mean over coefficients (as the released code), not their sum, so
    the size of the images does not change it. The unit is the band's, see `low_pass`: at three levels a constant
    difference d costs 8 d with "haar" and 4 d with "dual-tree", which the released code's weight .01 belongs to.
    """
    return F.l1_loss(low_pass(images, wavelet, levels), low_pass(photographs, wavelet, levels))


def low_pass(images: Tensor, wavelet: Wavelet, levels: int) -> Tensor:
    """DWT_LF of Eq. 4. images (B, C, H, W) -> the low-pass band of `levels` levels. Linear, and differentiable.

    haar: the orthonormal approximation band, (B, C, H / 2^levels, W / 2^levels); a constant c becomes 2^levels c.
    dual-tree: the four trees' low-pass bands, interleaved, of the dual-tree complex wavelet transform with the
        released code's filters (near_sym_b, then qshift_b), (B, C, H / 2^(levels - 1), W / 2^(levels - 1)); a
        constant c becomes 2^(levels - 1) c. It hardly changes when the image moves by a pixel; Haar's does.
        The library derives from a toolbox that is supplied for research purposes only.

    Raises `ValueError` for sides that 2^levels does not divide: the band would depend on how they are padded.
    """
    height, width = images.shape[-2:]
    multiple = 2**levels
    if height % multiple or width % multiple:
        raise ValueError(
            f"{levels} levels of wavelets need sides that are multiples of {multiple}, not {height}x{width}. "
            "Resize the images, or take fewer levels."
        )
    if wavelet == "haar":
        # A level halves the sum of each 2x2 block; so many levels make the mean of a larger block times its side.
        means: Tensor = F.avg_pool2d(images, multiple) * multiple
        return means
    if wavelet == "dual-tree":
        # The library's own backward pass fails on what autocast makes of its forward pass.
        with torch.autocast(images.device.type, enabled=False):
            low: Tensor = _dual_tree(levels).to(images)(images)[0]
            return low
    raise ValueError(f"no wavelet is named {wavelet!r}; there are: haar, dual-tree")


def _dual_tree(levels: int) -> nn.Module:
    with warnings.catch_warnings():
        # The library reads its filters through pkg_resources, which warns of its end; setuptools is pinned for that.
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning, "pytorch_wavelets")
        try:
            from pytorch_wavelets import DTCWTForward
        except ModuleNotFoundError as error:
            raise ValueError(
                "The dual-tree wavelets need the library pytorch-wavelets (in part for research only): "
                "pip install --no-deps -r requirements-pyiqa.txt. The default, haar, needs nothing."
            ) from error
    transform: nn.Module = DTCWTForward(J=levels, biort="near_sym_b", qshift="qshift_b", skip_hps=True)
    return transform


def residual_distance(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> Tensor:
    """Eq. 5 as the released code reads it: how far the tuned ControlNet's residuals are from the frozen one's.

    tuned, frozen: what both add to the UNet for the same input, one tensor per zero convolution (13 in Stable
    Diffusion's), of any equal shapes. -> the sum over the residuals of the mean squared difference, >= 0.
    """
    return torch.stack(_squared_distances(tuned, frozen)).sum()


def output_distance(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> Tensor:
    """Eq. 5 on what the UNet says, for bases without a ControlNet (OSEDiff): mean squared difference, >= 0.

    tuned, frozen: the tuned and the frozen UNet's outputs (B, 4, h, w) for the same input, one per step that has a
    gradient. -> the mean over these steps.
    """
    return torch.stack(_squared_distances(tuned, frozen)).mean()


def _squared_distances(tuned: Sequence[Tensor], frozen: Sequence[Tensor]) -> list[Tensor]:
    return [F.mse_loss(ours, theirs) for ours, theirs in zip(tuned, frozen, strict=True)]


def gaussian_kl(parameters: Iterable[Tensor], base: Iterable[Tensor], sigma: float = 1.0) -> Tensor:
    """Eq. 5 in closed form, if weights are the means of Gaussians: ||theta - theta_base||^2 / (2 sigma^2), >= 0.

    This is KL(N(theta, sigma^2 I) || N(theta_base, sigma^2 I)) in nats. parameters, base: the trained tensors and
    their values before training, in the same order. sigma: in units of the weights.
    """
    squares = [F.mse_loss(theta, start, reduction="sum") for theta, start in zip(parameters, base, strict=True)]
    return torch.stack(squares).sum() / (2 * sigma**2)


def softmax_kl(parameters: Iterable[Tensor], base: Iterable[Tensor]) -> Tensor:
    """Eq. 5 read literally: the sum over tensors of KL(softmax(theta) || softmax(theta_base)) in nats, >= 0.

    The softmax runs over all entries of a tensor. It does not see a tensor shifted as a whole, its value depends on
    how weights are divided into layers, and it is weak: of a layer's change it sees about half the variance, where
    `gaussian_kl` sees half the sum of squares. parameters, base: as there.
    """
    return torch.stack([_softmax_kl(theta, start) for theta, start in zip(parameters, base, strict=True)]).sum()


def _softmax_kl(theta: Tensor, base: Tensor) -> Tensor:
    # In double precision: after a few steps the divergence is far below what float32 keeps of a log-probability.
    ours, theirs = (torch.log_softmax(tensor.flatten(), dim=0, dtype=torch.float64) for tensor in (theta, base))
    return F.kl_div(theirs, ours, reduction="sum", log_target=True).to(theta.dtype)


def frm_loss(hq_scores: Tensor, restored_scores: Tensor, scale: Tensor | float) -> Tensor:
    """Eq. 7 and 8, with which the reward model is kept honest: -log P(photograph preferred over its restoration).

    hq_scores, restored_scores (B,): raw cosines with the same captions. scale: 1 / tau (`FaceRewardModel.scale`); the
    pair's softmax is over scaled cosines, as in training (App. A.2), of which this is the loss with a label that is
    always the photograph. -> the mean over the batch, > 0; log 2 for equal scores. Stable for any scores.
    """
    logits = scale * (hq_scores - restored_scores)
    return preference_losses(logits, torch.ones_like(logits)).mean()
