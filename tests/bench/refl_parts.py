"""A ReFL trainer of given networks, which measures a step and its parts.

The step is `ReflTrainer.tune`: `Bench` only replaces the constructor, which reads from a run's folder. Loading and
degrading images is not included. The learning rate is 0, so every repetition computes the same.
"""

import ctypes
import gc
import resource
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from refl import losses
from refl.configs import ReflConfig
from refl.dataset import Batch, FaceRow
from refl.policies.noise import Noise
from refl.policies.policy import Policy, Trajectory
from refl.train_refl import ReflTrainer
from refl.window import Window
from rewardlab.metrics.perceptual import Lpips
from rewardlab.reward_model import backbones
from rewardlab.reward_model.configs import PRESETS as FRM_PRESETS
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.training.loop import Loop, is_out_of_memory
from rewardlab.training.processes import precision
from rewardlab.training.runs import Run
from rewardlab.training.states import SavedStates

# open_clip triggers this warning for the text tower.
warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)


@dataclass(frozen=True)
class Task:
    """A step, a part of a step on one micro-batch, or an update of the reward model (`Bench._run_NAME`)."""

    name: str
    kept: int = 1
    accumulation: int = 1
    checkpointing: bool = False


SHARED, OF_KEPT = ("trajectory", "decoder", "reward", "lpips", "wavelets", "adam"), ("backward", "regularisation")
LABELS = {
    "trajectory": "trajectory without gradient",
    "decoder": "decoder, forward and backward",
    "reward": "reward model, forward and backward",
    "lpips": "LPIPS (VGG-16), forward and backward",
    "wavelets": "wavelets, forward and backward",
    "adam": "Adam",
    "backward": "backward of the last N steps",
    "regularisation": "frozen network of Eq. 5",
}


def parts_of(step: Task) -> list[Task]:
    alone = replace(step, checkpointing=False)
    return [replace(alone, name=name, kept=1) for name in SHARED] + [replace(alone, name=name) for name in OF_KEPT]


def total(step: Task, of_part: dict[Task, float]) -> float:
    """Return the sum of the parts. All but Adam run once per micro-batch."""
    return sum((1 if part.name == "adam" else step.accumulation) * of_part[part] for part in parts_of(step))


@dataclass(frozen=True)
class Measurement:
    """Seconds and bytes.

    peak: above the memory in use before. On a GPU also allocated: the peak including that memory, and reserved: by the
    allocator.
    """

    seconds: float
    peak: int
    allocated: int = 0
    reserved: int = 0


