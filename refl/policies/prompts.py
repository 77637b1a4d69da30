"""The restorer's prompts: their sources, and their encoding for the UNet's cross-attention."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from rewardlab.snapshot_images import DataError
from rewardlab.table_cells import Column, Kind
from rewardlab.table_reader import BadRow, Table, TableError

PromptSource = Literal["empty", "caption", "file"]
MAX_LISTED = 5
MOST_STATES = 2**30  # bytes; in bf16 some 6,800 texts
AHEAD = 32  # texts encoded at once
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

    def encode_ahead(self, prompts: Iterable[str], dtype: torch.dtype) -> bool:
        """Do nothing: there is no encoder."""
        return True


class TextEncoder(nn.Module):
    """Stable Diffusion's CLIP text encoder and tokenizer (transformers).

    encoder: None after `encode_ahead`, which leaves only the states of the texts that are used.
    """

    encoder: nn.Module | None

    def __init__(self, tokenizer: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.tokenizer, self.encoder = tokenizer, encoder
        self._known: dict[str, int] = {}
        self.register_buffer("_states", torch.empty(0), persistent=False)

    def forward(self, prompts: Sequence[str], latents: Tensor) -> Tensor:
        """Return the last hidden states (B, L, D) of B prompts on the device of `latents`.

        L = 77; longer prompts are truncated. Raises `ValueError` for a prompt that was not encoded ahead.
        """
        unique = list(dict.fromkeys(prompts))  # usually all are empty
        if self.encoder is None:
            states = self._states[[self._row(prompt) for prompt in unique]]
        else:
            states = self._encode(self.encoder, unique, latents.device)
        if len(unique) == 1:
            return states.to(latents.dtype).expand(len(prompts), -1, -1)
        indices = torch.tensor([unique.index(prompt) for prompt in prompts], device=latents.device)
        repeated: Tensor = states.to(latents.dtype)[indices]
        return repeated

    @torch.no_grad()
    def encode_ahead(self, prompts: Iterable[str], dtype: torch.dtype, *, most: int = MOST_STATES) -> bool:
        """Encode all prompts that will be used, and drop the encoder from memory.

        dtype: of the kept states. most: bytes of states; with more, nothing is done and False is returned.
        """
        if self.encoder is None:
            return True
        unique, encoder = list(dict.fromkeys(prompts)), self.encoder
        device = next(encoder.parameters()).device
        first = self._encode(encoder, unique[:1], device)
        if first[0].numel() * dtype.itemsize * len(unique) > most:
            return False
        parts = (self._encode(encoder, unique[start : start + AHEAD], device) for start in range(0, len(unique), AHEAD))
        self._states = torch.cat([part.to(dtype) for part in parts])
        self._known = {prompt: row for row, prompt in enumerate(unique)}
        self.encoder = None
        return True

    def _encode(self, encoder: nn.Module, prompts: list[str], device: torch.device) -> Tensor:
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states: Tensor = encoder(tokens.to(device))[0]
        return states

    def _row(self, prompt: str) -> int:
        if prompt not in self._known:
            raise ValueError(f"The text encoder was dropped, and the prompt {prompt!r} was not encoded before.")
        return self._known[prompt]
