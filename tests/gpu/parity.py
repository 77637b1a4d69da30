"""Compare every loss and one step of every training on the device with the CPU in float32.

Errors are ||found - expected|| / ||expected|| over all entries. Bounds: FP32 for losses, steps and their gradients in
float32 without TF32; FP64 for losses in float64; BF16 for steps in bf16 (autocast, as in the trainers), which is twice
the observed rounding error of these deep networks. By default torch also lets convolutions in float32 use TF32; that
row is reported without a bound. On a CPU the rows in full precision repeat the same computation, so only bf16 differs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from refl import losses
from refl.policies.policy import Policy
from refl.window import Window
from rewardlab import manifest
from rewardlab.metrics.perceptual import Lpips
from rewardlab.reward_model import batches
from rewardlab.reward_model.losses import pair_logits, preference_losses
from rewardlab.reward_model.model import Preprocess
from tests.bench.refl_parts import Bench
from tests.gpu.reward import FrmBench, frm_config
from tests.gpu.session import Session, reset_accelerate
from tests.support import preferences, random_networks

# bf16: weights of frozen networks are rounded too.
FP64, FP32, BF16 = 1e-9, 1e-4, {"loss": 0.03, "gradient": 0.2}
# Rounding can change the pixel that max-pooling selects, so in float32 only the loss is checked, not the gradient.
UNSTABLE_GRADIENT = "Eq. 3, LPIPS (VGG-16)"
POLICIES = ("compact one-step", "compact multi-step", "OSEDiff, tiny layout", "DiffBIR, tiny layout")
FACES = 2


@dataclass(frozen=True)
class Outcome:
    """Losses by name, and by the same names the gradients of the trained parameters."""

    values: dict[str, float]
    gradients: dict[str, list[Tensor]]


def parity(session: Session) -> None:
    with tf32(False):
        for name, inputs, function in losses_to_compare():
            _compare_loss(session, name, inputs, function, torch.float64)
            _compare_loss(session, name, inputs, function, torch.float32)
    for name in ("reward model", *POLICIES):
        expected = step(session, name, "cpu", "no")
        _compare_step(session, name, "fp32", expected, tf32_allowed=False)
        if session.on_gpu:
            _compare_step(session, name, "fp32 with TF32 convolutions", expected, tf32_allowed=True)
        _compare_step(session, name, "bf16", expected, tf32_allowed=True)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Set whether convolutions in float32 may round their inputs to TF32 (torch's default: yes)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def error(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    found, expected = (
        torch.cat([tensor.detach().double().cpu().flatten() for tensor in each]) for each in (found, expected)
    )
    return float((found - expected).norm() / expected.norm())


# Losses

Loss = Callable[..., Tensor]


def losses_to_compare() -> Iterator[tuple[str, list[Tensor], Loss]]:
    """Yield names, inputs with a gradient, and functions of them that run on their device."""
    drawn = torch.Generator().manual_seed(0)

    def noise(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=drawn)

    photographs = torch.rand(2, 3, 64, 64, generator=drawn)
    restored = photographs + noise(2, 3, 64, 64, scale=0.2)
    network = deepcopy(_lpips())
    yield "Eq. 2, reward", [noise(8)], losses.reward_loss
    yield (
        UNSTABLE_GRADIENT,
        [restored],
        lambda images: losses.perceptual_loss(network.to(images), images, photographs.to(images)),
    )
    for wavelet in ("haar", "dual-tree"):
        try:
            losses.low_pass(photographs, wavelet, 3)
        except ValueError:
            continue  # the package is optional
        yield (
            f"Eq. 4, {wavelet}",
            [restored],
            lambda images, wavelet=wavelet: losses.structure_loss(images, photographs.to(images), wavelet),
        )
    tuned, frozen = ([noise(2, 16, 8, 8), noise(2, 32, 4, 4)] for _ in range(2))
    for name, distance in (
        ("residual", losses.residual_distance),
        ("eps", losses.output_distance),
        ("gauss_l2", losses.gaussian_kl),
        ("softmax_kl", losses.softmax_kl),
    ):
        yield (
            f"Eq. 5, {name}",
            tuned,
            lambda *given, distance=distance: distance(given, [each.to(given[0]) for each in frozen]),
        )
    yield "Eq. 7 and 8, reward model's update", [noise(8), noise(8)], lambda hq, lq: losses.frm_loss(hq, lq, 100.0)
    rows = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 3, 2, 3]), torch.tensor([0, 0, 1, 1])
    labels = torch.tensor([1.0, 0.75, 0.0, 0.5])

    def preference(images: Tensor, texts: Tensor) -> Tensor:
        first, second, text = (each.to(images.device) for each in rows)
        logits = pair_logits(images, texts, first, second, text, images.new_tensor(10.0))
        return preference_losses(logits, labels.to(images)).mean()

    yield "App. A.2, preference", [noise(4, 32), noise(2, 32)], preference
    yield "HPSv2's preprocessing, mean square", [restored], lambda images: Preprocess(size=48)(images).square().mean()


def _compare_loss(session: Session, name: str, inputs: Sequence[Tensor], function: Loss, kind: torch.dtype) -> None:
    outcomes = []
    for device in ("cpu", session.device):
        given = [each.detach().to(device, kind, copy=True).requires_grad_() for each in inputs]
        value = function(*given)
        outcomes.append((value, torch.autograd.grad(value, given)))
    (expected, expected_gradients), (found, gradients) = outcomes
    errors = {"loss": error([found], [expected]), "gradient": error(gradients, expected_gradients)}
    bound = FP64 if kind == torch.float64 else FP32
    checked = ["loss"] if (name, kind) == (UNSTABLE_GRADIENT, torch.float32) else list(errors)
    cells = {"loss": name, "precision": str(kind).removeprefix("torch."), "value": found.item(), **_columns(errors)}
    session.check("Losses", all(errors[part] <= bound for part in checked), **cells, bound=bound)


def _columns(errors: dict[str, float]) -> dict[str, float]:
    return {f"{name} error": value for name, value in errors.items()}


# Steps


def _compare_step(session: Session, name: str, precision: str, expected: Outcome, *, tf32_allowed: bool) -> None:
    with tf32(tf32_allowed):
        found = step(session, name, session.device, "bf16" if precision == "bf16" else "no")
    for part, value in found.values.items():
        errors = {
            "loss": abs(value - expected.values[part]) / abs(expected.values[part]),
            "gradient": error(found.gradients[part], expected.gradients[part]),
        }
        cells: dict[str, Any] = {"step": name, "of": part, "precision": precision, "value": value, **_columns(errors)}
        if precision == "fp32":
            session.check("Steps", all(each <= FP32 for each in errors.values()), **cells, bound=FP32)
        elif precision == "bf16":
            holds = all(errors[kind] <= bound for kind, bound in BF16.items())
            session.check("Steps", holds, **cells, bound=f"{BF16['loss']} / {BF16['gradient']}")
        else:
            session.row("Steps", **cells)


def step(session: Session, name: str, device: str, mixed_precision: str) -> Outcome:
    """Take one optimizer step. Return the losses and the gradients that the optimizer received."""
    reset_accelerate()
    if name == "reward model":
        return _reward_step(session, device, mixed_precision)
    return outcome(open_bench(session, name, device, mixed_precision))


def open_bench(session: Session, name: str, device: str, mixed_precision: str, *, lower: bool = True) -> Bench:
    return Bench(
        _policy(session, name),
        random_networks.reward_model("cpu", tiny=True),
        _lpips(),
        random_networks.refl_config(
            {"O": "osediff", "D": "diffbir"}.get(name[0], "compact"), tiny=True, batch_size=FACES, accumulation=1
        ),
        device,
        mixed_precision=mixed_precision,
        lower=lower,
    )


def outcome(bench: Bench) -> Outcome:
    """Take a step of the restorer and an update of the reward model."""
    policy_gradients, frm_gradients = _record_gradients(bench.optimizer), _record_gradients(bench.frm_optimizer)
    window = Window()
    bench.step(window, with_norms=True)
    bench.loop.step = bench.config.frm_every
    frm_loss = bench.update()
    return Outcome(
        {"Eq. 6": sum(window.losses) / len(window.losses), "reward model's update": frm_loss},
        {"Eq. 6": policy_gradients, "reward model's update": frm_gradients},
    )


def _reward_step(session: Session, device: str, mixed_precision: str) -> Outcome:
    folder = session.scratch / "preferences"
    if not folder.exists():
        preferences.write_preferences(folder, train=4, gold=0, pictures=random_networks.pictures(4, 64))
    groups = batches.group_by_face(manifest.read(folder / "manifest.jsonl")[1])
    bench = FrmBench(
        random_networks.reward_model("cpu", tiny=True),
        groups,
        folder / "images",
        frm_config(tiny=True, iterations=1, workers=0),
        device,
        mixed_precision=mixed_precision,
        folder=session.scratch / "run",
    )
    gradients = _record_gradients(bench.optimizer)
    bench.run_to_end()
    return Outcome({"App. A.2": bench.losses[0]}, {"App. A.2": gradients})


@cache
def _lpips() -> Lpips:
    """Create LPIPS once, as its random trunk takes seconds."""
    return random_networks.lpips("cpu")


def _policy(session: Session, name: str) -> Policy:
    if name.startswith("compact"):
        variant = "multi-step" if "multi" in name else "one-step"
        return random_networks.compact_policy(variant, session.scratch / name, channels=(32, 48))
    return random_networks.policy("osediff" if name.startswith("OSEDiff") else "diffbir", "cpu", tiny=True)


def _record_gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return a list that will receive the gradients of the optimizer's next steps."""
    recorded: list[Tensor] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        recorded.extend(
            torch.zeros_like(each) if each.grad is None else each.grad.detach().clone() for each in parameters
        )

    optimizer.register_step_pre_hook(record)
    return recorded
