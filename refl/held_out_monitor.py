"""Monitor a restorer on fixed held-out faces during training: metrics, pictures, and alarms.

Reward hacking (App. F) means that the reward rises while quality falls. The training reward is therefore compared with
metrics that are not trained on: a second reward model, no-reference quality (NIQE), and identity distance (SFace), each
as a paired difference from the restorer before training.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from refl.dataset import Batch
from refl.policies.policy import Policy
from rewardlab import metrics
from rewardlab.bootstrap import bootstrap_interval, verdict
from rewardlab.files import write_atomic
from rewardlab.images import encode_png, to_arrays
from rewardlab.reward_model.model import FaceRewardModel

METRICS = ("psnr", "lpips", "niqe", "sface")
HIGHER_IS_BETTER = {"judge": True, "niqe": False, "sface": False, "lpips": False, "psnr": True}
ALARM_TEXTS = {
    "judge": "the score of the held-out judge fell",
    "niqe": "NIQE, which is not a training objective, got worse",
    "sface": "the faces lost identity (larger SFace angle)",
}
BATCH_SIZE = 4
PICTURES = 6  # saved faces

Values = dict[str, NDArray[np.float64]]  # metric -> one value per face


class Monitor:
    """Evaluator of a policy on a fixed batch of faces with fixed noise."""

    def __init__(
        self,
        batch: Batch,
        folder: Path,
        *,
        prompts: list[str],
        judge: FaceRewardModel | None = None,
        null_text: bool = False,
        device: torch.device | None = None,
        keep_judge: bool = True,
    ) -> None:
        """folder: where pictures are saved. null_text: score without captions.

        device: of the judge, to which it is moved; keep_judge: leave it there between evaluations.
        """
        self.batch, self.folder, self.prompts, self.judge = batch, folder, prompts, judge
        self.device, self.keep_judge = device or torch.device("cpu"), keep_judge
        self.captions = ["" if null_text else caption for caption in batch.captions]
        self.measures = {name: metrics.load(name) for name in METRICS if metrics.availability(name) is None}

    def save_pictures(self, images: Tensor, name: str) -> None:
        """Save the first faces as PNG files in the subfolder `name`."""
        for number, array in enumerate(to_arrays(images[:PICTURES])):
            write_atomic(self.folder / name / f"{number:02}.png", encode_png(array))

    def save_inputs(self) -> None:
        self.save_pictures(self.batch.lq, "lq")
        self.save_pictures(self.batch.hq, "hq")

    def restore(
        self, policy: Policy, on_batch: Callable[[], None] = lambda: None, accelerator: Accelerator | None = None
    ) -> Tensor:
        """Return the restored faces, (B, 3, S, S) in [0, 1], on the CPU. on_batch: called after each batch.

        accelerator: each of its processes restores some of the batches, in its precision, and returns all faces.
        """
        rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
        restored = torch.zeros_like(self.batch.lq, device=policy.device)
        starts = range(0, len(self.batch.faces), BATCH_SIZE)
        for first in starts[rank::processes]:
            where = slice(first, first + BATCH_SIZE)
            lq = self.batch.lq[where].to(policy.device)
            with accelerator.autocast() if accelerator else nullcontext():
                restored[where] = policy.restore(lq, self.prompts[where], self.batch.seeds[where]).float()
            on_batch()
        if accelerator and processes > 1:
            restored = accelerator.reduce(restored, "sum")  # zeros where another process has the face
        return restored.cpu()

    @torch.no_grad()
    def measure(self, images: Tensor, reward: FaceRewardModel | None = None) -> Values:
        """Return each metric of every face, (F,) each; NaN if undefined.

        images: (F, 3, S, S) in [0, 1]. PSNR is in dB, SFace in degrees, reward and judge are cosines.
        """
        found = {name: _measured(measure, images, self.batch.hq) for name, measure in self.measures.items()}
        if reward is not None:
            found["reward"] = self.rewards(images, reward)
        if self.judge is not None:
            found["judge"] = self.rewards(images, self.judge.to(self.device))
            if not self.keep_judge:
                self.judge.to("cpu")
        return found

    @torch.no_grad()
    def rewards(self, images: Tensor, model: FaceRewardModel) -> NDArray[np.float64]:
        """Score images (F, 3, S, S) in [0, 1] with the captions of their faces: (F,)."""
        return model.score(images, self.captions).double().cpu().numpy()


def _measured(measure: metrics.Measure, images: Tensor, hq: Tensor) -> NDArray[np.float64]:
    try:
        return measure(images, hq).double().numpy()
    except metrics.UndefinedMetric:
        if len(images) == 1:
            return np.array([np.nan])
        # An undefined value must not affect other faces.
        return np.concatenate([_measured(measure, images[[n]], hq[[n]]) for n in range(len(images))])


def means(values: Values) -> dict[str, float]:
    """Return means over the faces with a defined value. Metrics without any are omitted."""
    return {name: float(np.nanmean(each)) for name, each in values.items() if not np.isnan(each).all()}


def paired_changes(now: Values, start: Values) -> dict[str, dict[str, float | None]]:
    """Return paired differences now - start by metric: mean, and low and high of the 95% interval over faces.

    With fewer than `MIN_CLUSTERS` faces low and high are None: they can all change in one direction by chance.
    """
    found: dict[str, dict[str, float | None]] = {}
    for name in now.keys() & start.keys():
        difference = now[name] - start[name]
        difference = difference[~np.isnan(difference)]
        if not len(difference):
            continue
        low, high = bootstrap_interval(difference, np.arange(len(difference)), samples=1000, seed=0)
        found[name] = {"mean": float(difference.mean()), "low": low, "high": high}
    return found


def alarms(differences: dict[str, dict[str, Any]]) -> list[str]:
    """Return a warning for each metric that got significantly worse while the reward got better."""
    reward = differences.get("reward")
    if reward is None or reward["low"] is None or reward["low"] <= 0:
        return []
    return [
        f"Possible reward hacking: the training reward rose by {reward['mean']:.3f}, but {change} "
        f"({differences[name]['mean']:+.3f}, 95% {differences[name]['low']:+.3f} to {differences[name]['high']:+.3f})."
        for name, change in ALARM_TEXTS.items()
        if name in differences and _is_worse(name, differences[name])
    ]


def _is_worse(name: str, difference: dict[str, Any]) -> bool:
    low, high = difference["low"], difference["high"]
    return verdict(low, high, higher_is_better=HIGHER_IS_BETTER[name]) == "worse"
