"""Seconds and peak memory of one ReFL step, as a ratio to the sum of its parts measured alone in the same run.

`python -m tests.bench.refl_step [--rounds N] [--batch N] [--backprop-steps N ...]`: on a CPU, the compact bases.
`python -m tests.bench.refl_step --full-size`: on a GPU, networks of DiffBIR's and OSEDiff's sizes with random weights.

The step is `ReflTrainer.tune` itself: `Bench` only replaces the constructor, which reads everything from a run's
folder, by networks that it is given. Loading and degrading the images is no part of it, nor are gradient norms, which
the trainer takes every 10 steps. The learning rate is 0, so that every round computes the same.

The parts, all without checkpointing: the whole trajectory without gradient; the backward pass of the last N steps (and
of the latents' update, not of the forward pass); decoder, reward model, LPIPS and wavelets forward and backward to
their input; the frozen network's calls of Eq. 5; Adam. A step that wastes nothing has the ratio 1; checkpointing
computes forward passes twice, and its ratio says what that costs.

Steps and parts are timed in turn, round by round; a ratio is of one round; the table has medians and, in brackets, the
least and the greatest. Peak memory is what is needed above what lies there between steps (networks, their base, Adam's
moments). On a GPU it is `torch.cuda.max_memory_allocated`. On a CPU each kind of step runs once in a fresh process of
one thread, and the parts of a base one after the other in another: `ru_maxrss` minus its value before. There a first
run on one small face brings in libraries and makes Adam's moments, freed memory is given back, and the mark is set back
to what is resident (loading had more). These processes return freed blocks at once (MALLOC_MMAP_THRESHOLD_), which
makes the figure repeatable; as malloc comes, a step was seen to need up to a quarter more. The sum of the parts' peaks
is what a step would need that held all at once.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from refl import configs, losses
from refl.configs import ReflConfig
from refl.faces import Batch, FaceRow
from refl.policies import compact, osediff
from refl.policies.codecs import KLCodec, Noise
from refl.policies.controlnet import IRControlNet
from refl.policies.diffbir import DiffBIRPolicy
from refl.policies.diffusion import WHOLE_CHAIN, MultiStepPolicy, OneStepPolicy, Policy, Trajectory, sd_schedule
from refl.train import ReflTrainer, Window
from rewardlab import backbones, frm
from rewardlab.configs import PRESETS as FRM_PRESETS
from rewardlab.frm import FaceRewardModel, Preprocess, make_tokenizer, open_clip
from rewardlab.loop import Loop, is_out_of_memory, precision
from rewardlab.metrics.perceptual import load_network
from rewardlab.runs import Run
from tests import diffusion, preferences
from tests.bench.machine import describe

# open_clip says so to a text tower that never checkpoints, being in evaluation mode.
warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)

PACKAGES = ("torch", "diffusers", "peft", "open_clip_torch", "timm", "transformers", "accelerate")
COMPACT, FULL_SIZE = ("multi-step", "one-step"), ("osediff", "diffbir")
MICRO_BATCHES = (1, 2, 3, 6, 12)
LIMITS = {"48 GB": 48e9, "24 GB": 24e9}
CONTEXT = 0.6e9  # bytes of a card that CUDA takes beside torch's allocator, about
TINY_STEPS = 6
CHAIN = 20  # steps of the compact chain here; its own six would hardly tell N = 5 from all


@dataclass(frozen=True)
class Task:
    """A step, a part of it on one micro-batch, or an update of the reward model (`Bench`'s methods)."""

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
    """The sum of the parts: all but Adam happen once a micro-batch."""
    return sum((1 if part.name == "adam" else step.accumulation) * of_part[part] for part in parts_of(step))


@dataclass(frozen=True)
class Reading:
    """Bytes: above what lay there before; on a GPU also with it (`allocated`), and what the allocator took for it."""

    seconds: float
    peak: int
    allocated: int = 0
    reserved: int = 0


class Meter:
    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"

    def memory_from_here(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            with suppress(OSError):  # where this is forbidden, the mark stays where loading left it
                Path("/proc/self/clear_refs").write_text("5")
            self.before = _most_resident()

    def clock_from_here(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
        self.started = time.perf_counter()

    def stop(self) -> Reading:
        if not self.on_gpu:
            return Reading(time.perf_counter() - self.started, _most_resident() - self.before)
        torch.cuda.synchronize()
        seconds, most = time.perf_counter() - self.started, torch.cuda.max_memory_allocated()
        return Reading(seconds, most - self.before, most, torch.cuda.max_memory_reserved())


def _most_resident() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Bench(ReflTrainer):
    """A trainer of given networks. Its methods named like a `Task` measure it."""

    def __init__(self, policy: Policy, reward_model: FaceRewardModel, config: ReflConfig, device: str) -> None:
        self.device, self.base_config = device, config
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision(config.precision, device))
        nowhere = Run(Path(tempfile.gettempdir(), "refl_step"))  # written to only to say that a loss is not finite
        self.loop = Loop(nowhere, config.iterations, accelerator, lambda progress: None, unit="images")
        self.policy, self.frm, self.null_text = policy.to(device), reward_model.to(device), False
        self.prompts = lambda faces: [""] * len(faces)
        self.lpips = load_network("vgg").to(device)
        self.parameters = list(policy.trainable().values())
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.0)
        learned = FRM_PRESETS["compact" if config.base == "compact" else "hpsv2"]
        backbones.lock(self.frm, image_layers=learned.image_layers, text_layers=learned.text_layers)
        self.frm_parameters = [value for value in self.frm.parameters() if value.requires_grad]
        self.frm_optimizer = torch.optim.Adam(self.frm_parameters, lr=0.0)
        self.frm_faces = SimpleNamespace(batches=lambda count, start: iter([self.batch]))
        self.batch = faces(config.batch_size, policy.size)

    def run(self, task: Task) -> Reading:
        self.config = replace(self.base_config, backprop_steps=task.kept, accumulation=task.accumulation)
        self.shares = task.accumulation
        self._checkpoint(task.checkpointing)
        meter = Meter(self.device)
        getattr(self, f"_run_{task.name}")(meter)
        reading = meter.stop()
        self._forget_gradients()
        return reading

    def run_if_it_fits(self, task: Task) -> Reading | None:
        try:
            return self.run(task)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._forget_gradients()  # out of the handler: the error holds the graph
        give_back_memory()
        return None

    def _run_step(self, meter: Meter) -> None:
        meter.memory_from_here()
        meter.clock_from_here()
        self.tune(self.batch, Window(), with_norms=False)

    def _run_update(self, meter: Meter) -> None:
        self.loop.step = self.config.frm_every
        meter.memory_from_here()
        meter.clock_from_here()
        self.update_frm()

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
            latents = self.policy.codec.encode(self._images(), Noise(self._mine(self.batch, 0).seeds)).float()
        latents.requires_grad_()
        meter.memory_from_here()
        meter.clock_from_here()
        with self.loop.accelerator.autocast():
            images = self.policy.decode(latents)
        torch.autograd.grad(images, latents, torch.ones_like(images))

    def _run_reward(self, meter: Meter) -> None:
        images, batch = self._images(), self._mine(self.batch, 0)
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
        batch = self._mine(self.batch, 0)
        with self.loop.accelerator.autocast():
            return self.policy.trajectory(
                batch.lq.to(self.device),
                self.prompts(batch.faces),
                Noise(batch.seeds),
                backprop_steps=self.config.backprop_steps,
            )

    def _images(self) -> Tensor:
        return self._mine(self.batch, 0).hq.to(self.device, copy=True).requires_grad_()

    def _checkpoint(self, wanted: bool) -> None:
        if wanted:  # the trainer's constructor does the same
            self.policy.use_checkpointing()
        else:
            for module in self.policy.modules():
                if isinstance(module, diffusion.UNet2DConditionModel | diffusion.AutoencoderKL | IRControlNet):
                    module.disable_gradient_checkpointing()
        self.frm.clip.set_grad_checkpointing(wanted)

    def _forget_gradients(self) -> None:
        for parameter in [*self.parameters, *self.frm_parameters]:
            parameter.grad = None


def faces(count: int, size: int) -> Batch:
    """Noise in place of photographs: the time does not depend on it."""
    drawn = torch.rand(2, count, 3, size, size, generator=torch.Generator().manual_seed(0))
    rows = [FaceRow(number, "", "train", "The face of a smiling person.", size, "", "") for number in range(count)]
    return Batch(tuple(rows), drawn[0], drawn[1], tuple(range(count)))


def give_back_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    else:
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def open_compact(base: str, batch: int) -> Bench:
    with diffusion.seeded(0), tempfile.TemporaryDirectory() as folder:
        parts = compact.networks(base)
        if base == "multi-step":
            parts["stage_1"] = compact.networks("one-step")["unet"]
        compact.save(parts, base, Path(folder))
        policy = compact.load(Path(folder))
    if isinstance(policy, MultiStepPolicy):
        policy.start = CHAIN / policy.steps
    config = replace(configs.PRESETS["compact"], batch_size=batch)
    return Bench(policy, backbones.open_compact(seed=0), config, "cpu")


def open_full_size(base: str, device: str, *, tiny: bool) -> Bench:
    """Networks in float32 on the device, as the trainer has them; no text encoder. tiny: the same shrunken."""
    config = configs.PRESETS[base]
    sizes, vae_sizes = (diffusion.TINY_UNET, diffusion.TINY_VAE) if tiny else (diffusion.UNET, diffusion.VAE)
    torch.manual_seed(0)
    with torch.device(device):
        unet, vae = diffusion.UNet2DConditionModel(**sizes), diffusion.AutoencoderKL(**vae_sizes)
        parts = {"unet": unet, "texts": NoEncoder(sizes["cross_attention_dim"]), "size": 8 * sizes["sample_size"]}
        policy = _diffbir(parts, vae, config, tiny=tiny) if base == "diffbir" else _osediff(parts, vae)
        clip_sizes = preferences.TINY if tiny else open_clip.get_model_config("ViT-H-14")
        clip = frm.build(clip_sizes)
    door = Preprocess(size=clip.visual.image_size[0])
    return Bench(policy, FaceRewardModel(clip, make_tokenizer(clip_sizes), door, clip_sizes), config, device)


def _diffbir(parts: dict[str, Any], vae: nn.Module, config: ReflConfig, *, tiny: bool) -> MultiStepPolicy:
    from spandrel.architectures.SwinIR import SwinIR

    controlnet = IRControlNet.from_unet(parts["unet"], load_weights_from_unet=False)
    with torch.device("cpu"):
        cleaner = SwinIR(
            window_size=8, mlp_ratio=2, upscale=8, upsampler="nearest+conv", start_unshuffle=8,
            **(diffusion.TINY_SWINIR if tiny else diffusion.SWINIR),
        )  # fmt: skip
        return DiffBIRPolicy(
            cleaner=cleaner,
            controlnet=controlnet,
            steps=TINY_STEPS if tiny else config.steps,
            eta=config.eta,
            codec=KLCodec(vae, sample=False),
            schedule=sd_schedule(),
            **parts,
        )


def _osediff(parts: dict[str, Any], vae: Any) -> OneStepPolicy:
    modules, rank = diffusion.osediff_modules(parts["unet"], vae), {"r": 4, "lora_alpha": osediff.LORA_ALPHA}
    for adapter, entry in osediff.ADAPTERS.items():
        parts["unet"].add_adapter(diffusion.LoraConfig(target_modules=modules[entry], **rank), adapter)
    vae.add_adapter(diffusion.LoraConfig(target_modules=modules[osediff.VAE_MODULES], **rank), osediff.VAE_ADAPTER)
    parts["unet"].set_adapter(list(osediff.ADAPTERS))
    with torch.device("cpu"):
        return OneStepPolicy(
            timestep=osediff.TIMESTEP,
            adapters=list(osediff.ADAPTERS),
            codec=KLCodec(vae, sample=True),
            schedule=sd_schedule(),
            **parts,
        )


class NoEncoder(nn.Module):
    """Of a prompt only its shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, prompts: Sequence[str], latents: Tensor) -> Tensor:
        return latents.new_zeros(len(prompts), 77, self.width)


def peaks_alone(base: str, tasks: Sequence[Task], batch: int) -> list[int]:
    """Bytes; to be called in a fresh process."""
    torch.set_num_threads(1)
    bench = open_compact(base, batch)
    whole, small, found = bench.batch, faces(1, 64), []
    bench.batch = small
    bench.run(Task("step"))  # makes Adam's moments
    for task in tasks:
        bench.batch = small
        bench.run(task)
        give_back_memory()
        bench.batch = whole
        found.append(bench.run(task).peak)
    return found


def all_peaks(wanted: Sequence[tuple[str, Task]], batch: int) -> dict[tuple[str, Task], int]:
    steps = [(base, [task]) for base, task in wanted if task.name == "step"]
    parts = [(base, [task for of, task in wanted if of == base and task.name != "step"]) for base in COMPACT]
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**17)  # of the processes that start now
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["refl.train", "tests.diffusion"])  # imports once, computes nothing
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
        running = [(base, tasks, pool.submit(peaks_alone, base, tasks, batch)) for base, tasks in parts + steps]
        return {
            (base, task): peak
            for base, tasks, future in running
            for task, peak in zip(tasks, future.result(), strict=True)
        }


def in_turn(benches: dict[str, Bench], wanted: list[tuple[str, Task]], rounds: int) -> dict:
    """Of each task the seconds of each round; what runs one after the other differs from round to round."""
    seconds: dict[tuple[str, Task], list[float]] = {key: [] for key in wanted}
    for number in range(rounds):
        shift = number * len(wanted) // rounds
        for base, task in [*wanted[shift:], *wanted[:shift]]:
            seconds[base, task].append(benches[base].run(task).seconds)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    low, middle, high = (f"{each:.{digits}f}" for each in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def ratios(step: tuple[str, Task], seconds: dict[tuple[str, Task], list[float]]) -> list[float]:
    base, task = step
    rounds = range(len(seconds[step]))
    sums = [total(task, {part: seconds[base, part][number] for part in parts_of(task)}) for number in rounds]
    return [taken / whole for taken, whole in zip(seconds[step], sums, strict=True)]


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("\n" + "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]), flush=True)


def kept_label(kept: int, policy: Policy) -> str:
    if kept != WHOLE_CHAIN:
        return str(kept)
    return f"all {len(policy.timesteps())}" if isinstance(policy, MultiStepPolicy) else "all 1"


def kept_of(policy: Policy, wanted: Sequence[int]) -> list[int]:
    """A base of one step has one way only."""
    return list(wanted) if isinstance(policy, MultiStepPolicy) else [1]


def measure_compact(batch: int, wanted_kept: Sequence[int], rounds: int) -> None:
    benches = {base: open_compact(base, batch) for base in COMPACT}
    steps = [
        (base, Task("step", kept, checkpointing=checkpointing))
        for base, bench in benches.items()
        for kept in kept_of(bench.policy, wanted_kept)
        for checkpointing in (False, True)
    ]
    parts = list(dict.fromkeys((base, part) for base, step in steps for part in parts_of(step)))
    for base in benches:  # a warm-up
        benches[base].run(Task("step"))
    seconds = in_turn(benches, steps + parts, rounds)
    peaks = all_peaks(steps + parts, batch)
    print(f"\nCompact bases, {benches[COMPACT[0]].policy.size} px, batch {batch}, {rounds} rounds.")
    print_table(
        ("base", "N", "checkpointing", "seconds a step", "to the sum of parts", "peak MiB", "to the sum of parts"),
        [
            (
                base,
                kept_label(step.kept, benches[base].policy),
                "on" if step.checkpointing else "off",
                spread(seconds[base, step]),
                spread(ratios((base, step), seconds)),
                f"{peaks[base, step] / 2**20:.0f}",
                f"{peaks[base, step] / sum(peaks[base, part] for part in parts_of(step)):.2f}",
            )
            for base, step in steps
        ],
    )
    print_table(
        ("base", "part", "N", "seconds", "peak MiB"),
        [
            (
                base,
                LABELS[part.name],
                kept_label(part.kept, benches[base].policy) if part.name in OF_KEPT else "",
                spread(seconds[base, part], 3),
                f"{peaks[base, part] / 2**20:.0f}",
            )
            for base, part in parts
        ],
    )


def measure_full_size(base: str, device: str, wanted_kept: Sequence[int], rounds: int, *, tiny: bool) -> None:
    """Micro-batches from 1 upwards until the memory is full; the first round says which fit, and their memory."""
    bench = open_full_size(base, device, tiny=tiny)
    batch = bench.base_config.batch_size
    for name in ("step", "update"):  # a warm-up, which makes Adam's moments
        if bench.run_if_it_fits(Task(name, accumulation=batch, checkpointing=True)) is None:
            print(f"\n{base}: not even one face at a time fits.")
            return
    resident = torch.cuda.memory_allocated() if device == "cuda" else 0
    first: dict[Task, Reading | None] = {}
    for kept in kept_of(bench.policy, wanted_kept):
        for checkpointing in (False, True):
            for micro in MICRO_BATCHES:
                step = Task("step", kept, batch // micro, checkpointing)
                for task in (step, replace(step, name="update", kept=1), *parts_of(step)):
                    if task not in first:
                        give_back_memory()
                        first[task] = bench.run_if_it_fits(task)
                        print(f"{base} {task}: {first[task]}", file=sys.stderr, flush=True)
                if first[step] is None:
                    break
    fitting = [(base, task) for task, reading in first.items() if reading and task.name != "update"]
    seconds = in_turn({base: bench}, fitting, rounds)
    million = sum(value.numel() for value in bench.parameters) / 1e6
    print(
        f"\n{base}, {bench.policy.size} px, {million:.1f} M parameters train, batch {batch} by accumulation, {rounds} "
        f"rounds; between steps {resident / 2**30:.1f} GiB are allocated. Memory: of the first round, with what lies "
        f"there between steps, of the step / of the reward model's update. A card is enough if the allocator took no "
        f"more than its size less {CONTEXT / 1e9} GB."
    )
    head = (
        "N", "micro-batch", "checkpointing", "seconds a step", "to the sum of parts", "seconds of an update",
        "peak GiB allocated", "GiB reserved", *(f"within {name}" for name in LIMITS),
    )  # fmt: skip
    rows = []
    for step in (task for task in first if task.name == "step"):
        update = first[replace(step, name="update", kept=1)]
        known = [kept_label(step.kept, bench.policy), str(batch // step.accumulation)]
        known.append("on" if step.checkpointing else "off")
        if first[step] is None:
            rows.append((*known, "out of memory", *["–"] * (len(head) - 4)))
            continue
        comparable = all((base, part) in seconds for part in parts_of(step))
        rows.append(
            (
                *known,
                spread(seconds[base, step]),
                spread(ratios((base, step), seconds)) if comparable else "– (parts out of memory)",
                f"{update.seconds:.2f}" if update else "out of memory",
                *_memory_cells(first[step], update, on_gpu=device == "cuda"),
            )
        )
    print_table(head, rows)


def _memory_cells(step: Reading, update: Reading | None, *, on_gpu: bool) -> list[str]:
    if not on_gpu:
        return ["–"] * (2 + len(LIMITS))
    both = [
        f"{getattr(step, kind) / 2**30:.1f} / " + (f"{getattr(update, kind) / 2**30:.1f}" if update else "–")
        for kind in ("allocated", "reserved")
    ]
    needed = max(step.reserved, update.reserved) + CONTEXT if update else float("inf")
    return both + ["yes" if needed <= limit else "no" for limit in LIMITS.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full-size", action="store_true", help="on a GPU")
    parser.add_argument("--base", choices=FULL_SIZE, help="of full size only this one")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # the code of --full-size, on any device
    parser.add_argument("--batch", type=int, default=4, help="of the compact bases; of full size it is the paper's 12")
    parser.add_argument("--rounds", type=int, help="default 3, of full size 2")
    parser.add_argument("--backprop-steps", type=int, nargs="+", help="N; 0: all. Default 1 5 0, of full size 1")
    options = parser.parse_args()
    is_full_size = options.full_size or options.tiny
    device = "cuda" if is_full_size and torch.cuda.is_available() else "cpu"
    if is_full_size and device == "cpu" and not options.tiny:
        parser.error("--full-size needs a GPU")
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(describe(*PACKAGES) | {"device": name}, flush=True)
    started, load_before = time.perf_counter(), os.getloadavg()[0]
    if is_full_size:
        for base in [options.base] if options.base else FULL_SIZE:
            measure_full_size(base, device, options.backprop_steps or (1,), options.rounds or 2, tiny=options.tiny)
            give_back_memory()
    else:
        measure_compact(options.batch, options.backprop_steps or (1, 5, WHOLE_CHAIN), options.rounds or 3)
    load = f"load {load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    print(f"\nMeasured in {time.perf_counter() - started:.0f} s; {load}.")


if __name__ == "__main__":
    main()
