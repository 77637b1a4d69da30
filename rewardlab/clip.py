"""open_clip's models and tokenizers from their configuration."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

import open_clip as open_clip  # noqa: E402 - re-exported: import it from here, after ensure_torchvision

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def build(model_config: dict[str, Any], text_folder: Path | None = None) -> Any:
    """Build an open_clip model from its configuration, with random weights.

    text_folder: contains the configuration of the transformers text tower, if the model has one.
    """
    config = deepcopy(model_config)
    is_transformers = "hf_model_name" in config["text_cfg"]
    if is_transformers:
        config["text_cfg"] |= {"hf_model_name": str(text_folder), "hf_model_pretrained": False}
    is_custom = config.pop("custom_text", False) or is_transformers
    return open_clip.CustomTextCLIP(**config) if is_custom else open_clip.CLIP(**config)


def make_tokenizer(model_config: dict[str, Any], text_folder: Path | None = None) -> Any:
    text_config = model_config["text_cfg"]
    length = text_config.get("context_length", 77)
    if "hf_model_name" in text_config:
        return open_clip.tokenizer.HFTokenizer(str(text_folder), context_length=length)
    return open_clip.SimpleTokenizer(context_length=length)
