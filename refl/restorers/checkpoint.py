"""A restorer from a checkpoint: any network that spandrel recognises, called in the way it wants."""

import hashlib
import pickle
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refl.restorers.classical import TORCH_VERSION, check_images, resize, shrink
from refl.restorers.ncnn import read_rrdbnet
from refl.restorers.spec import RestorerSpec, Subject, WeightsError
from rewardlab.compat import ensure_torchvision

ensure_torchvision()

import spandrel  # noqa: E402  (it imports torchvision)

# spandrel's DAT calls it without the argument that a later torch will require; nothing a user could do.
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)

FACE_SIZE = 512  # what GFPGAN, CodeFormer and RestoreFormer were trained at
CODEFORMER_FIDELITY = 0.5  # "w": 0 for quality, 1 for fidelity; .5 is its authors' default
CODEFORMER_KEYS = {"position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"}
LICENCES = {
    "GFPGAN": "Apache-2.0",
    "RestoreFormer": "Apache-2.0",
    "CodeFormer": "S-Lab License 1.0 (non-commercial)",
}


def _call_gfpgan(network: spandrel.ImageModelDescriptor, images: Tensor) -> Tensor:
    # The noise stored in the checkpoint, not a fresh draw: the same face is restored alike every time.
    restored = network.model(2 * images - 1, return_rgb=False, randomize_noise=False)[0]
    return (restored + 1) / 2


def _call_codeformer(network: spandrel.ImageModelDescriptor, images: Tensor) -> Tensor:
    return (network.model(2 * images - 1, weight=CODEFORMER_FIDELITY)[0] + 1) / 2


# spandrel hands these two the [0, 1] image although they expect [-1, 1].
CALLS: dict[str, Callable[[spandrel.ImageModelDescriptor, Tensor], Tensor]] = {
    "GFPGAN": _call_gfpgan,
    "CodeFormer": _call_codeformer,
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "GFPGAN": {"noise": "stored"},
    "CodeFormer": {"fidelity": CODEFORMER_FIDELITY},
}
SIGNED_RANGE = {"GFPGAN", "CodeFormer", "RestoreFormer"}


class CheckpointRestorer:
    """A network with its weights, working at the size of the low-quality image.

    A network that enlarges by s sees the image shrunk by s with antialiasing, so that its output has the
    working size. A face network (GFPGAN, CodeFormer, RestoreFormer) sees the image resized to 512x512 and
    its output is resized back. Everything else runs at the working size.

    One image alone and in a batch agree to 1e-4, except that CodeFormer and RestoreFormer choose discrete
    codes: a near-tie between two codes may fall differently.
    """

    def __init__(self, spec: RestorerSpec, path: Path, device: str | torch.device = "cpu") -> None:
        """Read `path` (see `read_state`). Raises FileNotFoundError or `WeightsError`."""
        self.network = recognise(read_state(path), path)
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
        """(B, 3, S, S) float32 in [0, 1] to the same; ValueError where S is no multiple of the scale."""
        check_images(lq)
        is_face_network = self.network.purpose == "FaceSR" and self.network.scale == 1
        images = resize(lq, FACE_SIZE) if is_face_network else shrink(lq, self.network.scale)
        restored = self._call(images.to(self.network.device))
        return resize(restored, lq.shape[-1]).clamp(0, 1).to(lq.device)

    def _call(self, images: Tensor) -> Tensor:
        call = CALLS.get(self.architecture)
        if call is not None:
            return call(self.network, images)
        return self.network(images).clone()  # an ordinary tensor: spandrel returns an inference tensor

    def _describe(self, path: Path) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": "network",
            "title": self.spec.title,
            "version": f"spandrel {spandrel.__version__}, torch {TORCH_VERSION}",
            "weights_file": path.name,
            "weights_sha256": sha256(path),
            "architecture": " ".join([self.architecture, *self.network.tags]),
            "scale": self.network.scale,
            "input_range": "[-1, 1]" if self.architecture in SIGNED_RANGE else "[0, 1]",
            "licence": LICENCES.get(self.architecture, self.spec.licence),
            "parameters": {**PARAMETERS.get(self.architecture, {}), **self.spec.parameters},
        }


def read_state(path: Path) -> dict[str, Any]:
    """The state dict in a `.safetensors`, a PyTorch (`.pth`, `.pt`, `.ckpt`) or an ncnn `.bin` file.

    PyTorch files are opened with `weights_only=True`: one that holds anything but tensors is refused.
    An ncnn file must be Real-ESRGAN x4plus. Raises FileNotFoundError or `WeightsError`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".bin":
        return read_rrdbnet(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        LookupError,
        ValueError,
    ) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: it is damaged, or it holds more than tensors (such a file "
            f"could run code and is not opened). Fetch it again, or save its state dict as .safetensors "
            f"where you trust it. ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__} where a dictionary of tensors is expected")
    return spandrel.canonicalize_state_dict(state)


def recognise(state: dict[str, Any], path: Path) -> spandrel.ImageModelDescriptor:
    """Build the network whose tensors these are. Raises `WeightsError`, naming `path`."""
    registry = architectures()
    if state.keys() >= CODEFORMER_KEYS and "CodeFormer" not in registry:
        raise WeightsError(
            f"{path} is a CodeFormer. Install its architecture with `pip install spandrel_extra_arches`; "
            f"code and weights are under the {LICENCES['CodeFormer']}."
        )
    try:
        network = registry.load(state)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(
            f"{path} holds no network that is recognised. Recognised are: "
            f"{', '.join(sorted(str(entry.architecture.id) for entry in registry))}."
        ) from error
    except (RuntimeError, LookupError, ValueError, TypeError, AssertionError) as error:
        raise WeightsError(f"{path} looks like a known network but its tensors do not fit it: {error}") from error
    if not isinstance(network, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{path} is an inpainting network ({network.architecture.id}): it wants a mask")
    if (network.input_channels, network.output_channels) != (3, 3):
        raise WeightsError(
            f"{path} maps {network.input_channels} channels to {network.output_channels}; "
            f"a restorer of RGB photographs maps 3 to 3"
        )
    return network


def architectures() -> spandrel.ArchRegistry:
    """What can be recognised: spandrel's permissive networks, and the restrictive ones if installed."""
    registry = spandrel.MAIN_REGISTRY.copy()
    if find_spec("spandrel_extra_arches"):
        from spandrel_extra_arches import EXTRA_REGISTRY

        registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    return registry


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
