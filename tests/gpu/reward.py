"""Training of the reward model as in `train_frm`, from JPEG files to Adam, with its rate by configuration."""

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from rewardlab import manifest
from rewardlab.reward_model import backbones, batches, losses
from rewardlab.reward_model.configs import PRESETS, TrainConfig
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.train import PairTask, Trainer, Window
from rewardlab.training import schedule
from rewardlab.training.loop import Loop, is_out_of_memory
from rewardlab.training.processes import precision
from rewardlab.training.runs import Run
from rewardlab.training.states import SavedStates
from tests.bench.machine import matrix_peak
from tests.bench.refl_parts import free_memory
from tests.gpu.session import Session
from tests.support import random_networks
from tests.support.preferences import write_preferences

FACES_ON_DISK = 64
WARM_UP = 5
WORKERS = (4, 12)


def frm_config(*, tiny: bool, **changes: Any) -> TrainConfig:
    """Return the paper's configuration without logs, checkpoints and evaluations. Tiny: train fewer layers."""
    never = 10**6
    settings = {"log_every": never, "save_every": never, "evaluate_every": never}
    smaller = {"image_layers": 3, "text_layers": 2, "faces_per_step": 2} if tiny else {}
    return replace(PRESETS["hpsv2"], **settings | smaller | changes)


class FrmBench(Trainer):
    """The trainer on a given model. Only the constructor and the actions after a step are replaced."""

    def __init__(
        self,
        model: FaceRewardModel,
        groups: list[batches.FaceGroup],
        images: Path,
        config: TrainConfig,
        device: str,
        *,
        folder: Path,
        mixed_precision: str | None = None,
    ) -> None:
        """folder: of the run. mixed_precision: accelerate's name; None: the trainer's choice."""
        mixed_precision = mixed_precision or precision(config.precision, device)
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)
        folder.mkdir(parents=True, exist_ok=True)
        self.loop = Loop(Run(folder), config.iterations, accelerator, lambda progress: None, unit="pairs")
        self.config, self.images, self.groups, self.gold = config, images, groups, []
        self.shares = config.accumulation
        self.model = model.to(device).requires_grad_(True)
        backbones.lock(self.model, image_layers=config.image_layers, text_layers=config.text_layers)
        self.model.clip.set_grad_checkpointing(config.checkpointing)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self.states = SavedStates(self.loop, {}, every=config.iterations + 1, keep=1)  # saves nothing
        self.task = accelerator.prepare_model(PairTask(self.model))
        self.losses: list[float] = []
        self.ended: list[float] = []  # time at which each step ended
        self.waited: list[float] = []  # seconds of waiting for data since the start

    def _after_step(self, window: Window) -> None:
        self.losses.append(window.loss.item())  # synchronises with the device
        window.loss.zero_()
        self.ended.append(time.perf_counter())
        self.waited.append(window.waited)

    def _finish(self) -> None:
        pass

    @property
    def seconds(self) -> list[float]:
        """Return the seconds of each step after the warm-up, including the wait for data."""
        return [end - begin for begin, end in zip(self.ended, self.ended[1:], strict=False)][WARM_UP - 1 :]

    @property
    def waiting(self) -> float:
        """Return the share of time after the warm-up that was spent waiting for data."""
        waited = self.waited[-1] - self.waited[WARM_UP - 1]
        return waited / (self.ended[-1] - self.ended[WARM_UP - 1])


def reward(session: Session) -> None:
    size, faces = (64, 8) if session.tiny else (512, FACES_ON_DISK)
    folder = session.scratch
    write_preferences(
        folder, train=faces, gold=0, pictures=random_networks.pictures(faces, size), size=size, suffix="jpg"
    )
    files = list((folder / "images").rglob("*.jpg"))
    kilobytes = statistics.mean(file.stat().st_size for file in files) / 1e3
    groups = batches.group_by_face(manifest.read(folder / "manifest.jsonl")[1])
    model = random_networks.reward_model(session.device, tiny=session.tiny)
    flops = _flops_of_a_step(session, model, groups, folder / "images")
    peak = matrix_peak(session.device)
    session.row(
        "Work",
        images=f"{len(files)} JPEG files, {size} px, {kilobytes:.0f} kB each",
        **{"TFLOP per step": flops / 1e12, "matrix peak, TFLOP/s": peak / 1e12},
    )
    max_workers = WORKERS[-1] if session.on_gpu else 0
    cases = [
        ("shared", False, max_workers),
        ("shared", False, WORKERS[0] if session.on_gpu else 1),
        ("pairwise", False, max_workers),
        ("shared", True, max_workers),
        ("pairwise", True, max_workers),
    ]
    for encodings, checkpointing, workers in cases:
        _measure(session, model, groups, encodings, checkpointing=checkpointing, workers=workers, work=(flops, peak))


def _measure(
    session: Session,
    model: FaceRewardModel,
    groups: list[batches.FaceGroup],
    encodings: str,
    *,
    checkpointing: bool,
    workers: int,
    work: tuple[float, float],
) -> None:
    """Report the rate of one configuration. work: FLOP per step with shared encodings, and peak FLOP/s."""
    iterations = WARM_UP + (3 if session.tiny else 25)
    config = frm_config(tiny=session.tiny, iterations=iterations, checkpointing=checkpointing, workers=workers)
    faces = config.faces_per_step
    if encodings == "pairwise":
        # The same number of pairs per step, each with its own images and caption.
        config = replace(config, faces_per_step=faces * len(groups[0].pairs))
        groups = batches.pairwise(groups)
    known = {"encodings": encodings, "checkpointing": checkpointing, "loader workers": workers}
    if session.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    folder = session.scratch / "run"
    bench: FrmBench | None = None
    try:
        bench = FrmBench(model, groups, session.scratch / "images", config, session.device, folder=folder)
        bench.run_to_end()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        session.row("Rates", **known, **{"pairs/s": "out of memory"})
        return
    finally:
        model.zero_grad(set_to_none=True)
        free_memory()
    seconds = statistics.median(bench.seconds)
    iterations_of_run = TrainConfig().iterations
    session.row(
        "Rates",
        **known,
        **{
            "pairs/s": 6 * faces / seconds,
            "seconds per step": seconds,
            "waiting for data": bench.waiting,
            "share of the matrix peak": work[0] / seconds / work[1] if encodings == "shared" else None,
            "peak GiB": torch.cuda.max_memory_allocated() / 2**30 if session.on_gpu else None,
            f"hours for {iterations_of_run:,} steps": statistics.mean(bench.seconds) * iterations_of_run / 3600,
        },
    )


def _flops_of_a_step(session: Session, model: FaceRewardModel, groups: list[batches.FaceGroup], images: Path) -> float:
    """Return the FLOP of forward and backward, as counted by torch, without checkpointing."""
    config = frm_config(tiny=session.tiny)
    backbones.lock(model, image_layers=config.image_layers, text_layers=config.text_layers)
    chosen = groups[: config.faces_per_step]
    dataset = batches.FaceDataset(chosen, images, model.preprocess, model.tokenize([group.caption for group in chosen]))
    batch = batches.collate(dataset.__getitems__([schedule.Item(index) for index in range(len(chosen))]))
    batch = batch.to(torch.device(session.device))
    with FlopCounterMode(display=False) as counter, torch.autocast(session.device, torch.bfloat16):
        losses.preference_losses(PairTask(model)(batch).float(), batch.p_first).sum().backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())
