"""Restorers from checkpoints of any network that spandrel recognises, called with the inputs that it expects."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refl.errors import WeightsError
from refl.restorers.classical import TORCH_VERSION, check_images, crop, downscale, resize
from refl.restorers.spec import RestorerSpec, Subject
from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

import spandrel  # noqa: E402  (it imports torchvision)

from refl.weights import LICENCES, read_state, recognise  # noqa: E402
from rewardlab.allocator import keep_freed_memory  # noqa: E402
from rewardlab.files import sha256_of  # noqa: E402

# spandrel's DAT omits an argument that torch will require later. Users cannot fix that.
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)

FACE_SIZE = 512  # the training size of GFPGAN, CodeFormer and RestoreFormer
CODEFORMER_FIDELITY = 0.5  # "w": 0 favours quality, 1 fidelity; .5 is the authors' default
Call = Callable[[spandrel.ImageModelDescriptor, Tensor, Mapping[str, Any]], Tensor]


def _call_gfpgan(network: spandrel.ImageModelDescriptor, images: Tensor, options: Mapping[str, Any]) -> Tensor:
    # Use the noise stored in the checkpoint, so that results are reproducible.
    restored: Tensor = network.model(2 * images - 1, return_rgb=False, randomize_noise=False)[0]
    return (restored + 1) / 2


def _call_codeformer(network: spandrel.ImageModelDescriptor, images: Tensor, options: Mapping[str, Any]) -> Tensor:
    restored: Tensor = (network.model(2 * images - 1, weight=options["fidelity"])[0] + 1) / 2
    return restored


# spandrel passes images in [0, 1] to these two networks, which expect [-1, 1].
CALLS: dict[str, Call] = {
    "GFPGAN": _call_gfpgan,
    "CodeFormer": _call_codeformer,
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "GFPGAN": {"noise": "stored"},
    "CodeFormer": {"fidelity": CODEFORMER_FIDELITY},
}
SIGNED_RANGE = {"GFPGAN", "CodeFormer", "RestoreFormer", "RestoreFormer++"}
NON_COMMERCIAL = {"CodeFormer"}


class CheckpointRestorer:
    """A network with its weights. The output has the size of the low-quality image.

    A network that upscales by s gets the image downscaled by s with antialiasing. A face network (GFPGAN, CodeFormer,
    RestoreFormer) gets the image at 512x512, and its output is resized back. Other networks get the image unchanged.

    An image gives the same result alone and in a batch, to 1e-4. Exceptions are CodeFormer and RestoreFormer, which
    select discrete codes and may resolve near ties differently.
    """

    def __init__(
        self,
        spec: RestorerSpec,
        path: Path,
        device: str | torch.device = "cpu",
        *,
        options: Mapping[str, Any] | None = None,
        accept_licence: bool = False,
    ) -> None:
        """Read `path` (see `read_state`). options: as the network's entry in `PARAMETERS`, which has the defaults.

        Raises FileNotFoundError, `WeightsError`, or `LicenceError` for a non-commercial network that is not accepted.
        """
        if torch.device(device).type == "cpu":
            keep_freed_memory()
        self.network = recognise(read_state(path), path)
        if spec.architecture and self.architecture != spec.architecture:
            raise WeightsError(f"{path} contains {self.architecture}, not {spec.architecture}. Pass another file.")
        if self.architecture in NON_COMMERCIAL:
            spec = replace(spec, noncommercial=True, licence=LICENCES[self.architecture])
            spec.require_accepted(accept_licence)
            spec = replace(spec, parameters=spec.parameters | {"licence_accepted": True})
        self.options = {**PARAMETERS.get(self.architecture, {}), **(options or {})}
        self.network.to(torch.device(device)).eval()
        self.network.model.requires_grad_(False)
        self.spec = spec
        self.name = spec.name
        self.provenance = self._describe(path)

    @property
    def architecture(self) -> str:
        return str(self.network.architecture.id)

    @torch.no_grad()
    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        """Restore (B, 3, S, S) float32 in [0, 1]. S is padded to a multiple of the scale, and the result cropped."""
        check_images(lq)
        is_face_network = self.network.purpose == "FaceSR" and self.network.scale == 1
        images = resize(lq, FACE_SIZE) if is_face_network else downscale(lq, self.network.scale)
        restored = self._call(images.to(self.network.device))
        side = lq.shape[-1]
        whole = side if is_face_network else images.shape[-1] * self.network.scale
        return crop(resize(restored, whole), side).clamp(0, 1).to(lq.device)

    def _call(self, images: Tensor) -> Tensor:
        call = CALLS.get(self.architecture)
        if call is not None:
            return call(self.network, images, self.options)
        # spandrel returns an inference tensor: clone it to an ordinary one.
        restored: Tensor = self.network(images).clone()
        return restored

    def _describe(self, path: Path) -> dict[str, Any]:
        return self.spec.provenance(
            name=self.name,
            architecture=" ".join([self.architecture, *self.network.tags]),
            version=f"spandrel {spandrel.__version__}, torch {TORCH_VERSION}",
            weights={"weights_file": path.name, "weights_sha256": sha256_of(path)},
            scale=self.network.scale,
            input_range="[-1, 1]" if self.architecture in SIGNED_RANGE else "[0, 1]",
            licence=LICENCES.get(self.architecture, self.spec.licence),
            parameters={**self.options, **self.spec.parameters},
        )
