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

    variant: Literal["one-step", "multi-step"] = _option("one-step", "one step as in OSEDiff, or DDIM as in DiffBIR")
    degradation: Literal["paper", "demo"] = _option("demo", "ranges of Eq. 9, scaled to the image size")
    iterations: int = _option(2000, "optimizer steps")
    learning_rate: float = _option(4e-4, "Adam learning rate; cosine decay to 0")
    batch_size: int = _option(8, "faces per step")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(250, "steps between evaluations on the held-out faces")
    save_every: int = _option(50, "steps between saved states, a multiple of log_every")
    keep_states: int = _option(3, "number of newest states to keep, from which a run can be continued")
    held_out: int = _option(16, "test faces that monitor the training; not used to select anything")
    seed: int = 0

    def __post_init__(self) -> None:
        _refuse(
            {
                "iterations, batch_size, log_every, evaluate_every, held_out and keep_states must be at least 1": min(
                    self.iterations,
                    self.batch_size,
                    self.log_every,
                    self.evaluate_every,
                    self.held_out,
                    self.keep_states,
                )
                < 1,
                "save_every must be a multiple of log_every": self.log_every > 0
                and (self.save_every < 1 or self.save_every % self.log_every != 0),
                "learning_rate must be finite and above 0": not 0 < self.learning_rate < math.inf,
                "seed must not be negative": self.seed < 0,
            }
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: 50 warm-up steps, cosine decay."""
        warm_up = min(1.0, (step + 1) / 50)
        return self.learning_rate * warm_up * (1 + math.cos(math.pi * step / self.iterations)) / 2


FREE_TO_CHANGE_OF_BASE = ("keep_states",)
FIXED_WHEN_CONTINUED_OF_BASE = ("variant", "held_out", "seed")
# Options that do not affect the result: a run may be resumed with different values.
FREE_TO_CHANGE = ("accumulation", "checkpointing", "memory", "workers", "keep_states")
# Options that a tuning continued from another one must share with it: they define its models and its measurements.
FIXED_WHEN_CONTINUED = ("base", "blocks", "frm_update", "prompt", "held_out", "seed")


# Variants of Eq. 5 and blocks to train, by base. Whether a compact base has a ControlNet depends on its variant.
ON_WEIGHTS = ("gauss_l2", "softmax_kl")
REGS = {
    "osediff": ("eps", *ON_WEIGHTS),
    "diffbir": ("residual", "eps", *ON_WEIGHTS),
    "compact": ("eps", "residual", *ON_WEIGHTS),
    "gfpgan": ("output", *ON_WEIGHTS),
    "codeformer": ("output", *ON_WEIGHTS),
    "dr2": ("eps", *ON_WEIGHTS),
}
BLOCKS = {
    "gfpgan": ("modulation", "generator", "encoder"),
    "codeformer": ("fuse", "generator"),
    "dr2": ("decoder", "middle", "encoder"),
}


@dataclass(frozen=True)
class ReflConfig:
    """Reward feedback learning (Sec. 3.3). Defaults are the paper's for DiffBIR (App. B) unless noted."""

    base: Literal["osediff", "diffbir", "gfpgan", "codeformer", "dr2", "compact"] = "diffbir"
    iterations: int = _option(3500, "optimizer steps (the released code; Table 10 goes to 3,000)")
    learning_rate: float = _option(5e-5, "Adam learning rate (App. B)")
    batch_size: int = _option(12, "faces per step (App. B)")
    accumulation: int = _option(12, "micro-batches per step, to save memory")
    backprop_steps: int = _option(1, "N (Table 5): backpropagate through the last N denoising steps; 0: through all")
    steps: int = _option(50, "DDIM steps of the full schedule; 1 for a one-step base")
    eta: float = _option(1.0, "DDIM eta: 0 is deterministic, 1 is ancestral sampling (the released code's inference)")
    lambda_reward: float = _option(0.005, "weight of Eq. 2 (App. B)")
    lambda_lpips: float = _option(0.01, "weight of Eq. 3 (App. B; OSEDiff: .02)")
    lambda_dwt: float = _option(0.01, "weight of Eq. 4 (App. B)")
    lambda_reg: float = _option(1e-4, "weight of Eq. 5 (App. B; OSEDiff: 1)")
    reg: Literal["residual", "eps", "output", "gauss_l2", "softmax_kl"] = _option(
        "residual",
        "variant of Eq. 5: on the ControlNet's residuals (released code), the UNet's output, the restored image of a "
        "base without steps, or the weights",
    )
    blocks: str = _option(
        "", "blocks to train, separated by commas. gfpgan: modulation, generator (both are the default), encoder; "
        "codeformer: fuse, generator (both); dr2: decoder (the default), middle, encoder"
    )  # fmt: skip
    fidelity: float = _option(0.5, "w of codeformer: 0 favours quality, 1 fidelity")
    low_pass: int = _option(8, "N of dr2, the factor of its low-pass filter; 16 for severe degradations")
    tau: int = _option(35, "tau of dr2, the step of 100 whose image is returned")
    wavelet: Literal["haar", "dual-tree"] = _option(
        "dual-tree", "wavelet of Eq. 4: dual-tree as in the released code, whose weight belongs to it, or haar"
    )
    wavelet_levels: int = _option(3, "levels of Eq. 4 (the released code)")
    frm_update: bool = _option(True, "update the reward model while tuning (Eq. 7, 8); off: keep it frozen")
    frm_every: int = _option(10, "n (App. B): steps between updates of the reward model")
    frm_learning_rate: float = _option(3.3e-6, "Adam learning rate of the reward model (A.2)")
    prompt: Literal["empty", "caption", "file"] = _option("empty", "the restorer's prompt (the released code: empty)")
    degradation: Literal["paper", "demo"] = _option("paper", "ranges of Eq. 9 (App. B), scaled to the image size")
    mirror: bool = _option(False, "mirror half of the faces (not in the paper)")
    early_stop: int = _option(
        0, "stop after this many consecutive alarms and keep the weights from before them; 0: never"
    )
    precision: Literal["auto", "fp32", "bf16"] = _option("auto", "auto: bf16 if the device supports it")
    checkpointing: bool = _option(True, "recompute activations instead of storing them")
    memory: Literal["usual", "frugal"] = _option(
        "usual", "frugal: micro-batches of one face, checkpointing, and the judge in host memory between evaluations"
    )
    compile: bool = _option(False, "compile the transformer blocks with torch.compile; the first steps take minutes")
    channels_last: bool = _option(False, "store images and convolutions with the channels last, for a GPU")
    tf32: bool = _option(False, "let matrix products in float32 round to TF32, as torch lets convolutions")
    log_every: int = _option(10, "steps between points of the curve")
    evaluate_every: int = _option(500, "steps between evaluations on the held-out faces and the gold set (Table 10)")
    save_every: int = _option(100, "steps between saved states, a multiple of log_every")
    keep_states: int = _option(3, "number of newest states to keep, from which a run can be continued")
    held_out: int = _option(16, "test faces that monitor the tuning")
    workers: int = _option(-1, "processes that load images; -1: none on a CPU, 4 with a GPU")
    seed: int = 0

    def __post_init__(self) -> None:
        weights = (self.lambda_reward, self.lambda_lpips, self.lambda_dwt, self.lambda_reg)
        counts = {
            name: getattr(self, name)
            for name in (
                "iterations", "batch_size", "accumulation", "steps", "wavelet_levels", "frm_every", "log_every",
                "evaluate_every", "save_every", "held_out", "keep_states",
            )
        }  # fmt: skip
        _refuse(
            {
                **{f"{name} must be at least 1": value < 1 for name, value in counts.items()},
                "save_every must be a multiple of log_every": self.log_every > 0
                and self.save_every % self.log_every != 0,
                "learning rates must be finite and above 0": not (
                    0 < self.learning_rate < math.inf and 0 < self.frm_learning_rate < math.inf
                ),
                "the lambdas must be finite and not negative": not all(0 <= value < math.inf for value in weights),
                "at least one lambda must be above 0": not any(weights),
                "eta must be in [0, 1]": not 0 <= self.eta <= 1,
                "backprop_steps, early_stop and seed must not be negative": (
                    min(self.backprop_steps, self.early_stop, self.seed) < 0
                ),
                "workers must be -1 or more": self.workers < -1,
                "fidelity must be in [0, 1]": not 0 <= self.fidelity <= 1,
                "low_pass must be 1, 2, 4, 8, 16 or 32, and tau in [0, 99]": (
                    self.low_pass not in (1, 2, 4, 8, 16, 32) or not 0 <= self.tau <= 99
                ),
                **self._misfits_of_base(),
            }
        )

    def _misfits_of_base(self) -> dict[str, bool]:
        """Return the settings that the base does not have."""
        regs, blocks = REGS[self.base], BLOCKS.get(self.base, ())
        unknown = [name for name in self.trained_blocks if name not in blocks]
        lacks = "needs a ControlNet, which" if self.reg == "residual" else "is not defined for"
        has_not = f"{self.base} does not have" if self.reg == "residual" else self.base
        return {
            f"reg {self.reg} {lacks} {has_not}: use {' or '.join(regs)}": self.reg not in regs,
            f"blocks {', '.join(unknown)}: {self.base} has {', '.join(blocks) or 'no blocks to choose'}": bool(unknown),
        }

    def divided(self, processes: int) -> "ReflConfig":
        """Return the configuration of these processes: with `memory` frugal, micro-batches of one face."""
        if self.memory == "usual":
            return self
        return replace(self, accumulation=max(1, self.batch_size // processes), checkpointing=True)

    @property
    def trained_blocks(self) -> tuple[str, ...]:
        """The chosen blocks; empty for the base's default."""
        return tuple(name.strip() for name in self.blocks.split(",") if name.strip())


PRESETS = {
    "diffbir": ReflConfig(),
    "osediff": ReflConfig(base="osediff", lambda_lpips=0.02, lambda_reg=1.0, reg="eps", steps=1),
    # Table 15, for which the paper gives no settings. What is trained is part of the network itself, so the learning
    # rate is lower. lambda_reg: a mean change of 3% of the range costs about as much as a reward of .02 gains.
    "gfpgan": ReflConfig(base="gfpgan", learning_rate=1e-5, lambda_reg=0.1, reg="output", steps=1),
    "codeformer": ReflConfig(base="codeformer", learning_rate=1e-5, lambda_reg=0.1, reg="output", steps=1),
    "dr2": ReflConfig(base="dr2", learning_rate=1e-5, lambda_reg=0.1, reg="eps", steps=100),
    # For 128 px faces on a CPU: a LoRA of a one-step base, the ControlNet of a multi-step one.
    "compact": ReflConfig(
        base="compact",
        iterations=150,  # more steps still raise the judge's score, but lose identity
        learning_rate=6e-4,
        batch_size=8,
        accumulation=1,
        steps=100,
        eta=0.0,
        lambda_reward=0.008,
        lambda_lpips=0.02,
        lambda_dwt=2.5,  # a lower weight loses more identity per unit of reward
        lambda_reg=0.01,
        reg="eps",
        wavelet="haar",
        wavelet_levels=1,  # a low-pass band of 64 px, the same as three levels at 512 px
        mirror=True,
        checkpointing=False,
        evaluate_every=50,
        save_every=50,
    ),
}
# Denoising steps of bases with a fixed number, by preset; DiffBIR has `ReflConfig.steps`.
FIXED_STEPS = {"osediff": 1, "gfpgan": 1, "codeformer": 1, "compact": 1, "compact-multi-step": 6}
PRESETS["compact-multi-step"] = replace(PRESETS["compact"], learning_rate=2e-4, lambda_reward=0.02, backprop_steps=0)
