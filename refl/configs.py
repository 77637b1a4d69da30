"""Configuration of base training and of reward feedback learning."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


def _refuse(faults: dict[str, bool]) -> None:
    for fault, holds in faults.items():
        if holds:
            raise ValueError(fault)


@dataclass(frozen=True)
class BaseConfig:
    """Training of a compact base by Eq. 1 on faces degraded by Eq. 9 (`manage.py train_base`). Not in the paper."""

    variant: Literal["one-step", "multi-step"] = _option("one-step", "OSEDiff's form or DiffBIR's")
    degradation: Literal["paper", "demo"] = _option("demo", "ranges of Eq. 9, scaled to the size")
    iterations: int = _option(2000, "optimizer steps")
    learning_rate: float = _option(4e-4, "of Adam; it falls to 0 along a cosine")
    batch_size: int = _option(8, "faces a step")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(250, "steps between evaluations on the held-out faces")
    save_every: int = _option(50, "steps between checkpoints, a multiple of log_every")
    held_out: int = _option(16, "test faces to look at; nothing is chosen by them")
    seed: int = 0

    def __post_init__(self) -> None:
        _refuse(
            {
                "iterations, batch_size, log_every, evaluate_every and held_out must be at least 1": min(
                    self.iterations, self.batch_size, self.log_every, self.evaluate_every, self.held_out
                )
                < 1,
                "save_every must be a multiple of log_every": self.log_every > 0
                and (self.save_every < 1 or self.save_every % self.log_every != 0),
                "learning_rate must be above 0": not 0 < self.learning_rate < math.inf,
                "seed must not be negative": self.seed < 0,
            }
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / 50)
        return self.learning_rate * rising * (1 + math.cos(math.pi * step / self.iterations)) / 2


# These change how the result is computed, not the result: a run may be resumed with other values.
FREE_TO_CHANGE = ("accumulation", "checkpointing")


@dataclass(frozen=True)
class ReflConfig:
    """Reward feedback learning (Sec. 3.3). The defaults are the paper's for DiffBIR (App. B) unless noted."""

    base: Literal["osediff", "diffbir", "compact"] = "diffbir"
    iterations: int = _option(3500, "optimizer steps (the released code; Table 10 goes to 3,000)")
    learning_rate: float = _option(5e-5, "of Adam (App. B)")
    batch_size: int = _option(12, "faces a step (App. B)")
    accumulation: int = _option(12, "micro-batches that a step is divided into, to save memory")
    backprop_steps: int = _option(1, "last denoising steps that keep their gradient, N (Table 5); 0: all of them")
    steps: int = _option(50, "DDIM steps of the whole schedule; a one-step base has one")
    eta: float = _option(
        1.0, "of DDIM: 0 deterministic, 1 as noisy as ancestral sampling (the released code's inference)"
    )
    lambda_reward: float = _option(0.005, "weight of Eq. 2 (App. B)")
    lambda_lpips: float = _option(0.01, "weight of Eq. 3 (App. B; OSEDiff: .02)")
    lambda_dwt: float = _option(0.01, "weight of Eq. 4 (App. B)")
    lambda_reg: float = _option(1e-4, "weight of Eq. 5 (App. B; OSEDiff: 1)")
    reg: Literal["residual", "eps", "gauss_l2", "softmax_kl"] = _option(
        "residual", "reading of Eq. 5: ControlNet's residuals (released code), UNet's output, or the weights themselves"
    )
    wavelet: Literal["haar", "dual-tree"] = _option("haar", "of Eq. 4 (dual-tree: the released code)")
    wavelet_levels: int = _option(3, "of Eq. 4 (the released code)")
    frm_update: bool = _option(True, "update the reward model while tuning (Eq. 7, 8); without: it is frozen")
    frm_every: int = _option(10, "steps between its updates, n (App. B)")
    frm_learning_rate: float = _option(3.3e-6, "of its Adam (A.2)")
    prompt: Literal["empty", "caption", "file"] = _option("empty", "what the restorer reads (the released code: empty)")
    degradation: Literal["paper", "demo"] = _option("paper", "ranges of Eq. 9 (App. B), scaled to the size")
    mirror: bool = _option(False, "mirror half of the faces (ours)")
    early_stop: int = _option(
        0, "number of consecutive alarms after which to stop, with the weights before them; 0: never"
    )
    precision: Literal["auto", "fp32", "bf16"] = _option("auto", "auto: bf16 where the device has it")
    checkpointing: bool = _option(True, "compute activations again instead of keeping them")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(500, "steps between evaluations on the held-out faces and the gold set (Table 10)")
    save_every: int = _option(100, "steps between checkpoints, a multiple of log_every")
    held_out: int = _option(16, "test faces to look at")
    seed: int = 0

    def __post_init__(self) -> None:
        weights = (self.lambda_reward, self.lambda_lpips, self.lambda_dwt, self.lambda_reg)
        counts = {
            name: getattr(self, name)
            for name in (
                "iterations", "batch_size", "accumulation", "steps", "wavelet_levels", "frm_every", "log_every",
                "evaluate_every", "save_every", "held_out",
            )
        }  # fmt: skip
        _refuse(
            {
                **{f"{name} must be at least 1": value < 1 for name, value in counts.items()},
                "save_every must be a multiple of log_every": self.log_every > 0
                and self.save_every % self.log_every != 0,
                "learning rates must be above 0": not (
                    0 < self.learning_rate < math.inf and 0 < self.frm_learning_rate < math.inf
                ),
                "the lambdas must be finite and not negative": not all(0 <= value < math.inf for value in weights),
                "one of the lambdas must be above 0": not any(weights),
                "eta must be in [0, 1]": not 0 <= self.eta <= 1,
                "backprop_steps, early_stop and seed must not be negative": (
                    min(self.backprop_steps, self.early_stop, self.seed) < 0
                ),
                "reg residual needs a ControlNet, which osediff does not have: use eps": (
                    self.base == "osediff" and self.reg == "residual"
                ),
            }
        )


PRESETS = {
    "diffbir": ReflConfig(),
    "osediff": ReflConfig(base="osediff", lambda_lpips=0.02, lambda_reg=1.0, reg="eps", steps=1),
    # For 128 px faces on a CPU: a LoRA of a one-step base, the ControlNet of a multi-step one.
    "compact": ReflConfig(
        base="compact",
        iterations=150,  # with more steps the judge's score still rises while identity is lost
        learning_rate=6e-4,
        batch_size=8,
        accumulation=1,
        steps=100,
        eta=0.0,
        lambda_reward=0.008,
        lambda_lpips=0.02,
        lambda_dwt=2.5,  # with a lower weight, identity drifts more for each unit of reward
        lambda_reg=0.01,
        reg="eps",
        wavelet_levels=1,  # a band of 64 px, as three levels of 512 px give
        mirror=True,
        checkpointing=False,
        evaluate_every=50,
        save_every=50,
    ),
}
PRESETS["compact-multi-step"] = replace(PRESETS["compact"], learning_rate=2e-4, lambda_reward=0.02, backprop_steps=0)
