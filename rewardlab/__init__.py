"""Reward models and image-quality metrics for face restoration. Does not import Django."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardlab.reward_model.model import FaceRewardModel


def load(path: Path | str, device: str = "cpu") -> "FaceRewardModel":
    """Load a Face Reward Model from its folder: `load(path).score(images, captions)` -> (B,), differentiable."""
    from rewardlab.reward_model import model

    return model.load(path, device)
