"""Options and presets of reward model training."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


# Options that do not change the result: a run may resume with other values.
FREE_TO_CHANGE = ("accumulation", "checkpointing", "workers", "keep_states")
# Options that a run continued from another one must share with it: they define the model and its data.
FIXED_WHEN_CONTINUED = (
    "backbone", "architecture", "image_layers", "text_layers", "antialias", "null_text", "human_fraction", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """The defaults are the paper's if it gives a value, else HPSv2's or ours, as noted. See `PRESETS`."""

    backbone: Literal["hpsv2", "compact"] = "hpsv2"
    architecture: str = _option("ViT-H-14", "the checkpoint's architecture: open_clip's name, or a JSON file (A.2)")
    iterations: int = _option(20_000, "optimizer steps (A.2)")
    learning_rate: float = _option(3.3e-6, "learning rate of Adam (A.2)")
    image_layers: int = _option(20, "number of last image encoder layers to train (Sec. 3.1)")
    text_layers: int = _option(11, "number of last text encoder layers to train (Sec. 3.1)")
    faces_per_step: int = _option(4, "faces per optimizer step, six pairs each (not in the paper; HPSv2: 16 pairs)")
    accumulation: int = _option(1, "micro-batches per step, to save memory")
    warmup: int = _option(0, "warm-up steps of the learning rate (not in the paper; HPSv2: 500)")
    cosine: bool = _option(False, "cosine decay of the learning rate to 0 (not in the paper; HPSv2: yes)")
    mirror: bool = _option(False, "mirror half of the faces, all images of a face together (ours)")
    weight_ground_truth: float = _option(1.0, "weight of anchored pairs' labels")
    weight_human: float = _option(1.0, "weight of people's labels")
    weight_simulated: float = _option(1.0, "weight of simulated annotators' labels")
    weight_svm: float = _option(1.0, "weight of the SVM's labels")
    human_fraction: float = _option(1.0, "share of human labels to keep; a refitted SVM labels the rest (Table 12)")
    labels: Literal["soft", "hard"] = _option(
        "soft", "soft: the probability of each label; hard: 0 or 1, without ties (the paper; default of hpsv2)"
    )
    null_text: bool = _option(False, "train without the captions (Table 11)")
    antialias: bool = _option(True, "antialias when images are downscaled; off: as HPSv2 before torchvision 0.17")
    precision: Literal["auto", "fp32", "bf16"] = _option("auto", "auto: bf16 if the device supports it")
    checkpointing: bool = _option(False, "recompute activations instead of storing them")
    compile: bool = _option(False, "compile the transformer blocks with torch.compile; the first steps take minutes")
    channels_last: bool = _option(False, "store images and convolutions with the channels last, for a GPU")
    tf32: bool = _option(False, "let matrix products in float32 round to TF32, as torch lets convolutions")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(500, "steps between evaluations on the gold set, which are not used for selection")
    save_every: int = _option(500, "steps between saved states, a multiple of log_every")
    keep_states: int = _option(3, "number of newest states to keep, from which a run can be continued")
    workers: int = _option(-1, "processes that load images; -1: 1 on a CPU, 4 with a GPU")
    cache_gib: float = _option(
        0.0, "most GiB of decoded images, rounded to 8 bits, to keep in the run's folder until it is done; 0: none"
    )
    seed: int = 0

    def __post_init__(self) -> None:
        faults = {
            "iterations must be at least 1": self.iterations < 1,
            "faces_per_step and accumulation must be at least 1": min(self.faces_per_step, self.accumulation) < 1,
            "log_every and keep_states must be at least 1": min(self.log_every, self.keep_states) < 1,
            "save_every must be a multiple of log_every": self.log_every > 0 and self.save_every % self.log_every != 0,
            "human_fraction must be above 0 and at most 1": not 0 < self.human_fraction <= 1,
            "learning_rate must be above 0": not 0 < self.learning_rate < math.inf,
            "weights must be finite and not negative": not all(0 <= weight < math.inf for weight in self._weights()),
            "image_layers, text_layers, warmup and seed must not be negative": (
                min(self.image_layers, self.text_layers, self.warmup, self.seed) < 0
            ),
            "cache_gib must be finite and not negative": not 0 <= self.cache_gib < math.inf,
            "workers must be -1 or more": self.workers < -1,
        }
        for fault, is_present in faults.items():
            if is_present:
                raise ValueError(fault)

    def _weights(self) -> tuple[float, ...]:
        return self.weight_ground_truth, self.weight_human, self.weight_simulated, self.weight_svm

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        falling = (1 + math.cos(math.pi * step / self.iterations)) / 2 if self.cosine else 1.0
        return self.learning_rate * rising * falling


PRESETS = {
    "hpsv2": TrainConfig(labels="hard"),
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
