"""The Face Reward Model: an open_clip dual encoder that scores a face image given its text (Sec. 3.1).

It is stored as a folder in open_clip's own format (`open_clip_config.json`, safetensors, tokenizer files), which
`open_clip.create_model_from_pretrained("local-dir:FOLDER")` can also open, in training mode: call `.eval()` on its
model. `load` returns a model that is always in evaluation mode.
"""

import json
import math
import secrets
import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import cards
from rewardlab.files import give_usual_mode
from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()


from rewardlab.clip import OPENAI_MEAN, OPENAI_STD, build, make_tokenizer  # noqa: E402
from rewardlab.errors import ModelError  # noqa: E402
from rewardlab.weight_files import load_checkpoint, misfits  # noqa: E402

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MAX_SCALE = 100.0  # CLIP's and HPSv2's upper bound of 1 / tau


@dataclass(frozen=True)
class Preprocess:
    """HPSv2's preprocessing: longest side to `size`, bicubic, zero padding to a square, no crop.

    antialias: HPSv2 resizes tensors, which torchvision does with antialiasing since 0.17. False reproduces the scores
    of earlier versions. With antialiasing, the result equals Pillow's resize of the 8-bit file within 1.5/255 for 99%
    of values, and .5/255 on average. Larger differences occur at hard edges, where bicubic overshoots: Pillow clips to
    [0, 1]; this does not, so that every pixel keeps its gradient.
    """

    size: int = 224
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD
    antialias: bool = True

    def __call__(self, images: Tensor) -> Tensor:
        """Convert float (B, 3, H, W) in [0, 1] to (B, 3, size, size), normalised. Differentiable."""
        return self.normalise(self.crop(images))

    def crop(self, images: Tensor) -> Tensor:
        """Resize and pad float (B, 3, H, W) in [0, 1] to (B, 3, size, size), roughly in [0, 1]."""
        height, width = images.shape[-2:]
        if (longest := max(height, width)) != self.size:
            shape = [max(1, round(side * self.size / longest)) for side in (height, width)]
            by_products = images.is_cuda and torch.are_deterministic_algorithms_enabled()
            images = (resize_by_products if by_products else resize)(images, shape, antialias=self.antialias)
        if height != width:
            missing = [self.size - side for side in images.shape[-2:]]
            top, left = missing[0] // 2, missing[1] // 2
            images = F.pad(images, (left, missing[1] - left, top, missing[0] - top))
        return images

    def normalise(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std


def resize(images: Tensor, shape: Sequence[int], *, antialias: bool) -> Tensor:
    """Resize bicubically: (B, C, H, W) -> (B, C, *shape). The gradient is not deterministic on a GPU."""
    return F.interpolate(images, list(shape), mode="bicubic", align_corners=False, antialias=antialias)


def resize_by_products(images: Tensor, shape: Sequence[int], *, antialias: bool) -> Tensor:
    """Compute `resize` as two matrix products, whose gradient is deterministic on a GPU. Equal within 1e-6."""
    rows, columns = (
        resize(torch.eye(before, device=images.device)[None, None], (after, before), antialias=antialias)[0, 0]
        for before, after in zip(images.shape[-2:], shape, strict=True)
    )
    with torch.autocast(images.device.type, enabled=False):
        return rows @ images.float() @ columns.mT


class FaceRewardModel(nn.Module):
    """The reward R(I, T).

    The model is always in evaluation mode: no dropout, fixed batch statistics, so that the score of an image does not
    depend on the rest of its batch.
    """

    clip: Any  # open_clip.CLIP or CustomTextCLIP

    def __init__(self, clip: nn.Module, tokenizer: Any, preprocess: Preprocess, model_config: dict[str, Any]) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.model_config = model_config
        self.eval()

    def train(self, mode: bool = True) -> "FaceRewardModel":
        return super().train(False)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.clip.logit_scale.device
        return device

    @property
    def scale(self) -> Tensor:
        """1 / tau of App. A.2."""
        scale: Tensor = self.clip.logit_scale.exp()
        return scale

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Limit 1 / tau as CLIP and HPSv2 do after each update."""
        self.clip.logit_scale.clamp_(max=math.log(MAX_SCALE))

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed preprocessed images (N, 3, S, S) as unit vectors (N, D)."""
        return F.normalize(self.clip.encode_image(images).float(), dim=-1)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Convert C texts to token ids (C, L), truncated to the context length."""
        tokens: Tensor = self.tokenizer(list(captions))
        return tokens

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Embed token ids (C, L) as unit vectors (C, D)."""
        return F.normalize(self.clip.encode_text(tokens).float(), dim=-1)

    def score(self, images: Tensor, captions: Sequence[str] | str) -> Tensor:
        """Return the reward, (B,) in [-1, 1]: raw cosine similarity, as in HPSv2's inference and Eq. 2. Differentiable.

        images: float (B, 3, H, W) in [0, 1]; captions: B texts, or one for all images. Raises `ValueError` for
        another shape, dtype or number of captions.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"a float (B, 3, H, W) tensor in [0, 1] is needed, not {images.dtype} {tuple(images.shape)}"
            )
        texts = [captions] if isinstance(captions, str) else list(captions)
        if len(texts) not in (1, len(images)):
            raise ValueError(f"{len(images)} images need {len(images)} captions or one, not {len(texts)}")
        text = self.embed_texts(self.tokenize(texts).to(self.device))
        return (self.embed_images(self.preprocess(images.to(self.device))) * text).sum(dim=-1)


def save(model: FaceRewardModel, folder: Path, *, card: str = "") -> None:
    """Write the model and its card to `folder` atomically, replacing an existing folder.

    open_clip's format refers to a transformers text tower by its path. After moving such a folder, update
    `text_cfg.hf_model_name` to open it with open_clip; `load` does not need this.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    partial.mkdir()
    try:
        config = deepcopy(model.model_config)
        if "hf_model_name" in config["text_cfg"]:
            model.clip.text.config.save_pretrained(partial)
            model.tokenizer.save_pretrained(partial)
            config["text_cfg"] |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
        preprocess = asdict(model.preprocess)
        antialias = preprocess.pop("antialias")
        preprocess |= {"interpolation": "bicubic", "resize_mode": "longest", "fill_color": 0}
        stored = {"model_cfg": config, "preprocess_cfg": preprocess, "rewardlab": {"antialias": antialias}}
        (partial / CONFIG_FILE).write_text(json.dumps(stored, indent=2))
        tensors = {name: tensor.contiguous() for name, tensor in model.clip.state_dict().items()}
        save_file(tensors, partial / WEIGHTS_FILE, metadata={"format": "pt"})
        give_usual_mode(partial / WEIGHTS_FILE)
        if card:
            (partial / cards.FILE).write_text(card, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def weights_file(folder: Path) -> Path:
    """Return the weights file of a model folder. Raises `ModelError` if it is missing."""
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"{folder} has no weights: the file {WEIGHTS_FILE} is missing. Copy the whole folder.")
    return folder / WEIGHTS_FILE


def load(folder: Path | str, device: str = "cpu") -> FaceRewardModel:
    """Open a model folder. Raises `ModelError`, which states what is missing or wrong."""
    folder = Path(folder)
    try:
        stored = json.loads((folder / CONFIG_FILE).read_text())
        model_config, stored_preprocess = stored["model_cfg"], stored["preprocess_cfg"]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        hint = f". Use {folder / 'model'}" if (folder / "model" / CONFIG_FILE).exists() else ""
        raise ModelError(
            f"{folder} is not a model folder in open_clip's format: {CONFIG_FILE} cannot be read ({error}){hint}"
        ) from error
    weights = weights_file(folder)
    clip = build(model_config, folder)
    fill(clip, load_checkpoint(weights), weights)
    preprocess = Preprocess(
        size=_one_side(stored_preprocess.get("size", clip.visual.image_size)),
        mean=tuple(stored_preprocess["mean"]),
        std=tuple(stored_preprocess["std"]),
        antialias=stored.get("rewardlab", {}).get("antialias", True),
    )
    return FaceRewardModel(clip, make_tokenizer(model_config, folder), preprocess, model_config).to(device)


def fill(clip: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load weights. Raises `ModelError` naming missing and unexpected keys and wrong shapes."""
    if faults := misfits(clip.state_dict(), tensors):
        raise ModelError(f"{source} is a checkpoint of another backbone: {faults}")
    clip.load_state_dict(tensors)


def _one_side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])
