"""The restorer's prompts: their sources, and their encoding for the UNet's cross-attention."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from rewardlab.snapshot_images import DataError

PromptSource = Literal["empty", "caption", "file"]
MAX_LISTED = 5


class FaceLike(Protocol):
    """The inputs of a prompt."""

    @property
    def face(self) -> int: ...

    @property
    def caption(self) -> str: ...


Prompts = Callable[[Sequence[FaceLike]], list[str]]


def open_prompts(kind: PromptSource, file: Path | None = None) -> Prompts:
    """Return a function from B faces to B prompts.

    kind: "empty" (the paper's released code), "caption" (the face's caption), or "file" (for example OSEDiff's tags).
    file: for kind "file", a CSV with the columns `face` and `tags`, or JSON lines (`.jsonl`) with these keys.
    Raises `DataError` for an unreadable file. The returned function raises it for a face that is not in the file.
    """
    if (kind == "file") != (file is not None):
        raise DataError("the prompt 'file' needs a file of prompts, and other prompts do not take one")
    if file is not None:
        return _from_file(_read(file), file)
    if kind == "empty":
        return lambda faces: [""] * len(faces)
    if kind == "caption":
        return lambda faces: [face.caption for face in faces]
    raise DataError(f"unknown prompt {kind!r}; choose empty, caption or file")


def _from_file(tags: dict[int, str], file: Path) -> Prompts:
    def prompts(faces: Sequence[FaceLike]) -> list[str]:
        missing = [str(face.face) for face in faces if face.face not in tags]
        if missing:
            more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
            raise DataError(
                f"{file} has no tags for face {', '.join(missing[:MAX_LISTED])}{more}. Add a row for each; empty "
                f"tags are allowed."
            )
        return [tags[face.face] for face in faces]

    return prompts


def _read(file: Path) -> dict[int, str]:
    tags: dict[int, str] = {}
    try:
        for line, row in _rows(file):
            face = int(row["face"])
            if not isinstance(row["tags"], str):
                raise DataError(f"{file}, line {line}: the tags are not a string")
            if face in tags:
                raise DataError(f"{file}, line {line}: face {face} occurs twice")
            tags[face] = row["tags"]
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{file} is not a list of prompts ({type(error).__name__}: {error}). Pass a CSV with the columns face (a "
            f"number) and tags, or JSON lines (.jsonl) with these keys."
        ) from error
    return tags


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as content:
        if file.suffix == ".jsonl":
            for line, text in enumerate(content, start=1):
                if text.strip():
                    yield line, json.loads(text)
        else:
            reader = csv.DictReader(content)
            for row in reader:
                yield reader.line_num, row


class NoText(nn.Module):
    """Text encoder of policies without cross-attention: accepts only empty prompts."""

    def forward(self, prompts: Sequence[str], latents: Tensor) -> Tensor:
        """Return unused zeros (B, 1, 1). Raises `ValueError` for a nonempty prompt, which would be ignored."""
        if any(prompts):
            raise ValueError("this restorer does not use text: pass empty prompts")
        return latents.new_zeros(len(latents), 1, 1)


class TextEncoder(nn.Module):
    """Stable Diffusion's CLIP text encoder and tokenizer (transformers)."""

    def __init__(self, tokenizer: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.tokenizer, self.encoder = tokenizer, encoder

    def forward(self, prompts: Sequence[str], latents: Tensor) -> Tensor:
        """Return the last hidden states (B, L, D) of B prompts on the device of `latents`.

        L = 77; longer prompts are truncated.
        """
        unique = list(dict.fromkeys(prompts))  # usually all are empty
        tokens = self.tokenizer(
            unique,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = self.encoder(tokens.to(latents.device))[0].to(latents.dtype)
        indices = torch.tensor([unique.index(prompt) for prompt in prompts], device=latents.device)
        repeated: Tensor = states[indices]
        return repeated
