"""Restorers that can be tuned: what the training of Sec. 3.3 needs to know of one.

A policy restores low-quality faces, (B, 3, S, S) in [0, 1]. Only some weights of the module `tuned` are trained. `base`
stores their initial values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from refl.policies.noise import Noise
from refl.policies.prompts import NoText, TextEncoder

ALL_STEPS = 0  # backpropagate through all steps
ON_WEIGHTS = frozenset({"gauss_l2", "softmax_kl"})  # variants of Eq. 5 that every policy has


@dataclass(frozen=True)
class Call:
    """Inputs and outputs of the tuned module on a step with a gradient, and the predicted noise, if it predicts any."""

    inputs: dict[str, Any]
    outputs: tuple[Tensor, ...]
    epsilon: Tensor | None = None

    @property
    def noise(self) -> Tensor:
        """The predicted noise. Raises `ValueError` if the module predicts none."""
        if self.epsilon is None:
            raise ValueError("this restorer does not predict noise")
        return self.epsilon


@dataclass(frozen=True)
class Trajectory:
    """z_0 (B, C, h, w), the calls with a gradient, and the condition's clean image (B, 3, S, S).

    Of a policy without a chain of steps, z_0 is the restored image.
    """

    latents: Tensor
    calls: tuple[Call, ...]
    clean: Tensor


class Policy(nn.Module):
    """A tunable restorer.

    size: the image side it was trained at. Sides must be multiples of `multiple`. regularisers: the variants of Eq. 5
    that it has besides those on the weights.
    """

    multiple = 64
    regularisers: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, texts: NoText | TextEncoder, size: int) -> None:
        super().__init__()
        self.texts, self.size = texts, size
        self.base: dict[str, Tensor] = {}

    @property
    def tuned(self) -> nn.Module:
        """Return the module with the trainable parameters."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Policy":
        """Stay in evaluation mode, as dropout would make a step irreproducible."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.tuned.parameters()).device

    @property
    def denoising_steps(self) -> int:
        """The number of steps that a gradient can pass; 1 for a policy without a chain of steps."""
        return 1

    def require_supports(self, reg: str, backprop_steps: int) -> None:
        """Raise `ValueError` for a variant of Eq. 5 that this policy lacks, or for more steps than it has."""
        known = self.regularisers | ON_WEIGHTS
        if reg not in known:
            reason = "which this base does not have" if reg == "residual" else "which is not defined for this base"
            needs = {"residual": "a ControlNet", "eps": "a predicted noise", "output": "a network without steps"}[reg]
            raise ValueError(f"--reg {reg} needs {needs}, {reason}: use --reg {' or '.join(sorted(known))}")
        if backprop_steps > self.denoising_steps:
            raise ValueError(
                f"--backprop-steps {backprop_steps} is more than this base has denoising steps: {self.denoising_steps}."
                " Choose a smaller number, or 0 for all."
            )

    def set_trainable(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make only these parameters trainable. Their current values are the base of Eq. 5 and of `interpolate`."""
        self.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self.base = {name: value.detach().clone() for name, value in self.trainable().items()}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that training changes, by their name in `tuned`."""
        return {name: value for name, value in self.tuned.named_parameters() if value.requires_grad}

    @property
    def input_size(self) -> int:
        """The size of the images that the first network takes, to which others need not be resized before."""
        return self.size

    def lower(self, dtype: torch.dtype) -> None:
        """Store the frozen networks once in `dtype` and compute in it; the trained weights stay in float32.

        A policy that does nothing here is called under autocast, which casts frozen weights at every call.
        """

    def use_checkpointing(self) -> None:
        """Recompute activations in the backward pass to save memory."""
        raise NotImplementedError

    def interpolate(self, share: float) -> None:
        """Set the weights to base + share * (tuned - base): 0 is the base, 1 the tuned restorer."""
        with torch.no_grad():
            for name, value in self.trainable().items():
                value.copy_(torch.lerp(self.base[name].to(value.device), value, share))

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        """Run from z_T to z_0, with gradients through the last `backprop_steps` steps (or `ALL_STEPS`).

        lq: (B, 3, S, S) in [0, 1]; S must fit the codec. prompts: B texts. noise: of B images.
        """
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to images (B, 3, S, S), roughly in [0, 1].

        Not clamped, so that every pixel has a gradient.
        """
        raise NotImplementedError

    def finish(self, images: Tensor, clean: Tensor) -> Tensor:
        """Post-process decoded images (B, 3, S, S) at inference, for example to correct their colours.

        clean: the images that the chain starts from, (B, 3, S, S) in [0, 1].
        """
        return images

    @torch.no_grad()
    def generate(self, lq: Tensor, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Return decoded images as the losses see them: neither post-processed nor clamped. Arguments as `restore`."""
        return self.decode(self.trajectory(lq, prompts, Noise(seeds)).latents)

    @torch.no_grad()
    def restore(self, lq: Tensor, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Restore (B, 3, S, S) in [0, 1]. seeds: (B,), one per image, so that results do not depend on the batch."""
        found = self.trajectory(lq, prompts, Noise(seeds))
        return self.finish(self.decode(found.latents), found.clean).clamp(0, 1)

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        """Return the outputs of the tuned module with its initial weights, in the shapes of `call.outputs`."""
        raise NotImplementedError

    def frozen_epsilon(self, call: Call) -> Tensor:
        """Return the noise predicted with the initial weights, (B, C, h, w) as `call.epsilon`.

        Only policies with the regulariser "eps" have it.
        """
        raise NotImplementedError

    def base_on_device(self) -> dict[str, Tensor]:
        """Return the initial weights, and keep them where the policy is: they may be large."""
        self.base = {name: value.to(self.device) for name, value in self.base.items()}
        return self.base

    @torch.no_grad()
    def _call_frozen(self, call: Call) -> Any:
        return functional_call(self.tuned, self.base_on_device(), (), detached(call.inputs))


def detached(inputs: dict[str, Any]) -> dict[str, Any]:
    """Detach the tensors of a call's inputs."""
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in inputs.items()}
