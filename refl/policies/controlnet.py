"""DiffBIR's IRControlNet as a diffusers class: the condition is a latent instead of an image."""

from functools import wraps
from typing import Any

from torch import nn

from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

from diffusers import ControlNetModel  # noqa: E402


class IRControlNet(ControlNetModel):  # type: ignore[misc]  # mypy does not follow diffusers: see pyproject.toml
    """A ControlNet whose first convolution takes cat(z_t, c_LQ).

    It is split into `conv_in` for z_t and, in place of the hint network, a convolution without bias for c_LQ. The
    forward pass of diffusers adds the two, which is equivalent.
    """

    @wraps(ControlNetModel.__init__)  # type: ignore[misc]  # diffusers reads the option names from the signature
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        latent, width = self.config["in_channels"], self.config["block_out_channels"][0]
        self.controlnet_cond_embedding = nn.Conv2d(latent, width, kernel_size=3, padding=1, bias=False)
