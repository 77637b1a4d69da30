"""Training of a compact base by the noise-prediction loss (Eq. 1) on faces degraded by Eq. 9."""

import shutil
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl import dataset, held_out_monitor
from refl.configs import BaseConfig
from refl.dataset import Batch
from refl.degradation import PRESETS
from refl.held_out_monitor import Monitor
from refl.policies import compact
from refl.policies.diffusion import OneStepPolicy
from refl.policies.noise import Noise
from rewardlab.training import checkpoint
from rewardlab.training.loop import Loop, OnProgress, run_lock
from rewardlab.training.processes import new_accelerator
from rewardlab.training.run_schema import BasePoint, HeldOutPoint
from rewardlab.training.runs import Run, RunError, finished
from rewardlab.training.states import SavedStates

OUT_OF_MEMORY = "Out of memory. Lower --batch-size."


def prepare(run: Run, config: BaseConfig, *, images: Path, stage_1: Run | None = None) -> None:
    """Create the run in its folder, which must contain faces.jsonl. Raises `DataError` or `RunError`.

    stage_1: the one-step base that a multi-step base uses as stage 1.
    """
    start = {"base": "compact"}
    if config.variant == "multi-step":
        first = finished(stage_1, "base", "--stage-1", "a one-step base: manage.py train_base")
        if compact.variant_of(first.model) != "one-step":
            raise RunError(f"--stage-1 {first.name} is a multi-step base. Pass a one-step base.")
        shutil.copytree(first.model, run.start, dirs_exist_ok=True)
        start["stage_1"] = first.name
    elif stage_1:
        raise RunError("--stage-1 applies to --variant multi-step only. Remove it.")
    header, rows = dataset.read(run.faces)
    dataset.training_rows(rows)
    dataset.require_images(rows, images, held_out=config.held_out)
    dataset.held_out(rows, images, compact.SIZE, config.held_out)
    run.create(kind="base", config=config, start=start, faces=header, images=images.resolve())


def train(
    run: Run, *, images: Path, device: str | None = None, on_progress: OnProgress = lambda progress: None
) -> None:
    """Train a prepared run to its end; resume from its checkpoint if it has one. Raises `TrainError`.

    Uses one process, as the base is small.
    """
    config = BaseConfig(**run.description().config)
    loop = Loop(run, config.iterations, new_accelerator("fp32", device), on_progress, unit="images")
    with run_lock(run, loop.accelerator), loop.guarded(when_full=OUT_OF_MEMORY):
        trainer = BaseTrainer(loop, config, images)
        with loop.stoppable():
            trainer.run_to_end()


class BaseTrainer:
    """Trainer of one run, in one process."""

    def __init__(self, loop: Loop, config: BaseConfig, images: Path) -> None:
        self.loop, self.config, self.images = loop, config, images
        torch.manual_seed(config.seed)
        _, rows = dataset.read(loop.run.faces)
        dataset.require_images(rows, images, held_out=config.held_out)  # the run may have been copied since
        self.faces = dataset.TrainingFaces(
            dataset.training_rows(rows),
            images,
            compact.SIZE,
            PRESETS[config.degradation],
            seed=config.seed,
            mirror=True,
        )
        batch = dataset.held_out(rows, images, compact.SIZE, config.held_out)
        self.monitor = Monitor(batch, loop.run.folder / "pictures", prompts=[""] * len(batch.faces))
        self.networks = nn.ModuleDict(compact.networks(config.variant)).to(loop.accelerator.device)
        self.base_networks = dict(self.networks.items())
        if config.variant == "multi-step":
            self.base_networks["stage_1"] = compact.load_unet(loop.run.start).to(loop.accelerator.device)
        self.policy = compact.assemble(self.base_networks)
        self.networks.requires_grad_(True)  # train all weights, not only those that tuning changes
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=config.learning_rate)
        self.parts: checkpoint.Parts = {"": (self.networks, self.optimizer)}
        self.states = SavedStates(loop, self.parts, every=config.save_every, keep=config.keep_states)
        self.states.restore()

    def run_to_end(self) -> None:
        loop, config = self.loop, self.config
        loop.run.cut_curve(loop.step)
        loop.show()
        if loop.step == 0:
            self.monitor.save_inputs()
        losses: list[float] = []
        since = time.perf_counter()
        for batch in self.faces.batches(config.batch_size, start=loop.step):
            if loop.step == config.iterations:
                break
            if loop.is_asked_to_stop():
                loop.stop(self.states.at_the_end, partial(self._log, losses, since) if losses else None)
            for group in self.optimizer.param_groups:
                group["lr"] = config.rate(loop.step)
            loss = self.loss(batch)
            loop.require_finite(loss)
            loss.backward()
            loop.require_finite_gradients(list(self.networks.parameters()))
            self.states.before_update()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loop.step += 1
            losses.append(loss.item())
            if loop.step % config.log_every == 0 or loop.step == config.iterations:
                self._log(losses, since)
                losses, since = [], time.perf_counter()
            if loop.step % config.evaluate_every == 0 or loop.step == config.iterations:
                self.evaluate()
            loop.show(loss=loss.item())
        self.states.at_the_end()
        compact.save(self.base_networks, config.variant, loop.run.model)
        loop.finish()

    def _log(self, losses: list[float], since: float) -> None:
        """Append the mean loss of the steps since the last point to the curve. since: when they began."""
        loop, mean = self.loop, sum(losses) / len(losses)
        loop.rate = len(losses) * self.config.batch_size / (time.perf_counter() - since)
        loop.run.append(BasePoint(step=loop.step, loss=mean, rate=loop.rate))
        loop.tensorboard({"loss": mean})

    def loss(self, batch: Batch) -> Tensor:
        """Return Eq. 1. A one-step base takes the LQ latent as the noisy latent: the noise is its difference from the
        photograph, so that the closed form of x0 yields the photograph."""
        policy, device = self.policy, self.loop.accelerator.device
        lq, clean = batch.lq.to(device), policy.codec.encode(batch.hq.to(device))
        if isinstance(policy, OneStepPolicy):
            condition = policy.codec.encode(lq)
            alpha_bar = policy.alpha_bar
            epsilon = (condition - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
            predicted = policy.unet(condition, policy.timestep, policy.texts([""] * len(clean), clean)).sample
            return F.mse_loss(predicted, epsilon)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.loop.step)
        chain = torch.tensor(policy.timesteps())  # a network this small cannot learn all times
        times = chain[torch.randint(len(chain), (len(clean),), generator=generator)].to(device)
        epsilon = Noise(batch.seeds).like(clean)
        noisy = policy.schedule.add_noise(clean, epsilon, times)
        with torch.no_grad():
            condition = policy.codec.encode(policy.cleaner(lq))
        predicted = policy.call(noisy, times, condition, policy.texts([""] * len(clean), clean)).noise
        return F.mse_loss(predicted, epsilon)

    @torch.no_grad()
    def evaluate(self) -> None:
        restored = self.monitor.restore(self.policy, self.loop.heartbeat)
        self.monitor.save_pictures(restored, f"{self.loop.step:06}")
        figures = held_out_monitor.means(self.monitor.measure(restored))
        self.loop.run.append(HeldOutPoint(step=self.loop.step, held_out=dict(figures)))
        self.loop.tensorboard({f"held out/{name}": value for name, value in figures.items()})
