"""Training the Face Reward Model (Sec. 3.1, App. A.2) from a manifest, on a CPU, one GPU or many."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rewardlab import backbones, checkpoint, data, evaluate, frm, losses, manifest, runs
from rewardlab.configs import TrainConfig
from rewardlab.data import ORIGINS, Batch, DataError
from rewardlab.frm import FaceRewardModel
from rewardlab.prepare import gold_rows, open_start, training_rows
from rewardlab.runs import Run

MAX_SCALE = 100.0  # CLIP's bound on 1 / tau, kept by HPSv2
STATUS_SECONDS = 1.0
OUT_OF_MEMORY = (
    "The memory is full. Raise --accumulation (or lower --faces-per-step), turn on --checkpointing, or lower "
    "--image-layers."
)


class TrainError(RuntimeError):
    """The training cannot start or go on; the message says why, what to do, and what the last good state is."""


@dataclass(frozen=True)
class Progress:
    step: int
    total: int
    loss: float | None
    gold: float | None


class PairTask(nn.Module):
    """What the processes share: a batch in, the logits s1 - s2 of its pairs out."""

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
    tell: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train a prepared run to its end, from its checkpoint if it has one. Every process calls this alike.

    Raises `TrainError`; the run's status then says the same.
    """
    config = TrainConfig(**run.description()["config"])
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=_precision(config, device))
    with run.held() if accelerator.is_main_process else nullcontext():
        _train(run, config, images, accelerator, tell)


def _train(
    run: Run, config: TrainConfig, images: Path, accelerator: Accelerator, tell: Callable[[Progress], None]
) -> None:
    try:
        trainer = Trainer(run, config, images, accelerator, tell)
    except Exception as error:
        full = is_out_of_memory(error)
        if accelerator.is_main_process:
            run.write_status("failed", step=0, total=config.iterations, error=OUT_OF_MEMORY if full else str(error))
        if full:
            raise TrainError(OUT_OF_MEMORY) from error
        raise
    try:
        trainer.run_to_end()
    except KeyboardInterrupt:
        trainer.write_status("stopped", f"Stopped by hand. The same command goes on from step {trainer.saved}.")
        raise
    except TrainError:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            trainer.write_status("failed", f"{type(error).__name__}: {error}")
            raise
        raise trainer.failed(OUT_OF_MEMORY) from error
    except DataError as error:
        raise trainer.failed(str(error).rpartition("DataError: ")[2].strip()) from error
    except OSError as error:
        if runs.is_disk_full(error):
            raise trainer.failed(f"The disk of {run.folder} is full. Free space and run the same command") from error
        raise trainer.failed(f"{error}. Run the same command once that is mended") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, or of the machine: torch's CPU allocator says it in words only."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _precision(config: TrainConfig, device: str | None) -> str:
    has_bf16 = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if config.precision == "bf16" and not has_bf16:
        raise TrainError("This device has no bf16: leave --precision at auto, or use fp32.")
    return "bf16" if has_bf16 and config.precision != "fp32" else "no"


