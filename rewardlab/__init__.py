"""Reward models and image-quality tools for face restoration. Knows no Django."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardlab.reward_model.model import FaceRewardModel


def load(path: Path | str, device: str = "cpu") -> "FaceRewardModel":
    """A Face Reward Model from its folder: `load(path).score(images, captions)` -> (B,), differentiable."""
    from rewardlab.reward_model import model

    return model.load(path, device)
