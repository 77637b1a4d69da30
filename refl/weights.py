"""Read weights files, and build the networks that spandrel recognises in them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from refl.errors import WeightsError
from refl.ncnn_weights import read_rrdbnet
from refl.restoreformer_plus_plus import RestoreFormerPlusPlusArch, published_layout
from refl.restorers.systems import S_LAB
from rewardlab.errors import ModelError
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import load_checkpoint, require_finite

ensure_torchvision()

import spandrel  # noqa: E402

CODEFORMER_KEYS = {"position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"}
# Entries of training checkpoints that spandrel does not know, the averaged weights first.
GENERATORS = ("g_ema", "generator")
LICENCES = {
    "GFPGAN": "Apache-2.0",
    "RestoreFormer": "Apache-2.0",
    "RestoreFormer++": "Apache-2.0",
    "CodeFormer": S_LAB,
}


def read_state(path: Path) -> dict[str, Any]:
    """Return the state dict of a `.safetensors`, a PyTorch (`.pth`, `.pt`, `.ckpt`) or an ncnn `.bin` file.

    An ncnn file must be Real-ESRGAN x4plus. Raises FileNotFoundError or `WeightsError` (see `load_checkpoint`).
    """
    try:
        if path.suffix == ".bin" and path.is_file():
            weights = read_rrdbnet(path)
            require_finite(weights, path)
            return weights
        state = load_checkpoint(path)
    except ModelError as error:
        raise WeightsError(str(error)) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} contains a {type(state).__name__}, not a dictionary of tensors. Save a state dict.")
    canonical: dict[str, Any] = spandrel.canonicalize_state_dict(_generator_of(state))
    return canonical


def _generator_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the generator of a training's file, which also has a discriminator, an optimizer ...; others unchanged."""
    found = next((state[name] for name in GENERATORS if isinstance(state.get(name), dict)), None)
    return state if found is None else found


def require_flat(state: dict[str, Any], path: Path) -> None:
    """Raise `WeightsError` naming the first entry that contains further entries in place of a tensor."""
    for name, value in state.items():
        if isinstance(value, dict):
            raise WeightsError(
                f"{path}: its entry {name} contains {len(value)} entries, not a tensor. Save the state dict of the "
                "network that restores under `state_dict`, without the others."
            )


def recognise(state: dict[str, Any], path: Path) -> spandrel.ImageModelDescriptor:
    """Build the network with these tensors. Raises `WeightsError`, naming `path`."""
    require_flat(state, path)
    registry, state = architectures(), published_layout(state)
    if state.keys() >= CODEFORMER_KEYS and "CodeFormer" not in registry:
        raise WeightsError(
            f"{path} is a CodeFormer checkpoint. Its architecture is not installed: run `pip install --no-deps -r "
            f"requirements-codeformer.txt`. Code and weights are under the {LICENCES['CodeFormer']}."
        )
    try:
        network = registry.load(state)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(
            f"{path} does not contain a supported network. Supported are: "
            f"{', '.join(sorted(str(entry.architecture.id) for entry in registry))}."
        ) from error
    except (RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, AssertionError) as error:
        raise WeightsError(f"{path} resembles a known network, but its tensors do not fit: {error}") from error
    if not isinstance(network, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{path} is an inpainting network ({network.architecture.id}), which needs a mask.")
    if (network.input_channels, network.output_channels) != (3, 3):
        raise WeightsError(
            f"{path} maps {network.input_channels} channels to {network.output_channels}; "
            f"a restorer of RGB images maps 3 to 3"
        )
    return network


def architectures() -> spandrel.ArchRegistry:
    """Return the supported architectures: spandrel's, RestoreFormer++, and spandrel_extra_arches' if installed."""
    registry = spandrel.MAIN_REGISTRY.copy()
    plus_plus = RestoreFormerPlusPlusArch()
    registry.add(spandrel.ArchSupport.from_architecture(plus_plus, before=(spandrel.ArchId("RestoreFormer"),)))
    if find_spec("spandrel_extra_arches"):
        from spandrel_extra_arches import EXTRA_REGISTRY

        registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    return registry