class Meter:
    """Measures time and peak memory, each from its own starting point."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith("cuda")

    def memory_from_here(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            with suppress(OSError):  # without permission, the peak includes that of loading
                Path("/proc/self/clear_refs").write_text("5")
            self.before = _peak_resident()

    def clock_from_here(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
        self.started = time.perf_counter()

    def stop(self) -> Measurement:
        if not self.on_gpu:
            return Measurement(time.perf_counter() - self.started, _peak_resident() - self.before)
        torch.cuda.synchronize()
        seconds, most = time.perf_counter() - self.started, torch.cuda.max_memory_allocated()
        return Measurement(seconds, most - self.before, most, torch.cuda.max_memory_reserved())


def _peak_resident() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Bench(ReflTrainer):
    """A trainer of given networks. `run` measures a `Task` by the method `_run_NAME`."""

    def __init__(
        self,
        policy: Policy,
        reward_model: FaceRewardModel,
        lpips: Lpips,
        config: ReflConfig,
        device: str,
        *,
        mixed_precision: str | None = None,
        lower: bool = True,
    ) -> None:
        """mixed_precision: accelerate's name (no, bf16); None: the trainer's choice for the device.

        lower: with bf16, store frozen networks in it, as the trainer does.
        """
        self.device, self.base_config, self.config = device, config, config
        self.shares = config.accumulation
        mixed_precision = mixed_precision or precision(config.precision, device)
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)
        unused = Run(Path(tempfile.gettempdir(), "refl_parts"))  # written to only if a loss is not finite
        self.loop = Loop(unused, config.iterations, accelerator, lambda progress: None, unit="images")
        self.policy, self.frm, self.null_text = policy.to(device), reward_model.to(device), False
        if mixed_precision == "bf16" and lower:
            self.policy.lower(torch.bfloat16)
        self.prompts = lambda faces: [""] * len(faces)
        self.lpips = lpips.to(device)
        self.parameters = list(policy.trainable().values())
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.0)
        preset = FRM_PRESETS["compact" if config.base == "compact" else "hpsv2"]
        self.frm.requires_grad_(False)
        backbones.lock(self.frm, image_layers=preset.image_layers, text_layers=preset.text_layers)
        self.frm_parameters = [value for value in self.frm.parameters() if value.requires_grad]
        self.frm_optimizer = torch.optim.Adam(self.frm_parameters, lr=0.0)
        self.states = SavedStates(self.loop, {}, every=config.iterations + 1, keep=1)  # saves nothing
        self.batch = faces(config.batch_size, policy.size)

    def run(self, task: Task, *, with_norms: bool = False) -> Measurement:
        """Measure a task. with_norms: include the gradient norm of each term, as in a step that logs."""
        self.config = replace(
            self.base_config,
            backprop_steps=task.kept,
            accumulation=task.accumulation,
            batch_size=len(self.batch.faces),
        )
        self.shares = task.accumulation
        self._checkpoint(task.checkpointing)
        meter = Meter(self.device)
        if with_norms:
            self._run_step(meter, with_norms=True)
        else:
            getattr(self, f"_run_{task.name}")(meter)
        reading = meter.stop()
        self._clear_gradients()
        return reading

    def run_if_it_fits(self, task: Task, *, with_norms: bool = False) -> Measurement | None:
        try:
            return self.run(task, with_norms=with_norms)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._clear_gradients()  # outside the handler, as the error keeps the graph alive
        free_memory()
        return None

    def step(self, window: Window, *, with_norms: bool = False) -> None:
        self.tune(self._parts(), window, with_norms=with_norms)

    def update(self) -> float:
        self.frm_batches = iter(self._parts())
        return self.update_frm()

    def _parts(self) -> list[Batch]:
        return [self._micro_batch(number) for number in range(self.config.accumulation)]

    def _micro_batch(self, number: int) -> Batch:
        return self.batch.part(number, self.shares).to(torch.device(self.device))

    def _run_step(self, meter: Meter, *, with_norms: bool = False) -> None:
        meter.memory_from_here()
        meter.clock_from_here()
        self.step(Window(), with_norms=with_norms)

    def _run_update(self, meter: Meter) -> None:
        self.loop.step = self.config.frm_every
        meter.memory_from_here()
        meter.clock_from_here()
        self.update()

    def _run_trajectory(self, meter: Meter) -> None:
        meter.memory_from_here()
        meter.clock_from_here()
        with torch.no_grad():
            self._trajectory()

    def _run_backward(self, meter: Meter) -> None:
        meter.memory_from_here()
        latents = self._trajectory().latents
        meter.clock_from_here()
        torch.autograd.backward(latents, torch.ones_like(latents), inputs=self.parameters)

    def _run_decoder(self, meter: Meter) -> None:
        with torch.no_grad(), self.loop.accelerator.autocast():
            latents = self.policy.codec.encode(self._images(), Noise(self._micro_batch(0).seeds)).float()
        latents.requires_grad_()
        meter.memory_from_here()
        meter.clock_from_here()
        with self.loop.accelerator.autocast():
            images = self.policy.decode(latents)
        torch.autograd.grad(images, latents, torch.ones_like(images))

    def _run_reward(self, meter: Meter) -> None:
        images, batch = self._images(), self._micro_batch(0)
        meter.memory_from_here()
        meter.clock_from_here()
        with self.loop.accelerator.autocast(), self._frm_frozen():
            scores = self.frm.score(images, self._captions(batch)).float()
        torch.autograd.grad(losses.reward_loss(scores), images)

    def _run_lpips(self, meter: Meter) -> None:
        images, photographs = self._images(), self._images().detach()
        meter.memory_from_here()
        meter.clock_from_here()
        torch.autograd.grad(losses.perceptual_loss(self.lpips, images, photographs), images)

    def _run_wavelets(self, meter: Meter) -> None:
        images, photographs = self._images(), self._images().detach()
        meter.memory_from_here()
        meter.clock_from_here()
        loss = losses.structure_loss(images, photographs, self.config.wavelet, self.config.wavelet_levels)
        torch.autograd.grad(loss, images)

    def _run_regularisation(self, meter: Meter) -> None:
        with torch.no_grad():
            trajectory = self._trajectory()
            meter.memory_from_here()
            meter.clock_from_here()
            self.regularisation(trajectory)

    def _run_adam(self, meter: Meter) -> None:
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        meter.memory_from_here()
        meter.clock_from_here()
        self.optimizer.step()

    def _trajectory(self) -> Trajectory:
        batch = self._micro_batch(0)
        with self.loop.accelerator.autocast():
            return self.policy.trajectory(
                batch.lq.to(self.device),
                self.prompts(batch.faces),
                Noise(batch.seeds),
                backprop_steps=self.config.backprop_steps,
            )

    def _images(self) -> Tensor:
        return self._micro_batch(0).hq.to(self.device, copy=True).requires_grad_()

    def _checkpoint(self, wanted: bool) -> None:
        if wanted:  # the trainer's constructor does the same
            self.policy.use_checkpointing()
        else:
            for module in self.policy.modules():
                if hasattr(module, "disable_gradient_checkpointing"):
                    module.disable_gradient_checkpointing()
        self.frm.clip.set_grad_checkpointing(wanted)

    def _clear_gradients(self) -> None:
        for parameter in [*self.parameters, *self.frm_parameters]:
            parameter.grad = None


def faces(count: int, size: int) -> Batch:
    """Return noise in place of photographs. The content does not affect the time."""
    drawn = torch.rand(2, count, 3, size, size, generator=torch.Generator().manual_seed(0))
    rows = [FaceRow(number, "", "train", "The face of a smiling person.", size, "", "") for number in range(count)]
    return Batch(tuple(rows), drawn[0], drawn[1], tuple(range(count)))


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    else:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
