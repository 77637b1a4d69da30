"""Metrics on CLIP's image tower: CLIP Score and LAION's aesthetic score, with OpenAI's weights in open_clip."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import assets
from rewardlab.clip import OPENAI_MEAN, OPENAI_STD, build, open_clip
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import FullReferenceMeasure, Measure
from rewardlab.weight_files import fill, read_tensors, require_finite


class ImageTower(nn.Module):
    """float (B, 3, H, W) in [0, 1] -> unit embeddings (B, D). Resizes the shorter side (bicubic), crops the centre."""

    mean: Tensor
    std: Tensor

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.side: int = visual.image_size[0]
        self.register_buffer("mean", torch.tensor(OPENAI_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(OPENAI_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        shape = [round(side * self.side / min(height, width)) for side in (height, width)]
        resized = F.interpolate(images, shape, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        top, left = ((side - self.side) // 2 for side in shape)
        centre = resized[..., top : top + self.side, left : left + self.side]
        return F.normalize(self.visual((centre - self.mean) / self.std), dim=-1)


class AestheticHead(nn.Module):
    """LAION's v2 predictor: unit embeddings of ViT-L/14 (B, 768) -> (B, 1). Five linear layers without activations."""

    def __init__(self) -> None:
        super().__init__()
        dropout = nn.Dropout  # keeps the numbering of the layers as in the file
        self.layers = nn.Sequential(
            nn.Linear(768, 1024), dropout(), nn.Linear(1024, 128), dropout(), nn.Linear(128, 64), dropout(),
            nn.Linear(64, 16), nn.Linear(16, 1),
        )  # fmt: skip

    def forward(self, embeddings: Tensor) -> Tensor:
        score: Tensor = self.layers(embeddings)
        return score


def load_tower(path: Path, config: dict[str, Any]) -> ImageTower:
    """Load the image tower from a TorchScript archive published by OpenAI.

    config: open_clip's configuration of the architecture. The tower is frozen, float32, on the CPU. Raises
    `ValueError` for other files and other architectures.
    """
    try:
        stored = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is not the TorchScript archive of OpenAI's CLIP, or is truncated: download it again"
        ) from error
    require_finite(stored, path)
    with torch.device("meta"):
        visual = build(config).visual
    visual.to_empty(device="cpu")
    prefix = "visual."
    fill(visual, {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}, path)
    return ImageTower(visual).eval().requires_grad_(False)


def load_aesthetic_head() -> AestheticHead:
    path = assets.find("laion-aesthetic-v2")
    with torch.device("meta"):
        head = AestheticHead()
    head.to_empty(device="cpu")
    fill(head, read_tensors(path), path)
    return head.eval().requires_grad_(False)


def build_clipscore(device: str) -> FullReferenceMeasure:
    """Build the cosine of the embeddings of restored and original image, [-1, 1]; CLIP ViT-B/32.

    Sec. 4 cites Hessel et al. 2021, who compare an image with a text, but lists CLIP Score among the metrics with a
    reference. Table 1 reports .74 to .90, almost in the order of Deg. and LMD; a face and its caption give about .3
    (.75 in Hessel's scaling) for every restorer. Therefore image is compared with image. The paper does not name the
    tower; ViT-B/32 is Hessel's.
    """
    tower = load_tower(assets.find("clip-vit-b32"), architecture("ViT-B-32-quickgelu")).to(device)

    def measure(images: Tensor, reference: Tensor) -> Tensor:
        cosine: Tensor = (tower(images) * tower(reference)).sum(dim=1)
        return cosine

    return measure


def build_aesthetic(device: str) -> Measure:
    """Build LAION's improved aesthetic predictor (v2: sac+logos+ava1, ViT-L/14), about 1 to 10.

    The paper cites the repository of v1, one linear layer on the same embeddings, whose values differ.
    """
    tower = load_tower(assets.find("clip-vit-l14"), architecture("ViT-L-14-quickgelu")).to(device)
    head = load_aesthetic_head().to(device)

    def measure(images: Tensor, reference: Tensor | None) -> Tensor:
        score: Tensor = head(tower(images)).flatten()
        return score

    return measure


def architecture(name: str) -> dict[str, Any]:
    """Return open_clip's configuration. OpenAI's weights were trained with the activation of the `-quickgelu` names."""
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no architecture {name}: pip install -r requirements.txt")
    return config
