"""Metrics on CLIP: CLIP Scores and LAION's aesthetic scores, with OpenAI's weights in open_clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import assets
from rewardlab.clip import OPENAI_MEAN, OPENAI_STD, build, make_tokenizer, open_clip
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import CaptionMeasure, FullReferenceMeasure, Measure
from rewardlab.weight_files import fill, read_tensors, require_finite

# Hessel et al. 2021: the cosine times 2.5, negative ones as 0; this text is put before each caption.
HESSEL_SCALE = 2.5
HESSEL_PREFIX = "A photo depicts "
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's archives hold as tensors


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
    stored = _stored(path)
    with torch.device("meta"):
        visual = build(config).visual
    visual.to_empty(device="cpu")
    prefix = "visual."
    fill(visual, {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}, path)
    return ImageTower(visual).eval().requires_grad_(False)


def load_clip(path: Path, config: dict[str, Any]) -> Any:
    """Load both towers, as `load_tower` the image tower: an open_clip model, frozen, float32, on the CPU."""
    stored = {name: value for name, value in _stored(path).items() if name not in NOT_WEIGHTS}
    clip = build(config)
    fill(clip, stored, path)
    return clip.eval().requires_grad_(False)


def _stored(path: Path) -> dict[str, Tensor]:
    try:
        stored: dict[str, Tensor] = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is not the TorchScript archive of OpenAI's CLIP, or is truncated: download it again"
        ) from error
    require_finite(stored, path)
    return stored


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


def build_clipscore_text(device: str) -> CaptionMeasure:
    """Build CLIPScore of an image and its caption (Hessel et al. 2021), [0, 2.5]; CLIP ViT-B/32. See `clipscore`."""
    return caption_score(load_clip(assets.find("clip-vit-b32"), architecture("ViT-B-32-quickgelu")), device)


def caption_score(clip: Any, device: str) -> CaptionMeasure:
    tower, clip = ImageTower(clip.visual).to(device).eval(), clip.to(device)
    tokenizer = make_tokenizer({"text_cfg": {}})

    def measure(images: Tensor, captions: Sequence[str]) -> Tensor:
        tokens = tokenizer([HESSEL_PREFIX + caption for caption in captions]).to(device)
        texts = F.normalize(clip.encode_text(tokens), dim=-1)
        score: Tensor = HESSEL_SCALE * (tower(images) * texts).sum(dim=1).clamp(min=0)
        return score

    return measure


def load_linear_head() -> nn.Linear:
    """Load LAION's v1 predictor: one linear layer on unit embeddings of ViT-L/14, (B, 768) -> (B, 1)."""
    path = assets.find("laion-aesthetic-v1")
    head = nn.Linear(768, 1)
    fill(head, read_tensors(path), path)
    return head.eval().requires_grad_(False)


def build_aesthetic_v1(device: str) -> Measure:
    """Build LAION's first aesthetic predictor (sa_0_4, ViT-L/14), about 1 to 10. The paper cites its repository."""
    return _on_embeddings(load_linear_head(), device)


def build_aesthetic(device: str) -> Measure:
    """Build LAION's improved aesthetic predictor (v2: sac+logos+ava1, ViT-L/14), about 1 to 10.

    The values of v1, one linear layer on the same embeddings, differ.
    """
    return _on_embeddings(load_aesthetic_head(), device)


def _on_embeddings(head: nn.Module, device: str) -> Measure:
    tower = load_tower(assets.find("clip-vit-l14"), architecture("ViT-L-14-quickgelu")).to(device)
    head = head.to(device)

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
