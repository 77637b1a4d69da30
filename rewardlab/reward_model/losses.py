"""The preference loss of Sec. 3.1 and App. A.2, from embeddings that each pair shares with its face."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pair_logits(images: Tensor, texts: Tensor, first: Tensor, second: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """s1 - s2 of P pairs, s_k = e_ik . e_t / tau (App. A.2).

    images (N, D), texts (C, D): unit embeddings. first, second, text (P,): their rows. scale: 1 / tau. -> (P,)
    """
    difference = images[first] - images[second]
    return scale * (difference * texts[text]).sum(dim=-1)


def preference_losses(logits: Tensor, p_first: Tensor) -> Tensor:
    """Cross-entropy of softmax([s1; s2]) with the label [p, 1 - p], each (P,). Softmax of two is a sigmoid of s1 - s2,
    and a split vote is a soft label."""
    return F.binary_cross_entropy_with_logits(logits, p_first, reduction="none")


def agreements(logits: Tensor, p_first: Tensor) -> Tensor:
    """1 where the model and the label prefer the same image, 0 where not, .5 where either has none. (P,)"""
    same = torch.sign(logits) * torch.sign(p_first - 0.5)
    return (same + 1) / 2
