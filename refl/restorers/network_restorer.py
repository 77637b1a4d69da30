"""Restorers by the networks of `refl.networks`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refl.networks.difface import open_difface
from refl.networks.vqfr_1 import open_vqfr_1
from refl.networks.vqfr_2 import open_vqfr_2
from refl.policies.noise import Noise, content_seed
from refl.restorers.classical import TORCH_VERSION, check_images, resize
from refl.restorers.spec import RestorerSpec, Subject
from refl.restorers.system_files import recorded

# By method. They take the paths of the restorer's assets in order, and its options by name.
OPENERS: dict[str, Callable[..., nn.Module]] = {
    "vqfr-1": open_vqfr_1,
    "vqfr-2": open_vqfr_2,
    "difface": open_difface,
}


class NetworkRestorer:
    """A published restorer that is not a base of `refl`. Images of another size are resized to the network's and back.

    Noise is seeded by the image's content, so results are reproducible and do not depend on the batch. An image gives
    the same result alone and in a batch, to 1e-4. Exceptions are VQFR's, which select discrete codes and may resolve
    near ties differently.
    """

    def __init__(
        self,
        spec: RestorerSpec,
        files: Mapping[str, Path],
        values: Mapping[str, Any],
        device: str | torch.device = "cpu",
        *,
        name: str = "",
    ) -> None:
        """files: path of each asset. values: of the options.

        Raises FileNotFoundError, `WeightsError`, or `OptionError`.
        """
        self.name, self.device = name or spec.name, torch.device(device)
        self.network: Any = OPENERS[spec.method](*(files[asset] for asset in spec.assets), **values)
        self.network.to(self.device)
        self.provenance = spec.provenance(
            name=self.name,
            architecture=type(self.network).__name__,
            version=f"torch {TORCH_VERSION}",
            weights=recorded(files),
            input_range="[-1, 1]",
            parameters={**spec.parameters, **values},
        )

    @torch.no_grad()
    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        check_images(lq)
        noise = Noise([content_seed(image) for image in lq])
        restored = self.network(resize(lq, self.network.size).to(self.device), noise.like)
        return resize(restored, lq.shape[-1]).clamp(0, 1).to(lq.device)