class Trainer:
    """One process of a training."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        images: Path,
        accelerator: Accelerator,
        tell: Callable[[Progress], None],
    ) -> None:
        self.run, self.config, self.images, self.accelerator, self.tell = run, config, images, accelerator, tell
        _, rows = manifest.read(run.manifest)
        self.gold = [row for row in gold_rows(rows) if row.origin != "svm"]
        self.groups = data.group_by_face(training_rows(rows, config))
        self.shares = accelerator.num_processes * config.accumulation
        if config.faces_per_step % self.shares:
            raise TrainError(
                f"{config.faces_per_step} faces a step cannot be divided into {accelerator.num_processes} processes x "
                f"{config.accumulation} micro-batches: choose --faces-per-step as a multiple of {self.shares}."
            )
        self.model = open_start(run.description()["start"], run, config)
        backbones.lock(self.model, image_layers=config.image_layers, text_layers=config.text_layers)
        if config.checkpointing:
            self.model.clip.set_grad_checkpointing(True)
        self.model.to(accelerator.device)
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trainable, lr=config.learning_rate)
        self.saved = self.step = 0
        if run.checkpoint.exists():
            self.saved = self.step = checkpoint.restore(run.checkpoint, self.model, self.optimizer)
        self.task: nn.Module = accelerator.prepare_model(PairTask(self.model))
        self.rate: float | None = None
        self._status_at = 0.0

    def run_to_end(self) -> None:
        if self.accelerator.is_main_process:
            self.tell(Progress(self.step, self.config.iterations, None, None))
            self.run.cut_curve(self.step)
            if self.step == 0:
                self.look_at_gold()
        window = Window(self.accelerator.device)
        batches = iter(self._loader())
        for items in self._plan(self.step):
            # Of all pairs of the step, whichever process has them: the loss is their weighted mean.
            total_weight = math.fsum(pair.weight for item in items for pair in self.groups[item.group].pairs)
            self._set_rate()
            for micro in range(self.config.accumulation):
                waited = time.perf_counter()
                batch = next(batches).to(self.accelerator.device)
                window.waited += time.perf_counter() - waited
                last = micro == self.config.accumulation - 1
                self._accumulate(batch, total_weight, window, last=last)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                self.model.clip.logit_scale.clamp_(max=math.log(MAX_SCALE))
            self.step += 1
            window.steps += 1
            self._after_step(window)
        self._finish()

    def _loader(self) -> Iterator[Batch]:
        config, rank, accumulation = self.config, self.accelerator.process_index, self.config.accumulation
        tokens = self.model.tokenize(["" if config.null_text else group.caption for group in self.groups])
        dataset = data.FaceDataset(self.groups, self.images, self.model.preprocess, tokens)
        size = config.faces_per_step // self.shares
        mine = (
            items[part * size : (part + 1) * size]
            for items in self._plan(self.step)
            for part in range(rank * accumulation, (rank + 1) * accumulation)
        )
        on_gpu = self.accelerator.device.type == "cuda"
        workers = config.workers if config.workers >= 0 else (4 if on_gpu else 1)
        return iter(data.loader(dataset, mine, workers=workers, pin=on_gpu))

    def _plan(self, start: int) -> Iterator[list[data.Item]]:
        steps = data.plan(
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
        """Gradients of a micro-batch are added up; processes exchange them with the last one only."""
        waits = nullcontext() if last else self.accelerator.no_sync(self.task)
        with waits, self.accelerator.autocast():
            logits = self.task(batch).float()
            each = losses.preference_losses(logits, batch.p_first) * batch.weight
            loss = each.sum() / total_weight
            # Gradients are averaged over processes, and are wanted summed.
            self.accelerator.backward(loss * self.accelerator.num_processes)
        if not loss.isfinite():
            raise self.failed(
                f"The loss of step {self.step + 1} is not finite ({loss.item()}). Lower --learning-rate, or use "
                "--precision fp32"
            )
        window.add(loss.detach(), logits.detach(), batch)

    def _after_step(self, window: "Window") -> None:
        config = self.config
        is_last = self.step == config.iterations
        gold = None
        if self.step % config.log_every == 0 or is_last:
            self._log(window)
        if self.accelerator.is_main_process:
            if self.step % config.evaluate_every == 0 or is_last:
                gold = self.look_at_gold()
            if self.step % config.save_every == 0 or is_last:
                checkpoint.save(self.run.checkpoint, self.model, self.optimizer, step=self.step)
                self.saved = self.step
            self.tell(Progress(self.step, config.iterations, window.last_loss, gold))
            self.show_life()

    def _log(self, window: "Window") -> None:
        point = window.close(self.accelerator)
        self.rate = point.pop("rate")
        if self.accelerator.is_main_process:
            self.run.append({"step": self.step, **point})
            self._tensorboard({"loss": point["loss"], "learning rate": self.config.rate(self.step - 1)})
            self._tensorboard({f"pair accuracy/{origin}": share for origin, share in point["accuracy"].items()})

    def look_at_gold(self) -> float | None:
        """Agreement on the gold set as it is now, for the curve. Nothing is decided by it."""
        if not self.gold:
            return None
        shares = evaluate.gold_agreement(
            self.model, self.gold, self.images, null_text=self.config.null_text, tell=self.show_life
        )
        self.run.append({"step": self.step, "gold": shares})
        self._tensorboard({f"gold agreement/{stratum}": share["agreement"] for stratum, share in shares.items()})
        return shares["contested"]["agreement"]

    def _tensorboard(self, scalars: dict[str, float | None]) -> None:
        if not hasattr(self, "_writer"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.run.folder / "tensorboard"), purge_step=self.step)
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, self.step)

    def _finish(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            frm.save(self.model, self.run.model)
            self.write_status("done")
            if hasattr(self, "_writer"):
                self._writer.close()
        self.accelerator.end_training()

    def show_life(self) -> None:
        """A status that is not renewed for minutes reads as interrupted."""
        if time.monotonic() - self._status_at > STATUS_SECONDS:
            self._status_at = time.monotonic()
            self.write_status("running")

    def write_status(self, state: str, error: str = "") -> None:
        if self.accelerator.is_main_process:
            self.run.write_status(state, step=self.step, total=self.config.iterations, error=error, rate=self.rate)

    def failed(self, reason: str) -> TrainError:
        """The error to raise, after the status was told as far as the disk allows."""
        good = f"step {self.saved} in {self.run.checkpoint}" if self.saved else "the start: nothing was saved yet"
        message = f"{reason.rstrip('.')}. The last good state is {good}."
        try:
            self.write_status("failed", message)
        except OSError as error:
            message += f" (The status could not be written: {error})"
        return TrainError(message)


class Window:
    """What happened since the last point of the curve; the sums stay on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last_loss: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.right = torch.zeros(len(ORIGINS), dtype=torch.float64, device=self.device)
        self.asked = torch.zeros(len(ORIGINS), dtype=torch.float64, device=self.device)
        self.pairs = self.steps = 0
        self.waited = 0.0
        self.since = time.perf_counter()

    def add(self, loss: Tensor, logits: Tensor, batch: Batch) -> None:
        decided = batch.p_first != 0.5
        agree = losses.agreements(logits, batch.p_first).double()
        self.loss += loss
        self.right.index_add_(0, batch.origin[decided], agree[decided])
        self.asked.index_add_(0, batch.origin[decided], torch.ones_like(agree[decided]))
        self.pairs += len(logits)

    def close(self, accelerator: Accelerator) -> dict[str, Any]:
        """The point, summed over processes; the window starts anew."""
        seconds = time.perf_counter() - self.since
        sums = torch.cat([self.loss[None], self.right, self.asked])
        loss, *counts = accelerator.reduce(sums, "sum").tolist()
        right, asked = counts[: len(ORIGINS)], counts[len(ORIGINS) :]
        self.last_loss = loss / self.steps
        point = {
            "loss": self.last_loss,
            "accuracy": {
                origin: hits / pairs if pairs else None
                for origin, hits, pairs in zip(ORIGINS, right, asked, strict=True)
            },
            "data_wait": round(self.waited / seconds, 4),
            "rate": round(self.pairs * accelerator.num_processes / seconds, 2),
        }
        self._clear()
        return point
