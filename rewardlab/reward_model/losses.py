"""The preference loss of Sec. 3.1 and App. A.2, on embeddings that the pairs of a face share."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pair_logits(images: Tensor, texts: Tensor, first: Tensor, second: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Return s1 - s2 of P pairs, (P,), with s_k = e_ik . e_t / tau (App. A.2).

    images (N, D), texts (C, D): unit embeddings. first, second, text (P,): indices into them. scale: 1 / tau.
    """
    difference = images[first] - images[second]
    return scale * (difference * texts[text]).sum(dim=-1)


def preference_losses(logits: Tensor, p_first: Tensor) -> Tensor:
    """Return the cross-entropy of softmax([s1; s2]) with the label [p, 1 - p], (P,).

    The softmax of two scores is the sigmoid of s1 - s2. A split vote is a soft label.
    """
    return F.binary_cross_entropy_with_logits(logits, p_first, reduction="none")


def agreements(logits: Tensor, p_first: Tensor) -> Tensor:
    """Return 1 if model and label prefer the same image, 0 if not, .5 if either is undecided. (P,)"""
    same = torch.sign(logits) * torch.sign(p_first - 0.5)
    return (same + 1) / 2
