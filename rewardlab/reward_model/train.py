"""Training the Face Reward Model (Sec. 3.1, App. A.2) from a manifest, on a CPU, one GPU or many."""

import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rewardlab import manifest
from rewardlab.manifest import ORIGINS, gold_rows
from rewardlab.reward_model import backbones, losses, margins, model_card
from rewardlab.reward_model import batches as frm_batches
from rewardlab.reward_model import model as frm
from rewardlab.reward_model.batches import Batch
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.crop_cache import CropCache
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.prepare import open_start, training_rows
from rewardlab.training import acceleration, loading, schedule
from rewardlab.training.loop import Loop, OnProgress, run_lock
from rewardlab.training.processes import new_accelerator
from rewardlab.training.run_schema import FrmPoint, GoldPoint
from rewardlab.training.runs import Run
from rewardlab.training.states import SavedStates

log = logging.getLogger(__name__)

OUT_OF_MEMORY = (
    "Out of memory. Raise --accumulation (or lower --faces-per-step), turn on --checkpointing, or lower --image-layers."
)


class PairTask(nn.Module):
    """The module that is distributed over processes: a batch -> the logits s1 - s2 of its pairs."""

    def __init__(self, model: FaceRewardModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        images = self.model.embed_images(batch.images)
        texts = self.model.embed_texts(batch.tokens)
        return losses.pair_logits(images, texts, batch.first, batch.second, batch.text, self.model.scale)


def train(
    run: Run,
    *,
    images: Path,
    device: str | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> None:
    """Train a prepared run to its end, from its checkpoint if there is one. Call this in every process.

    Raises `TrainError`, whose message is also written to the run's status.
    """
    config = TrainConfig(**run.description().config)
    accelerator = new_accelerator(config.precision, device)
    loop = Loop(run, config.iterations, accelerator, on_progress, unit="pairs")
    with run_lock(run, accelerator), loop.guarded(when_full=OUT_OF_MEMORY):
        trainer = Trainer(loop, config, images)
        with loop.stoppable():
            trainer.run_to_end()


class Trainer:
    """One process of a training."""

    def __init__(self, loop: Loop, config: TrainConfig, images: Path) -> None:
        self.loop, self.config, self.images = loop, config, images
        run, accelerator = loop.run, loop.accelerator
        _, rows = manifest.read(run.manifest)
        self.gold = [row for row in gold_rows(rows) if row.origin != "svm"]
        self.groups = frm_batches.group_by_face(training_rows(rows, config))
        frm_batches.require_images(self.groups, images)  # the run may have been copied since it was prepared
        self.shares = accelerator.num_processes * config.accumulation
        if config.faces_per_step % self.shares:
            raise loop.failure(
                f"{config.faces_per_step} faces per step cannot be divided into {accelerator.num_processes} processes "
                f"x {config.accumulation} micro-batches: choose --faces-per-step as a multiple of {self.shares}."
            )
        self.model = open_start(run.description().start, run, config)
        backbones.lock(self.model, image_layers=config.image_layers, text_layers=config.text_layers)
        if config.checkpointing:
            self.model.clip.set_grad_checkpointing(True)
        self.model.to(accelerator.device)
        acceleration.apply(config, self.model)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self.states = SavedStates(
            loop, {"": (self.model, self.optimizer)}, every=config.save_every, keep=config.keep_states
        )
        self.states.restore()
        self.task: nn.Module = accelerator.prepare_model(PairTask(self.model))

    @property
    def accelerator(self) -> Accelerator:
        return self.loop.accelerator

    @property
    def step(self) -> int:
        return self.loop.step

    def run_to_end(self) -> None:
        if self.accelerator.is_main_process:
            self.loop.show()
            self.loop.run.cut_curve(self.loop.step)
            if self.loop.step == 0:
                self.evaluate_on_gold()
        window = Window(self.accelerator.device)
        batches = self._loader()
        for items in self._plan(self.step):
            if self.loop.is_asked_to_stop():
                self.loop.stop(self.states.at_the_end, partial(self._log, window) if window.steps else None)
            # Over all processes: the loss is the weighted mean of all pairs of the step.
            total_weight = math.fsum(pair.weight for item in items for pair in self.groups[item.group].pairs)
            self._set_rate()
            for micro in range(self.config.accumulation):
                waited = time.perf_counter()
                batch = next(batches).to(self.accelerator.device)
                window.waited += time.perf_counter() - waited
                last = micro == self.config.accumulation - 1
                self._accumulate(batch, total_weight, window, last=last)
            self.loop.require_finite_gradients(self.parameters)
            self.states.before_update()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.model.clamp_scale()
            self.loop.step += 1
            window.steps += 1
            self._after_step(window)
        self._finish()

    def _loader(self) -> Iterator[Batch]:
        config, rank, accumulation = self.config, self.accelerator.process_index, self.config.accumulation
        tokens = self.model.tokenize(["" if config.null_text else group.caption for group in self.groups])
        dataset = frm_batches.FaceDataset(self.groups, self.images, self.model.preprocess, tokens, self._cache())
        size = config.faces_per_step // self.shares
        mine = (
            items[part * size : (part + 1) * size]
            for items in self._plan(self.step)
            for part in range(rank * accumulation, (rank + 1) * accumulation)
        )
        device = self.accelerator.device
        workers = loading.worker_count(config.workers, device, on_cpu=1)
        return loading.load(dataset, mine, frm_batches.collate, workers=workers, device=device)

    @property
    def _cache_folder(self) -> Path:
        return self.loop.run.folder / "cache"

    def _cache(self) -> CropCache | None:
        if not self.config.cache_gib:
            return None
        preprocess, limit = self.model.preprocess, self.config.cache_gib
        cache = CropCache(
            self._cache_folder,
            [path for group in self.groups for path in group.images],
            size=preprocess.size,
            variant=f"antialias {preprocess.antialias}",
            limit=round(limit * 2**30),
        )
        if self.loop.is_main and len(cache.numbers) < cache.total:
            log.warning(
                "--cache-gib %g keeps %d of %d images; the others are decoded at each use. All need %.3g GiB.",
                limit, len(cache.numbers), cache.total, cache.needed / 2**30,
            )  # fmt: skip
        return cache

    def _plan(self, start: int) -> Iterator[list[schedule.Item]]:
        steps = schedule.plan(
            len(self.groups),
            faces_per_step=self.config.faces_per_step,
            seed=self.config.seed,
            mirror=self.config.mirror,
            start=start,
        )
        for _, items in zip(range(start, self.config.iterations), steps, strict=False):
            yield items

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step)

    def _accumulate(self, batch: Batch, total_weight: float, window: "Window", *, last: bool) -> None:
        """Add the gradients of a micro-batch; processes exchange them only after the last one."""
        synced = nullcontext() if last else self.accelerator.no_sync(self.task)
        with synced, self.accelerator.autocast():
            logits = self.task(batch).float()
            each = losses.preference_losses(logits, batch.p_first) * batch.weight
            loss = each.sum() / total_weight
            # Processes average their gradients, but the sum is needed.
            self.accelerator.backward(loss * self.accelerator.num_processes)
        self.loop.require_finite(loss)
        window.add(loss.detach(), logits.detach(), batch)

    def _after_step(self, window: "Window") -> None:
        config = self.config
        is_last = self.step == config.iterations
        gold = None
        if self.step % config.log_every == 0 or is_last:
            self._log(window)
        if self.accelerator.is_main_process:
            if self.step % config.evaluate_every == 0 or is_last:
                gold = self.evaluate_on_gold()
            self.loop.show(loss=window.last_loss, gold=gold)

    def _log(self, window: "Window") -> None:
        point, self.loop.rate = window.close(self.step, self.accelerator)
        if self.accelerator.is_main_process:
            self.loop.run.append(point)
            self.loop.tensorboard({"loss": point.loss, "learning rate": self.config.rate(self.step - 1)})
            self.loop.tensorboard({f"pair accuracy/{origin}": share for origin, share in point.accuracy.items()})

    def evaluate_on_gold(self) -> float | None:
        """Append the current agreement on the gold set to the curve. It is not used for selection."""
        if not self.gold:
            return None
        shares = margins.agreement_by_stratum(
            self.model, self.gold, self.images, null_text=self.config.null_text, on_batch=self.loop.heartbeat
        )
        self.loop.run.append(GoldPoint(step=self.step, gold=shares))
        self.loop.tensorboard({f"gold agreement/{stratum}": share.agreement for stratum, share in shares.items()})
        return shares["contested"].agreement

    def _finish(self) -> None:
        self.states.at_the_end()
        self.accelerator.wait_for_everyone()
        if self.loop.is_main:
            frm.save(self.model, self.loop.run.model, card=model_card.write(self.loop.run))
            shutil.rmtree(self._cache_folder, ignore_errors=True)
            self.loop.finish()
        self.accelerator.end_training()


class Window:
    """Sums since the last point of the curve, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last_loss: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.right = torch.zeros(len(ORIGINS), dtype=torch.float64, device=self.device)
        self.decided = torch.zeros(len(ORIGINS), dtype=torch.float64, device=self.device)
        self.pairs = self.steps = 0
        self.waited = 0.0
        self.since = time.perf_counter()

    def add(self, loss: Tensor, logits: Tensor, batch: Batch) -> None:
        decided = batch.p_first != 0.5
        agree = losses.agreements(logits, batch.p_first).double()
        self.loss += loss
        self.right.index_add_(0, batch.origin[decided], agree[decided])
        self.decided.index_add_(0, batch.origin[decided], torch.ones_like(agree[decided]))
        self.pairs += len(logits)

    def close(self, step: int, accelerator: Accelerator) -> tuple[FrmPoint, float]:
        """Return the point, summed over processes, and the pairs per second; reset the sums."""
        seconds = time.perf_counter() - self.since
        sums = torch.cat([self.loss[None], self.right, self.decided])
        loss, *counts = accelerator.reduce(sums, "sum").tolist()
        right, decided = counts[: len(ORIGINS)], counts[len(ORIGINS) :]
        self.last_loss = loss / self.steps
        point = FrmPoint(
            step=step,
            loss=self.last_loss,
            accuracy={
                origin: hits / pairs if pairs else None
                for origin, hits, pairs in zip(ORIGINS, right, decided, strict=True)
            },
            data_wait=round(self.waited / seconds, 4),
        )
        rate = round(self.pairs * accelerator.num_processes / seconds, 2)
        self._clear()
        return point, rate
