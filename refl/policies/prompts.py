"""The restorer's prompts: their sources, and their encoding for the UNet's cross-attention."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from rewardlab.snapshot_images import DataError
from rewardlab.table_cells import Column, Kind
from rewardlab.table_reader import BadRow, Table, TableError

PromptSource = Literal["empty", "caption", "file"]
MAX_LISTED = 5
COLUMNS = (Column("face", Kind.COUNT, required=True), Column("tags", required=True, may_be_empty=True))


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
    file: for kind "file", a table with the columns `face` and `tags`: CSV, JSON or JSON lines.
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


def stored_prompts(folder: Path, start: Mapping[str, str]) -> Path | None:
    """Return a run's own copy of its table of prompts; early runs recorded the path of the table instead."""
    name = start.get("prompts", "")
    return folder / name if name else None  # joining with an absolute path gives that path


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
    places: dict[int, str] = {}
    try:
        for row in Table(COLUMNS).read(file):
            if isinstance(row, BadRow):
                raise DataError(f"{file.parent / row.where}: {row.detail}")
            face = row.values["face"]
            if face in tags:
                raise DataError(
                    f"{file.parent / row.where}: face {face} already has tags in {places[face]}: remove one"
                )
            tags[face], places[face] = row.values["tags"], row.where
    except TableError as error:
        raise DataError(
            f"{error} A list of prompts is a table with the columns face (a number) and tags: CSV, or JSON lines."
        ) from error
    return tags


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
