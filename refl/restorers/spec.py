"""Interfaces: the description of a restorer, which does not need torch, and an opened restorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from refl.errors import LicenceError, OptionError
from refl.restorers.options import Option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RestorerSpec:
    """Description of a restorer. Only opening the restorer takes time and memory.

    name: key in the database and in file names. kind: `classical` (no weights), `network`, or `folder` (results of
    other software). licence: of its code and weights. noncommercial: it is free for non-commercial use only, which the
    user must accept. base: the base of `refl` that it is, if it can be tuned. method: how another one is opened (see
    `refl.restorers.open_restorer`). architecture: the network that a checkpoint must contain, as spandrel names it;
    empty for any. assets: entries of rewardlab.assets with the weights, the main one first; weights: a user's file
    instead. scale: the factor by which the low-quality image is downscaled before the restorer upscales it; 1 for full
    size. options: what a user may set. parameters: further settings that are recorded. citation: the paper.
    """

    name: str
    kind: Literal["classical", "network", "folder"]
    title: str
    licence: str
    noncommercial: bool = False
    base: str = ""
    method: str = "checkpoint"
    architecture: str = ""
    assets: tuple[str, ...] = ()
    weights: Path | None = None
    scale: int = 1
    options: tuple[Option, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    citation: str = ""

    def parse(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the value of each option: the given text, converted and checked, or its default.

        Raises `OptionError` for an unknown option or a value that is not allowed.
        """
        known = {option.name: option for option in self.options}
        if unknown := sorted(set(given) - set(known)):
            allowed = f"It has the options {', '.join(known)}." if known else "It has no options."
            raise OptionError(f"{self.name} has no option {', '.join(unknown)}. {allowed}")
        return {
            name: option.parse(given[name], self.name) if name in given else option.default
            for name, option in known.items()
        }

    def require_accepted(self, accepted: bool) -> None:
        """Raise `LicenceError`, which shows the licence, if it is non-commercial and was not accepted."""
        if self.noncommercial and not accepted:
            raise LicenceError(
                f"{self.name} is free for non-commercial use only. Its licence: {self.licence}. If your use is "
                f"non-commercial, repeat the command with --accept-licence. The restorer records that you accepted it."
            )

    def provenance(
        self, *, architecture: str, version: str, weights: Mapping[str, Any], **changed: Any
    ) -> dict[str, Any]:
        """Return what an opened restorer records (see `Restorer.provenance`).

        weights: entries about its files. changed: further values, or others than the description's.
        """
        return {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "version": version,
            **weights,
            "architecture": architecture,
            "scale": self.scale,
            "input_range": "[0, 1]",
            "licence": self.licence,
            "parameters": dict(self.parameters),
        } | changed


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
