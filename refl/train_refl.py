"""Reward feedback learning (Sec. 3.3): tune a restorer with the gradient of the Face Reward Model.

A step restores a batch along the full reverse trajectory, backpropagates Eq. 6 through the last N denoising steps, and
updates the policy. Every n steps the reward model is trained to prefer photographs to current restorations (Eq. 7, 8).
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from refl import dataset, losses, model_card, prepare
from refl.backward import Gradients, OfImage, differentiate
from refl.configs import ReflConfig
from refl.dataset import Batch
from refl.degradation import PRESETS
from refl.held_out_monitor import Monitor, alarms, means, paired_changes
from refl.policies import tuned_weights
from refl.policies.noise import Noise
from refl.policies.policy import Trajectory
from refl.window import Window
from rewardlab import manifest
from rewardlab.manifest import gold_rows
from rewardlab.metrics.perceptual import load_network
from rewardlab.reward_model import backbones, margins, model
from rewardlab.reward_model.reward_sources import RewardSource
from rewardlab.training import acceleration, loading
from rewardlab.training.loop import Loop, OnProgress, run_lock
from rewardlab.training.processes import average_gradients, new_accelerator
from rewardlab.training.run_schema import Change, GoldPoint, HeldOutPoint
from rewardlab.training.runs import Run
from rewardlab.training.states import SavedStates

OUT_OF_MEMORY = (
    "Out of memory. Raise --accumulation (or lower --batch-size), turn on --checkpointing, or lower --backprop-steps."
)
log = logging.getLogger(__name__)

TERMS = ("reward", "lpips", "dwt", "reg")  # of Eq. 6
FRM_STREAM = 1  # the reward model's faces are drawn independently of the restorer's


def train(
    run: Run, *, images: Path, device: str | None = None, on_progress: OnProgress = lambda progress: None
) -> None:
    """Tune a prepared run to its end; resume from its checkpoint if it has one. Every process calls this.

    Raises `TrainError`, whose message is also stored in the run's status.
    """
    config = ReflConfig(**run.description().config)
    accelerator = new_accelerator(config.precision, device)
    loop = Loop(run, config.iterations, accelerator, on_progress, unit="images")
    with run_lock(run, accelerator), loop.guarded(when_full=OUT_OF_MEMORY):
        trainer = ReflTrainer(loop, config, images)
        with loop.stoppable():
            trainer.run_to_end()


class ReflTrainer:
    """Trainer of one process of a tuning run."""

    def __init__(self, loop: Loop, config: ReflConfig, images: Path) -> None:
        run, accelerator = loop.run, loop.accelerator
        config = config.divided(accelerator.num_processes)
        self.loop, self.config, self.images = loop, config, images
        self.shares = accelerator.num_processes * config.accumulation
        if config.batch_size % self.shares:
            raise loop.failure(
                f"{config.batch_size} faces per step cannot be divided into {accelerator.num_processes} processes x "
                f"{config.accumulation} micro-batches: choose --batch-size as a multiple of {self.shares}."
            )
        opened = prepare.open_all(run, config)
        try:
            opened.policy.require_supports(config.reg, config.backprop_steps)
        except ValueError as error:
            raise loop.failure(str(error)) from error
        self.policy, self.prompts = opened.policy.to(accelerator.device), opened.prompts
        self.frm, self.null_text = opened.frm.to(accelerator.device), opened.null_text
        self.lpips = load_network("vgg").to(accelerator.device) if config.lambda_lpips else None
        if config.checkpointing:
            self.policy.use_checkpointing()
            self.frm.clip.set_grad_checkpointing(True)
        self._load_faces(opened.judge, opened.reward)
        self._lower_frozen_networks()
        acceleration.apply(config, self.policy, self.frm, *([self.lpips] if self.lpips else []))
        self._evaluate_base()
        self.parameters = list(self.policy.trainable().values())
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self.parts: dict[str, tuple[torch.nn.Module, torch.optim.Optimizer]] = {
            "policy/": (self.policy, self.optimizer)
        }
        self.frm_parameters: list[torch.nn.Parameter] = []
        self.frm.requires_grad_(False)
        if config.frm_update and config.lambda_reward:
            backbones.lock(self.frm, image_layers=opened.image_layers, text_layers=opened.text_layers)
            self.frm_parameters = [value for value in self.frm.parameters() if value.requires_grad]
            self.frm_optimizer = torch.optim.Adam(self.frm_parameters, lr=config.frm_learning_rate)
            self.parts["frm/"] = (self.frm, self.frm_optimizer)
        self.states = SavedStates(loop, self.parts, every=config.save_every, keep=config.keep_states)
        self.states.restore()

    def _load_faces(self, judge: model.FaceRewardModel | None, reward: RewardSource) -> None:
        run, config = self.loop.run, self.config
        _, rows = dataset.read(run.faces)
        training = dataset.training_rows(rows)
        dataset.require_images(rows, self.images, held_out=config.held_out)  # the run may have been copied since
        self.faces, self.frm_faces = (
            dataset.TrainingFaces(
                training, self.images, self.policy.size, PRESETS[config.degradation], seed=seed, mirror=config.mirror
            )
            for seed in (2 * config.seed, 2 * config.seed + FRM_STREAM)
        )
        monitored = dataset.held_out(rows, self.images, self.policy.size, config.held_out)
        self.monitor = Monitor(
            monitored,
            run.folder / "pictures",
            prompts=self.prompts(monitored.faces),
            judge=judge.requires_grad_(False) if judge else None,
            null_text=self.null_text,
            device=self.loop.accelerator.device,
            keep_judge=config.memory != "frugal",
        )
        self.gold = []
        if run.manifest.exists():
            self.gold = [row for row in gold_rows(manifest.read(run.manifest)[1]) if row.origin != "svm"]
        if self.gold and config.lambda_reward:
            self.gold_images = prepare.gold_images(self.gold, reward.run, self.images)

    def _lower_frozen_networks(self) -> None:
        """Encode all texts and drop their encoder; in bf16, store the policy's frozen networks in it."""
        low = torch.bfloat16 if self.loop.accelerator.mixed_precision == "bf16" else None
        texts = (*self.prompts(self.faces.rows), *self.monitor.prompts)
        if not self.policy.texts.encode_ahead(texts, low or torch.float32):
            log.warning("%d different prompts are too many to keep encoded: the text encoder stays.", len(set(texts)))
        if low:
            self.policy.lower(low)

    def _evaluate_base(self) -> None:
        """Evaluate the base, the reference of all differences, before a checkpoint is read."""
        self.base_images = self._restore_monitored()
        if self.loop.is_main:
            self.base_values = self.monitor.measure(self.base_images)

    def _restore_monitored(self) -> Tensor:
        """Restore the monitoring faces; every process calls this."""
        return self.monitor.restore(self.policy, self.loop.heartbeat, self.loop.accelerator)

    def run_to_end(self) -> None:
        loop, config = self.loop, self.config
        loop.show()
        if loop.is_main:
            loop.run.cut_curve(loop.step)
            if loop.step == 0:
                self.monitor.save_inputs()
                self.monitor.save_pictures(self.base_images, "base")
                self.evaluate(self.base_images)
        batches = self._batches(self.faces, start=loop.step)
        self.frm_batches = self._batches(self.frm_faces, start=loop.step // config.frm_every, most_workers=1)
        window = Window()
        stops = self._stops_early()
        while loop.step < config.iterations and not stops:
            if loop.is_asked_to_stop():
                log = partial(self._log, window) if loop.is_main and window.losses else None
                loop.stop(self.states.at_the_end, log)
            will_log = (loop.step + 1) % config.log_every == 0 or loop.step + 1 == config.iterations
            self.tune(islice(batches, config.accumulation), window, with_norms=will_log)
            loop.step += 1
            if self.frm_parameters and loop.step % config.frm_every == 0:
                window.frm_loss = self.update_frm()
            evaluated = self._after_step(window, will_log)
            stops = evaluated and self._stops_early()
        self._finish()

    def _batches(
        self, faces: dataset.TrainingFaces, *, start: int, most_workers: int = loading.WORKERS_OF_GPU
    ) -> Iterator[Batch]:
        """Load this process's micro-batches, on the device, of step `start` and of those after it."""
        config, device, first = self.config, self.loop.accelerator.device, self.loop.accelerator.process_index
        loaded = faces.batches(
            config.batch_size,
            start=start,
            parts=self.shares,
            mine=range(first * config.accumulation, (first + 1) * config.accumulation),
            workers=min(most_workers, loading.worker_count(config.workers, device, on_cpu=0)),
            device=device,
        )
        return (batch.to(device) for batch in loaded)

    def tune(self, batches: Iterable[Batch], window: Window, *, with_norms: bool) -> None:
        """Take one optimizer step on Eq. 6. batches: this process's micro-batches of the step, on the device."""
        # With checkpointing the backward pass recomputes the reward model, so its frozen state must last until then.
        with self._frm_frozen():
            for number, batch in enumerate(batches):
                found = self.gradients(batch, with_norms=with_norms and number == 0)
                # One transfer from the device for all values.
                loss, *values = torch.stack([found.loss, *found.terms.values()]).cpu()
                self.loop.require_finite(loss)
                found.apply()
                window.norms |= found.norms
                terms = dict(zip(found.terms, map(float, values), strict=True))
                window.add(float(loss), terms, faces=len(batch.faces))
        average_gradients(self.loop.accelerator, self.parameters)
        self.loop.require_finite_gradients(self.parameters)
        self.states.before_update()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def gradients(self, batch: Batch, *, with_norms: bool = False) -> Gradients:
        """Compute the terms of Eq. 6 with a nonzero weight and their gradients for a micro-batch."""
        config, photographs = self.config, batch.hq
        with self.loop.accelerator.autocast():
            trajectory = self.policy.trajectory(
                batch.lq, self.prompts(batch.faces), Noise(batch.seeds), backprop_steps=config.backprop_steps
            )
        of_image: dict[str, OfImage] = {}
        if config.lambda_reward:
            of_image["reward"] = lambda images: losses.reward_loss(self._score(images, self._captions(batch)))
        if lpips := self.lpips:
            of_image["lpips"] = lambda images: losses.perceptual_loss(lpips, images, photographs)
        if config.lambda_dwt:
            of_image["dwt"] = lambda images: losses.structure_loss(
                images, photographs, config.wavelet, config.wavelet_levels
            )
        return differentiate(
            trajectory.latents,
            self._decode,
            of_image,
            {"reg": self.regularisation(trajectory)} if config.lambda_reg else {},
            self.parameters,
            weights={name: self.weight(name) for name in TERMS},
            share=1 / config.accumulation,
            with_norms=with_norms,
        )

    def _decode(self, latents: Tensor) -> Tensor:
        with self.loop.accelerator.autocast():
            return self.policy.decode(latents)

    def _score(self, images: Tensor, captions: list[str]) -> Tensor:
        with self.loop.accelerator.autocast():
            return self.frm.score(images, captions).float()

    def regularisation(self, trajectory: Trajectory) -> Tensor:
        """Return the distance from the base (Eq. 5), a scalar, in the variant `--reg`.

        `gauss_l2` and `softmax_kl` compare the trained weights with their initial values; `eps` compares the predicted
        noise, `residual` (the default) the tuned module's outputs, and `output` the restored image of a base without
        steps, as a mean over the steps with a gradient.
        """
        policy, reg = self.policy, self.config.reg
        if reg in ("gauss_l2", "softmax_kl"):
            distance = losses.gaussian_kl if reg == "gauss_l2" else losses.softmax_kl
            trainable, base = policy.trainable(), policy.base_on_device()
            return distance(trainable.values(), [base[name] for name in trainable])
        with self.loop.accelerator.autocast():
            if reg == "eps":
                frozen = [policy.frozen_epsilon(call) for call in trajectory.calls]
                return losses.output_distance([call.noise for call in trajectory.calls], frozen)
            distance_of = losses.output_distance if reg == "output" else losses.residual_distance
            each = [distance_of(call.outputs, policy.frozen_outputs(call)) for call in trajectory.calls]
        return torch.stack(each).mean()

    def update_frm(self) -> float:
        """Train the reward model (Eq. 7, 8) on new restorations and their photographs. Return the loss."""
        total = 0.0
        for part in islice(self.frm_batches, self.config.accumulation):
            with self.loop.accelerator.autocast():
                # What the reward sees, so that it also learns about errors that post-processing would hide.
                restored = self.policy.generate(part.lq, self.prompts(part.faces), part.seeds)
                captions = self._captions(part)
                both = self.frm.score(torch.cat([part.hq, restored.float()]), captions * 2)
            preferred, other = both.float().chunk(2)
            loss = losses.frm_loss(preferred, other, self.frm.scale)
            self.loop.require_finite(loss)
            (loss / self.config.accumulation).backward()
            total += loss.item() / self.config.accumulation
        average_gradients(self.loop.accelerator, self.frm_parameters)
        self.loop.require_finite_gradients(self.frm_parameters)
        self.frm_optimizer.step()
        self.frm_optimizer.zero_grad(set_to_none=True)
        self.frm.clamp_scale()
        return total

    def weight(self, term: str) -> float:
        weight: float = getattr(self.config, f"lambda_{term}")
        return weight

    def _captions(self, batch: Batch) -> list[str]:
        return ["" if self.null_text else caption for caption in batch.captions]

    @contextmanager
    def _frm_frozen(self) -> Iterator[None]:
        """Disable gradients of the reward model's weights to save memory."""
        for parameter in self.frm_parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.frm_parameters:
                parameter.requires_grad_(True)

    def _after_step(self, window: Window, will_log: bool) -> bool:
        """Log, evaluate and save if due. Return whether the held-out faces were evaluated."""
        loop, config = self.loop, self.config
        is_last = loop.step == config.iterations
        evaluates = loop.step % config.evaluate_every == 0 or is_last
        if loop.is_main and will_log:
            self._log(window)
        restored = self._restore_monitored() if evaluates else None
        if loop.is_main and restored is not None:
            self.evaluate(restored)
        loop.show(loss=window.last_loss, reward=window.last_reward)
        return evaluates

    def _log(self, window: Window) -> None:
        point = window.close(self.loop.step, processes=self.loop.accelerator.num_processes)
        self.loop.rate = point.rate
        self.loop.run.append(point)
        self.loop.tensorboard({"loss": point.loss, "reward": point.reward, "frm_loss": point.frm_loss})
        for name, term in (point.terms or {}).items():
            self.loop.tensorboard({f"{name}/value": term.value, f"{name}/gradient": term.gradient})

    def evaluate(self, restored: Tensor) -> None:
        """Evaluate the restored monitoring faces, and the reward model's agreement with people."""
        loop = self.loop
        now = self.monitor.measure(restored, self.frm)
        # The reward model has changed, so the current one must score the base's images again.
        before = self.base_values | {"reward": self.monitor.rewards(self.base_images, self.frm)}
        figures = means(now)
        point = HeldOutPoint(step=loop.step, held_out=dict(figures))
        if loop.step:
            self.monitor.save_pictures(restored, f"{loop.step:06}")
            differences = paired_changes(now, before)
            changes = {name: Change(**difference) for name, difference in differences.items()}
            raised = alarms(differences)
            point = msgspec.structs.replace(point, against_start=changes, alarms=raised)
            if not raised and self.config.early_stop:
                tuned_weights.save(self.policy, self._weights_before_alarm())
        loop.run.append(point)
        loop.tensorboard({f"held out/{name}": value for name, value in figures.items()})
        if self.gold and self.config.lambda_reward:
            shares = margins.agreement_by_stratum(
                self.frm, self.gold, self.gold_images, null_text=self.null_text, on_batch=loop.heartbeat
            )
            loop.run.append(GoldPoint(step=loop.step, gold=shares))
            loop.tensorboard({f"gold agreement/{stratum}": share.agreement for stratum, share in shares.items()})

    def _stops_early(self) -> bool:
        """Return whether to stop early. The main process decides for all."""
        patience, stops = self.config.early_stop, False
        if patience and self.loop.is_main:
            points = self.loop.run.points_of(HeldOutPoint)
            alarmed = [bool(point.alarms) for point in points if point.alarms is not None]
            stops = len(alarmed) >= patience and all(alarmed[-patience:])
        stopping = torch.tensor(float(stops), device=self.loop.accelerator.device)
        return bool(self.loop.accelerator.reduce(stopping, "sum"))

    def _weights_before_alarm(self) -> Path:
        """Return the folder with the weights of the last evaluation without an alarm."""
        return self.loop.run.folder / "good"

    def _finish(self) -> None:
        loop = self.loop
        self.states.at_the_end()
        loop.accelerator.wait_for_everyone()
        if loop.is_main:
            note = ""
            if loop.step < self.config.iterations:
                note = f"Stopped early at step {loop.step}: {self.config.early_stop} alarms in a row."
                if self._weights_before_alarm().exists():
                    tuned_weights.load(self.policy, self._weights_before_alarm())
                    note += " The weights are from the last evaluation without an alarm."
                else:
                    self.policy.interpolate(0)
                    note += " Every evaluation raised an alarm, so the weights are the base's."
            tuned_weights.save(self.policy, loop.run.model, card=model_card.write(loop.run, note))
            if self.frm_parameters:
                model.save(self.frm, loop.run.folder / "frm", card=model_card.write_reward_model(loop.run))
            loop.finish(note)
        loop.accelerator.end_training()
