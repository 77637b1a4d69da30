"""Runs of reward feedback learning in the folder that `restorers.make_world` fills."""

import shutil

from refl import prepare
from refl.configs import ReflConfig
from refl.train_refl import train
from rewardlab.training import runs
from rewardlab.training.run_schema import ReflPoint


def fast_config() -> ReflConfig:
    """Return a fast configuration, without LPIPS, whose VGG is slow. The multi-step base runs t = 41, 21, 1."""
    return ReflConfig(
        base="compact", iterations=3, learning_rate=1e-3, batch_size=2, accumulation=1, steps=50, eta=0.0,
        lambda_reward=0.1, lambda_lpips=0.0, lambda_reg=0.1, reg="eps", frm_every=1, frm_learning_rate=1e-4,
        checkpointing=False, log_every=1, evaluate_every=3, save_every=1, held_out=2,
    )  # fmt: skip


def prepared(
    place, config, name: str, base: str | None = "one-step", judge: str | None = "judge", frm: str = "frm", files=None
) -> runs.Run:
    run = runs.open_run(place / "runs", name)
    run.remove()
    run.folder.mkdir(parents=True)
    shutil.copy(place / "faces.jsonl", run.faces)
    sources = {
        role: runs.open_run(place / "runs", which) if which else None
        for role, which in {"frm": frm, "judge": judge, "base": base}.items()
    }
    prepare.prepare(run, config, prepare.Sources(**sources, **(files or {})), images=place / "images")
    return run


def tuned(place, config, name: str, **options) -> runs.Run:
    run = prepared(place, config, name, **options)
    train(run, images=place / "images", device="cpu")
    return run


def losses_of(run) -> list[float]:
    return [point.loss for point in run.points_of(ReflPoint)]


def names_of(module) -> set[str]:
    return {name for name, value in module.named_parameters() if value.requires_grad}
