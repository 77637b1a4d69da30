"""Contrastive alignment of the compact backbone's projections on photographs and their captions."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rewardlab.reward_model.model import FaceRewardModel

STEPS, LEARNING_RATE = 300, 1e-3


def align(model: FaceRewardModel, images: Iterable[Tensor], captions: list[str], *, steps: int = STEPS) -> float:
    """Train only the two projections and the temperature, with CLIP's symmetric loss over all pairs in one batch.

    images: N preprocessed images (1, 3, S, S), one per caption. Photographs with equal captions count as matches of
    each other. Returns the final loss in nats.
    """
    clip = model.clip
    with torch.no_grad():
        pooled = torch.cat([clip.visual.trunk(image) for image in images])
        tokens = model.tokenize(captions)
        hidden = torch.cat([_pooled_text(model, chunk) for chunk in tokens.split(32)])
    projections = [*clip.visual.head.parameters(), *clip.text.proj.parameters(), clip.logit_scale]
    for parameter in projections:
        parameter.requires_grad_(True)
    _, group = torch.unique(tokens, dim=0, return_inverse=True)
    target = (group[:, None] == group[None, :]).float()
    target = target / target.sum(dim=1, keepdim=True)
    optimizer = torch.optim.Adam(projections, lr=LEARNING_RATE)
    for _ in range(steps):
        image = F.normalize(clip.visual.head(pooled), dim=-1)
        text = F.normalize(clip.text.proj(hidden), dim=-1)
        logits = model.scale * image @ text.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for parameter in projections:
        parameter.grad = None
    return loss.item()


def _pooled_text(model: FaceRewardModel, tokens: Tensor) -> Tensor:
    text = model.clip.text
    mask = (tokens != text.config.pad_token_id).long()
    pooled: Tensor = text.pooler(text.transformer(input_ids=tokens, attention_mask=mask), mask)
    return pooled
