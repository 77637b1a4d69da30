"""Backbones of the Face Reward Model and their trainable layers (Sec. 3.1, App. A.2).

`hpsv2`: open_clip's ViT-H-14 from an HPSv2 or v2.1 checkpoint, as in the paper. `compact`: an ImageNet
EfficientNet-Lite0 and a MiniLM text tower in open_clip's classes, small enough for a CPU; its projections are first
aligned on image-caption pairs (`rewardlab.reward_model.contrastive_alignment`).
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import assets
from rewardlab.clip import build, make_tokenizer, open_clip
from rewardlab.errors import ModelError
from rewardlab.reward_model.model import FaceRewardModel, Preprocess, fill
from rewardlab.weight_files import fill_in_order, load_checkpoint, read_tensors

COMPACT_SIZE = 160
COMPACT_CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": COMPACT_SIZE,
    },
    "text_cfg": {
        "hf_model_name": "",
        "hf_tokenizer_name": "",
        "hf_model_pretrained": False,
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "linear",
        "context_length": 64,
    },
    "custom_text": True,
}


def open_hpsv2(checkpoint: Path, architecture: str = "ViT-H-14", *, antialias: bool = True) -> FaceRewardModel:
    """Open a model from a checkpoint in HPSv2's layout: `state_dict` nested or bare, names with or without `module.`.

    architecture: open_clip's name, or a JSON file of its configuration. Raises `ModelError`.
    """
    config = _architecture(architecture)
    clip = build(config)
    fill(clip, _read_checkpoint(checkpoint), checkpoint)
    preprocess = Preprocess(size=clip.visual.image_size[0], antialias=antialias)
    return FaceRewardModel(clip, make_tokenizer(config), preprocess, config)


def _architecture(name: str) -> dict[str, Any]:
    if name.endswith(".json"):
        try:
            stored: dict[str, Any] = json.loads(Path(name).read_text())
            return stored
        except (OSError, json.JSONDecodeError) as error:
            raise ModelError(f"The architecture file {name} cannot be read: {error}") from error
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        raise ModelError(f"open_clip has no architecture {name}: use a name from open_clip.list_models()")
    return config


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except FileNotFoundError as error:
        raise ModelError(f"The checkpoint {path} does not exist: check --checkpoint") from error


def open_compact(seed: int) -> FaceRewardModel:
    """Open the compact towers with their pretrained weights and random projections. Raises `MissingAsset`."""
    text_folder = assets.find("minilm-l6")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = build(COMPACT_CONFIG, text_folder)
    fill_in_order(clip.visual.trunk, assets.find("efficientnet-lite0"))
    stored = load_checkpoint(text_folder / "model.safetensors")
    text = clip.text.transformer
    wanted = {name: stored[name] for name in text.state_dict() if name in stored}
    text.load_state_dict(wanted)
    # Trained with TensorFlow's scaling to [-1, 1].
    preprocess = Preprocess(size=COMPACT_SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return FaceRewardModel(clip, make_tokenizer(COMPACT_CONFIG, text_folder), preprocess, COMPACT_CONFIG)


def lock(model: FaceRewardModel, *, image_layers: int, text_layers: int) -> None:
    """Freeze all but the last layers of both towers, their projections and the temperature (Sec. 3.1: 20 and 11).

    Transformer layers are counted as in HPSv2: of ViT-H-14, the vision blocks 13-31 and the text blocks 13-23 are
    trained. The 20 image groups include the projection, the 11 text blocks do not; open_clip's own
    `lock_text_tower(11)` would train 10 text blocks. EfficientNet's layers are the stem, seven stages and the head;
    MiniLM's are the embeddings and six layers.
    """
    clip = model.clip
    clip.requires_grad_(False)
    if isinstance(clip, open_clip.CustomTextCLIP):
        trunk, text = clip.visual.trunk, clip.text.transformer
        stages = [[trunk.conv_stem, trunk.bn1], *([stage] for stage in trunk.blocks), [trunk.conv_head, trunk.bn2]]
        layers = [[text.embeddings], *([layer] for layer in text.encoder.layer)]
        for module in [*_last(stages, image_layers), *_last(layers, text_layers), clip.visual.head, clip.text.proj]:
            module.requires_grad_(True)
    else:
        clip.lock_image_tower(unlocked_groups=image_layers)
        clip.lock_text_tower(unlocked_layers=text_layers + 1 if text_layers else 0)
    clip.logit_scale.requires_grad_(True)


def _last(groups: list[list[nn.Module]], count: int) -> list[nn.Module]:
    return [module for group in groups[max(0, len(groups) - count) :] for module in group]
