"""What a restorer is: a named entry, listed without torch, and an opened one with its provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RestorerSpec:
    """An entry of the list of restorers; opening it is what costs time and memory.

    name: key in the database and in file names. kind: `classical` (a formula), `network` (weights), or
    `folder` (results computed elsewhere: there is nothing to run). asset: entry of rewardlab.assets that
    holds the weights; weights: a file that the user named instead. scale: factor by which the low-quality
    image is shrunk before the restorer enlarges it again, 1 if it works at the full size.
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
    """What a prompt may depend on: the face's number and its caption."""

    face: int
    caption: str


class Restorer(Protocol):
    """An opened restorer. The same image alone or in a batch is restored alike to 1e-4 (see the classes)."""

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Plain JSON values: name, kind, title, version, weights_file, weights_sha256, architecture,
        scale, input_range, licence, parameters."""
        ...

    def restore(self, lq: "Tensor", subjects: Sequence[Subject] = ()) -> "Tensor":
        """(B, 3, S, S) float32 RGB in [0, 1] to the same shape and range, without gradient.

        subjects (B,): whose images they are; only a restorer with a prompt needs them.
        """
        ...
