"""Interfaces: the description of a restorer, which does not need torch, and an opened restorer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RestorerSpec:
    """Description of a restorer. Only opening the restorer takes time and memory.

    name: key in the database and in file names. kind: `classical` (no weights), `network`, or `folder` (results of
    other software). asset: entry of rewardlab.assets with the weights; weights: a user's file instead. scale: the
    factor by which the low-quality image is downscaled before the restorer upscales it; 1 for full size.
    """

    name: str
    kind: Literal["classical", "network", "folder"]
    title: str
    licence: str
    asset: str | None = None
    weights: Path | None = None
    scale: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)


class Subject(NamedTuple):
    """The inputs of a prompt: the face's number and its caption."""

    face: int
    caption: str


class Restorer(Protocol):
    """An opened restorer. Results do not depend on the batch, to 1e-4 (for exceptions see the classes)."""

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Return JSON values: name, kind, title, version, weights_file, weights_sha256, architecture,
        scale, input_range, licence, parameters."""
        ...

    def restore(self, lq: "Tensor", subjects: Sequence[Subject] = ()) -> "Tensor":
        """Restore (B, 3, S, S) float32 RGB in [0, 1] to the same shape and range, without gradient.

        subjects: (B,), required by restorers with prompts only.
        """
        ...
