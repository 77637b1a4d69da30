"""Trainings under deterministic algorithms: one uninterrupted, one killed with SIGKILL and resumed.

Both must have the same curve and the same weights, bit for bit. Each runs in its own process, from a generated manifest
and list of faces.
"""

import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from refl import prepare as refl_prepare
from refl.configs import PRESETS, ReflConfig
from refl.train_refl import train as tune
from rewardlab.reward_model import prepare
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.train import train as train_reward
from rewardlab.training import runs
from rewardlab.training.run_schema import FrmPoint, ReflPoint
from rewardlab.training.runs import Run
from tests.gpu.session import Session, reset_accelerate
from tests.support import diffusion, random_networks
from tests.support.restorers import make_world

START_TIMEOUT = 60  # seconds
KINDS = ("frm", "compact", "diffbir")  # trains a reward model, a LoRA, a ControlNet


@dataclass(frozen=True)
class Training:
    """A run of `kind` in the folder `world`. device: as for `--device`."""

    world: Path
    kind: str
    name: str
    device: str

    @property
    def run(self) -> Run:
        return runs.open_run(self.world / "runs", self.name)

    @property
    def losses(self) -> list[float]:
        return [point.loss for point in self.run.points() if isinstance(point, FrmPoint | ReflPoint)]

    def train(self) -> None:
        """Train to the end in this process. Save torch's warnings about nondeterministic operations in `notes`."""
        reset_accelerate()
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # makes cuBLAS deterministic
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        function: Callable[..., None] = train_reward if self.kind == "frm" else tune
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function(self.run, images=self.world / "images", device=self.device)
        found = sorted({str(each.message).split(".")[0] for each in caught if "determinis" in str(each.message)})
        used = torch.cuda.max_memory_allocated(0) if self.device.startswith("cuda") else 0
        self.notes.write_text(json.dumps({"warnings": found, "bytes on cuda:0": used}))

    @property
    def notes(self) -> Path:
        return self.world / f"{self.name}.json"


def resume(session: Session) -> None:
    world, device = session.scratch, "cuda:0" if session.on_gpu else "cpu"
    kinds = ("compact",) if session.tiny else KINDS  # the tests of each training cover the others on a CPU
    whole, killed = (
        {kind: Training(world, kind, f"{kind}-{fate}", device) for kind in kinds} for fate in ("whole", "killed")
    )
    # In a separate process: autograd initialises CUDA, after which forks of this process could not use it.
    preparation = _process(session, _prepare, world, [*whole.values(), *killed.values()])
    preparation.join()
    if preparation.exitcode:
        raise RuntimeError("preparing the trainings failed: see the traceback in the output")
    processes = {each.name: _start(session, each) for each in (*whole.values(), *killed.values())}
    for each in killed.values():
        _kill_during_training(each, processes.pop(each.name))
    killed_at = {kind: len(each.losses) for kind, each in killed.items()}
    processes |= {each.name: _start(session, each) for each in killed.values()}
    for process in processes.values():
        process.join()
    for kind in kinds:
        _compare(session, kind, whole[kind], killed[kind], killed_at[kind])
    if session.on_gpu:
        used = json.loads(whole[kinds[0]].notes.read_text())["bytes on cuda:0"]
        session.check("Device", used > 0, option="--device cuda:0", **{"peak MiB on cuda:0": used / 2**20})


def _compare(session: Session, kind: str, whole: Training, killed: Training, killed_at: int) -> None:
    unfinished = [each.name for each in (whole, killed) if not each.run.is_done()]
    if unfinished:
        status = "; ".join(f"{name}: {Training(whole.world, kind, name, '').run.status()}" for name in unfinished)
        session.check(
            "Trainings", False, training=kind, steps=len(whole.losses), **{"killed at": killed_at}, output=status
        )
        return
    same = whole.losses == killed.losses
    weights = _weights(whole.run), _weights(killed.run)
    equal = weights[0].keys() == weights[1].keys() and all(
        torch.equal(value, weights[1][name]) for name, value in weights[0].items()
    )
    was_interrupted = 0 < killed_at < len(whole.losses)
    session.check(
        "Trainings",
        same and equal and was_interrupted,
        training=kind,
        steps=len(whole.losses),
        **{
            "killed at": killed_at,
            "same losses": same,
            "same weights": equal,
            "nondeterministic according to torch": "; ".join(json.loads(whole.notes.read_text())["warnings"])
            or "nothing",
        },
    )


def _weights(run: Run) -> dict[str, torch.Tensor]:
    files = [file for folder in (run.model, run.folder / "frm") for file in sorted(folder.rglob("*.safetensors"))]
    return {
        f"{file.relative_to(run.folder)}/{name}": value for file in files for name, value in load_file(file).items()
    }


def _prepare(world: Path, trainings: list[Training]) -> None:
    make_world(world, random_networks.pictures(100, 128))
    for training in trainings:
        _prepare_run(training)


def _prepare_run(training: Training) -> None:
    world, run = training.world, training.run
    images = world / "images"
    if training.kind == "frm":
        checkpoint, architecture = random_networks.write_tiny_checkpoint(world)
        config = TrainConfig(
            architecture=architecture, iterations=24, learning_rate=1e-3, image_layers=3, text_layers=2,
            faces_per_step=2, log_every=1, evaluate_every=24, save_every=2, workers=1,
        )  # fmt: skip
        prepare.prepare_run(run, config, world / "manifest.jsonl", images=images, checkpoint_file=checkpoint)
        return
    run.folder.mkdir(parents=True)
    run.faces.write_bytes((world / "faces.jsonl").read_bytes())
    sources: dict[str, Any] = {"frm": runs.open_run(world / "runs", "frm")}
    if training.kind == "compact":
        sources["base"] = runs.open_run(world / "runs", "one-step")
    else:
        sources |= _diffbir_files(world)
    refl_prepare.prepare(
        run, _refl_config(training.kind), refl_prepare.Sources(**sources, accept_licence=True), images=images
    )


def _refl_config(kind: str) -> ReflConfig:
    """Return a short configuration, without LPIPS, whose VGG may not be installed."""
    return replace(
        PRESETS[kind], iterations=8, batch_size=2, accumulation=1, steps=5 if kind == "diffbir" else 100,
        lambda_lpips=0.0, frm_every=2, log_every=1, evaluate_every=8, save_every=2, held_out=1,
    )  # fmt: skip


def _diffbir_files(world: Path) -> dict[str, Path]:
    sd = world / "sd"
    if not sd.exists():
        diffusion.stable_diffusion(sd)
        diffusion.controlnet(world / "v1_face.pth", sd)
        diffusion.swinir(world / "face_swinir_v1.ckpt")
    return {"sd": sd, "checkpoint": world / "v1_face.pth", "swinir": world / "face_swinir_v1.ckpt"}


def _start(session: Session, training: Training) -> Any:
    return _process(session, training.train)


def _process(session: Session, function: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context(session.start_method).Process(target=function, args=arguments)
    process.start()
    return process


def _kill_during_training(training: Training, process: Any) -> None:
    """Kill after the third step, when a state is saved, which is that of the second or a later one."""
    deadline = time.monotonic() + START_TIMEOUT
    while (
        (len(training.losses) < 3 or not training.run.states()) and process.is_alive() and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.kill()
    process.join()
