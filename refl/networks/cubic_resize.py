"""Cubic resizing as in Matlab, which DR2's low-pass filter uses. PyTorch's differs at the edges."""

import torch
from torch import Tensor


def cubic_matrix(before: int, after: int) -> Tensor:
    """Return the weights (after, before) that resize a row of `before` pixels.

    The kernel is Keys' with a = -1/2, widened when shrinking. Pixels beyond an edge are the mirrored ones.
    """
    scale = after / before
    widening = min(scale, 1.0)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) / scale - 0.5
    reach = int(2 / widening) + 2
    positions = torch.arange(-reach, before + reach)
    weights = _keys((centres[:, None] - positions) * widening)
    weights = weights / weights.sum(1, keepdim=True)
    period = positions.remainder(2 * before)
    mirrored = torch.where(period < before, period, 2 * before - 1 - period)
    return torch.zeros(after, before, dtype=torch.float64).index_add_(1, mirrored, weights).float()


def _keys(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))
