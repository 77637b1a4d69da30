"""What a training of the reward model can be told, and the presets."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


# These change how the result is computed, not what it is: a run may go on with others.
FREE_TO_CHANGE = ("accumulation", "checkpointing", "workers")


@dataclass(frozen=True)
class TrainConfig:
    """The defaults are the paper's where it gives a value, else HPSv2's or ours, as said. See `PRESETS`."""

    backbone: Literal["hpsv2", "compact"] = "hpsv2"
    architecture: str = _option("ViT-H-14", "of the checkpoint: open_clip's name, or a JSON file (A.2)")
    iterations: int = _option(20_000, "optimizer steps (A.2)")
    learning_rate: float = _option(3.3e-6, "of Adam (A.2)")
    image_layers: int = _option(20, "last layers of the image encoder that train (Sec. 3.1)")
    text_layers: int = _option(11, "last layers of the text encoder that train (Sec. 3.1)")
    faces_per_step: int = _option(4, "faces, of six pairs each, an optimizer step (not in the paper; HPSv2: 16 pairs)")
    accumulation: int = _option(1, "micro-batches that a step is divided into, to save memory")
    warmup: int = _option(0, "steps over which the learning rate rises (not in the paper; HPSv2: 500)")
    cosine: bool = _option(False, "let the learning rate fall to 0 along a cosine (not in the paper; HPSv2: yes)")
    mirror: bool = _option(False, "mirror half of the faces, all images of a face alike (ours)")
    weight_ground_truth: float = _option(1.0, "weight of anchored pairs' labels")
    weight_human: float = _option(1.0, "weight of people's labels")
    weight_simulated: float = _option(1.0, "weight of simulated annotators' labels")
    weight_svm: float = _option(1.0, "weight of the SVM's labels")
    human_fraction: float = _option(1.0, "share of human labels kept; the SVM, refitted, gives the others (Table 12)")
    null_text: bool = _option(False, "train without the captions (Table 11)")
    antialias: bool = _option(True, "when images are shrunk; without: HPSv2 as it was before torchvision 0.17")
    precision: Literal["auto", "fp32", "bf16"] = _option("auto", "auto: bf16 where the device has it")
    checkpointing: bool = _option(False, "compute activations again instead of keeping them")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(500, "steps between evaluations on the gold set; nothing is selected by them")
    save_every: int = _option(500, "steps between checkpoints, a multiple of log_every")
    workers: int = _option(-1, "processes that load images; -1: 1 on a CPU, 4 beside a GPU")
    seed: int = 0

    def __post_init__(self) -> None:
        faults = {
            "iterations must be at least 1": self.iterations < 1,
            "faces_per_step and accumulation must be at least 1": min(self.faces_per_step, self.accumulation) < 1,
            "log_every must be at least 1": self.log_every < 1,
            "save_every must be a multiple of log_every": self.log_every > 0 and self.save_every % self.log_every != 0,
            "human_fraction must be above 0 and at most 1": not 0 < self.human_fraction <= 1,
            "learning_rate must be above 0": not 0 < self.learning_rate < math.inf,
            "weights must be finite and not negative": not all(0 <= weight < math.inf for weight in self._weights()),
            "image_layers, text_layers, warmup and seed must not be negative": (
                min(self.image_layers, self.text_layers, self.warmup, self.seed) < 0
            ),
            "workers must be -1 or more": self.workers < -1,
        }
        for fault, holds in faults.items():
            if holds:
                raise ValueError(fault)

    def _weights(self) -> tuple[float, ...]:
        return self.weight_ground_truth, self.weight_human, self.weight_simulated, self.weight_svm

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        falling = (1 + math.cos(math.pi * step / self.iterations)) / 2 if self.cosine else 1.0
        return self.learning_rate * rising * falling


PRESETS = {
    "hpsv2": TrainConfig(),
    # For a few hundred faces on a CPU.
    "compact": TrainConfig(
        backbone="compact",
        architecture="EfficientNet-Lite0 and all-MiniLM-L6-v2",
        iterations=420,
        learning_rate=1e-4,
        image_layers=6,
        text_layers=2,
        faces_per_step=8,
        warmup=20,
        cosine=True,
        mirror=True,
        evaluate_every=60,
        save_every=30,
    ),
}
