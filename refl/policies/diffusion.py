"""The denoising process as a trainable generator (Sec. 3.2): one step, or a chain of DDIM steps.

What is trained is a LoRA of the UNet, or a ControlNet.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from refl.policies import low_precision
from refl.policies.codecs import KLCodec, UnshuffleCodec
from refl.policies.noise import Noise
from refl.policies.policy import ALL_STEPS, Call, Policy, Trajectory, detached
from refl.policies.prompts import NoText, TextEncoder
from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

from diffusers import DDIMScheduler, UNet2DConditionModel  # noqa: E402

from refl.policies.controlnet import IRControlNet  # noqa: E402

IN_FLOAT32 = ("conv_out.",)  # of the UNet: x0 amplifies its rounding errors


def sd_schedule() -> DDIMScheduler:
    """Return Stable Diffusion's noise schedule. With 50 steps, t = 981, 961, ..., 1."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )


def one_step_x0(latents: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return x0 = (z - sqrt(1 - abar) eps) / sqrt(abar) in closed form, all (B, C, h, w), for any t.

    Computed in at least float32, as the division amplifies rounding errors 15 times at OSEDiff's t = 999.
    """
    dtype = torch.promote_types(latents.dtype, torch.float32)
    return (latents.to(dtype) - (1 - alpha_bar).sqrt() * epsilon.to(dtype)) / alpha_bar.sqrt()


class DiffusionPolicy(Policy):
    """A policy on latents of a codec, with a UNet that predicts noise and may take a text.

    After `lower` it computes without the autocast of its caller. Latents, noise and x0 stay in float32; networks get
    casts of them.
    """

    low: torch.dtype | None = None

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        codec: UnshuffleCodec | KLCodec,
        texts: NoText | TextEncoder,
        schedule: DDIMScheduler,
        size: int,
    ) -> None:
        super().__init__(texts=texts, size=size)
        self.unet, self.codec, self.schedule = unet, codec, schedule
        self._frozen: dict[str, Tensor] = {}  # the initial weights in low precision
        self._cast: dict[str, Tensor] | None = None  # the trained weights in low precision, during a trajectory
        self.eval()

    def lower(self, dtype: torch.dtype) -> None:
        low_precision.store(self.unet, dtype, but=[self.unet.conv_out])
        self.codec.lower(dtype)
        self.low = dtype

    @contextmanager
    def _without_autocast(self) -> Iterator[None]:
        self._cast = None  # the weights may have changed
        with torch.autocast(self.device.type, enabled=False) if self.low else nullcontext():
            yield
        self._cast = None

    def _for_network(self, values: Tensor) -> Tensor:
        return values.to(self.low) if self.low else values

    def _call_tuned(self, inputs: dict[str, Any]) -> Any:
        """Call the tuned module. With a gradient, autocast casts its weights; without one, they are cast once."""
        if self.low is None:
            return self.tuned(**inputs)
        if torch.is_grad_enabled():
            with torch.autocast(self.device.type, dtype=self.low):
                return self.tuned(**inputs)
        if self._cast is None:
            self._cast = low_precision.cast_all(self.trainable(), self.low, but=IN_FLOAT32)
        return functional_call(self.tuned, self._cast, (), inputs)

    @torch.no_grad()
    def _call_frozen(self, call: Call) -> Any:
        if self.low is None:
            return super()._call_frozen(call)
        # Exactly as the tuned module is called with a gradient, so that equal weights have a distance of zero.
        if not self._frozen:
            self._frozen = low_precision.cast_as_autocast(self.tuned, self.base, self.low, but=IN_FLOAT32)
        with torch.autocast(self.device.type, dtype=self.low):
            return functional_call(self.tuned, self._frozen, (), detached(call.inputs))

    def use_checkpointing(self) -> None:
        self.unet.enable_gradient_checkpointing()
        if isinstance(self.codec, KLCodec):
            self.codec.vae.enable_gradient_checkpointing()

    def decode(self, latents: Tensor) -> Tensor:
        with self._without_autocast():
            return self.codec.decode(latents)


class OneStepPolicy(DiffusionPolicy):
    """One step, as in OSEDiff: from the LQ latent at a fixed t to x0 in closed form. A LoRA is trained."""

    regularisers = frozenset({"eps"})

    def __init__(self, *, timestep: int, adapters: Sequence[str], **parts: Any) -> None:
        super().__init__(**parts)
        self.timestep, self.adapters = timestep, tuple(adapters)
        marked = [value for name, value in self.unet.named_parameters() if _is_adapter(name, self.adapters)]
        self.set_trainable(marked)

    @property
    def tuned(self) -> nn.Module:
        unet: nn.Module = self.unet
        return unet

    @property
    def alpha_bar(self) -> Tensor:
        """A scalar on the CPU: a GPU takes its value without a copy."""
        alpha_bar: Tensor = self.schedule.alphas_cumprod[self.timestep]
        return alpha_bar

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        with self._without_autocast():
            with torch.no_grad():
                latents = self._for_network(self.codec.encode(lq, noise))
                text = self._for_network(self.texts(prompts, latents))
            inputs = {
                "sample": latents,
                "timestep": torch.full((), self.timestep, device=latents.device),
                "encoder_hidden_states": text,
                "return_dict": False,
            }
            epsilon = self._call_tuned(inputs)[0]
            call = Call(inputs, (epsilon,), epsilon)
            # Of the latents as the network saw them: their rounding error would be amplified like that of epsilon.
            return Trajectory(one_step_x0(latents, epsilon, self.alpha_bar), (call,), lq)

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        return (self._call_frozen(call)[0],)

    def frozen_epsilon(self, call: Call) -> Tensor:
        epsilon: Tensor = self._call_frozen(call)[0]
        return epsilon


class MultiStepPolicy(DiffusionPolicy):
    """Many steps, as in DiffBIR: DDIM from noise, conditioned by a ControlNet, which is trained.

    cleaner: stage 1, which removes the degradation of (B, 3, S, S) in [0, 1]; its output is not clamped, as in DiffBIR.
    steps: of the full schedule. start: share of the schedule that is run; 1 starts from pure noise, less starts from
    the condition's latent plus the noise of that time. eta: 0 is deterministic, 1 is ancestral sampling.
    """

    regularisers = frozenset({"residual", "eps"})

    def __init__(
        self,
        *,
        cleaner: nn.Module,
        controlnet: IRControlNet,
        steps: int = 50,
        start: float = 1.0,
        eta: float = 1.0,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.cleaner = cleaner.eval().requires_grad_(False)
        self.controlnet, self.steps, self.start, self.eta = controlnet, steps, start, eta
        self.set_trainable(list(controlnet.parameters()))

    @property
    def tuned(self) -> nn.Module:
        return self.controlnet

    def use_checkpointing(self) -> None:
        super().use_checkpointing()
        self.controlnet.enable_gradient_checkpointing()

    @property
    def denoising_steps(self) -> int:
        return len(self.timesteps())

    def timesteps(self) -> list[int]:
        self.schedule.set_timesteps(self.steps)
        times: list[int] = self.schedule.timesteps.tolist()
        return times[len(times) - max(1, round(self.start * len(times))) :]

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        with self._without_autocast():
            return self._trajectory(lq, prompts, noise, backprop_steps)

    def _trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, backprop_steps: int) -> Trajectory:
        times = self.timesteps()
        kept = len(times) if backprop_steps == ALL_STEPS else backprop_steps
        with torch.no_grad():
            clean = self.cleaner(lq)
            condition = self.codec.encode(clean, noise)
            draw = noise.ahead(1 + (len(times) if self.eta > 0 else 0), condition)
            latents = self._initial_latents(condition, times[0], draw(condition))
            condition = self._for_network(condition)
            text = self._for_network(self.texts(prompts, condition))
        calls = []
        for number, time in enumerate(times):
            keeps_gradient = number >= len(times) - kept
            with nullcontext() if keeps_gradient else torch.no_grad():
                call = self.call(latents, torch.full((), time, device=latents.device), condition, text)
                drawn = draw(latents) if self.eta > 0 else None
                epsilon = call.noise.to(torch.promote_types(call.noise.dtype, latents.dtype))
                # The schedule's coefficients are scalars on the CPU, which a GPU takes without a copy.
                step = self.schedule.step(epsilon, time, latents, eta=self.eta, variance_noise=drawn)
                latents = step.prev_sample
            if keeps_gradient:
                calls.append(call)
        return Trajectory(latents, tuple(calls), clean)

    def _initial_latents(self, condition: Tensor, time: int, drawn: Tensor) -> Tensor:
        if self.start >= 1:
            return drawn
        noisy: Tensor = self.schedule.add_noise(condition, drawn, torch.tensor([time], device=condition.device))
        return noisy

    def call(self, latents: Tensor, time: Tensor, condition: Tensor, text: Tensor) -> Call:
        """Call ControlNet and UNet. time: on the device; a scalar for all images, or one per image (B,)."""
        inputs = {
            "sample": self._for_network(latents),
            "timestep": time,
            "encoder_hidden_states": text,
            "controlnet_cond": condition,
            "return_dict": False,
        }
        down, middle = self._call_tuned(inputs)
        return Call(inputs, (*down, middle), self._denoise(inputs, (*down, middle)))

    def _denoise(self, inputs: dict[str, Any], residuals: Sequence[Tensor]) -> Tensor:
        epsilon: Tensor = self.unet(
            inputs["sample"],
            inputs["timestep"],
            inputs["encoder_hidden_states"],
            down_block_additional_residuals=list(residuals[:-1]),
            mid_block_additional_residual=residuals[-1],
            return_dict=False,
        )[0]
        return epsilon

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        down, middle = self._call_frozen(call)
        return (*down, middle)

    @torch.no_grad()
    def frozen_epsilon(self, call: Call) -> Tensor:
        residuals = self.frozen_outputs(call)
        with self._without_autocast():
            return self._denoise(detached(call.inputs), residuals)


def _is_adapter(name: str, adapters: Sequence[str]) -> bool:
    return "lora_" in name and any(f".{adapter}." in name for adapter in adapters)
