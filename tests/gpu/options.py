"""Each option of a tuning on and off: a step on the device agrees with the CPU in float32, whatever is on.

The step is that of parity.py, on the tiny layout of DiffBIR. Conversions are those of dtype that torch dispatches in
it; on a GPU each is a kernel that the host must launch. Times at the published sizes are in the stages "variants".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rewardlab.training import acceleration
from tests.bench.refl_parts import Bench
from tests.gpu import parity
from tests.gpu.session import Session, reset_accelerate
from tests.support.dispatched import Dispatched

NAME = "DiffBIR, tiny layout"
TF32 = {"loss": 0.01, "gradient": 0.05}  # gradients differed by up to 1% on an H200
EXACT = {"loss": parity.FP32, "gradient": parity.FP32}
STEPS = 3  # denoising steps


@dataclass(frozen=True)
class Option:
    """bound: of the errors against the CPU in float32. change: of a bench before its step."""

    name: str
    bound: dict[str, float]
    precision: str = "no"
    lower: bool = True
    change: Callable[[Session, Bench], None] = lambda session, bench: None


def _channels_last(session: Session, bench: Bench) -> None:
    for network in (bench.policy, bench.frm, bench.lpips):
        network.to(memory_format=torch.channels_last)


def _compile(session: Session, bench: Bench) -> None:
    # On the CPU one block with a backend that needs no C++ compiler.
    acceleration.compile_blocks(bench.policy, **({} if session.on_gpu else {"backend": "aot_eager", "most": 1}))


def _frugal(session: Session, bench: Bench) -> None:
    bench.config = bench.base_config.__class__(**{**bench.base_config.__dict__, "memory": "frugal"}).divided(1)
    bench.shares = bench.config.accumulation
    bench._checkpoint(True)


OPTIONS = (
    Option("none", EXACT),
    Option("--channels-last", EXACT, change=_channels_last),
    Option("--compile", EXACT, change=_compile),
    Option("--memory frugal", EXACT, change=_frugal),
    Option("--tf32", TF32, change=lambda session, bench: acceleration.allow_tf32(True)),
    Option("bf16, frozen networks cast by autocast", parity.BF16, precision="bf16", lower=False),
    Option("bf16, frozen networks stored in bf16", parity.BF16, precision="bf16"),
    Option("bf16 and all options", parity.BF16, precision="bf16", change=lambda session, bench: [
        each(session, bench) for each in (_channels_last, _compile, _frugal)
    ]),
)  # fmt: skip


def options(session: Session) -> None:
    expected, _ = _measured(session, Option("", EXACT), "cpu")
    for option in OPTIONS:
        with parity.tf32(option.bound is not EXACT):
            found, conversions = _measured(session, option, session.device)
        acceleration.allow_tf32(False)
        for part, value in found.values.items():
            errors = {
                "loss": abs(value - expected.values[part]) / abs(expected.values[part]),
                "gradient": parity.error(found.gradients[part], expected.gradients[part]),
            }
            session.check(
                "Options", all(errors[kind] <= bound for kind, bound in option.bound.items()), option=option.name,
                of=part, value=value, **{f"{kind} error": each for kind, each in errors.items()},
                bound=f"{option.bound['loss']:.2g} / {option.bound['gradient']:.2g}", conversions=conversions,
            )  # fmt: skip


def _measured(session: Session, option: Option, device: str) -> tuple[parity.Outcome, int]:
    """Return the outcome of a step and an update, and the conversions in both."""
    reset_accelerate()
    bench = parity.open_bench(session, NAME, device, option.precision, lower=option.lower)
    bench.policy.steps = STEPS
    option.change(session, bench)
    with Dispatched() as dispatched:
        outcome = parity.outcome(bench)
    return outcome, dispatched.conversions
