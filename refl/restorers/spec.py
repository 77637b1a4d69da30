"""Interfaces: a named restorer entry, which needs no torch, and an opened restorer with its provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RestorerSpec:
    """An entry in the list of restorers; only opening it takes time and memory.

    name: key in the database and in file names. kind: `classical` (a formula), `network` (weights), or
    `folder` (results computed elsewhere). asset: entry of rewardlab.assets that
    holds the weights; weights: a file given by the user instead. scale: factor by which the low-quality
    image is shrunk before the restorer enlarges it again, 1 for the full size.
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
    """An opened restorer. Results do not depend on the batch, to 1e-4 (see the classes)."""

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> dict[str, Any]:
        """JSON values: name, kind, title, version, weights_file, weights_sha256, architecture,
        scale, input_range, licence, parameters."""
        ...

    def restore(self, lq: "Tensor", subjects: Sequence[Subject] = ()) -> "Tensor":
        """(B, 3, S, S) float32 RGB in [0, 1] to the same shape and range, without gradient.

        subjects: (B,), needed only by a restorer with a prompt.
        """
        ...
