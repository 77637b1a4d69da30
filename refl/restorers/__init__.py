"""Restorers, which turn a low-quality face into a candidate. torch is imported only when one is opened."""

from pathlib import Path

from refl.errors import UnknownRestorerError, WeightsError
from refl.restorers.spec import Restorer, RestorerSpec
from rewardlab import assets
from rewardlab.training.runs import Run, open_run

__all__ = ["RESTORERS", "Restorer", "RestorerSpec", "UnknownRestorerError", "WeightsError", "open_restorer"]

RESTORERS = {
    spec.name: spec
    for spec in (
        RestorerSpec(
            name="lanczos",
            kind="classical",
            title="Lanczos upscaling x4 (baseline with the same input as the x4 networks)",
            licence="none needed",
            scale=4,
        ),
        RestorerSpec(
            name="dat-light",
            kind="network",
            title="DAT-light x4 (Dual Aggregation Transformer, trained on clean bicubic images)",
            licence=assets.ASSETS["dat-light-x4"].licence,
            asset="dat-light-x4",
            scale=4,
        ),
        RestorerSpec(
            name="realesrgan-x4plus",
            kind="network",
            title="Real-ESRGAN x4plus (RRDBNet, trained on synthetic degradations)",
            licence=assets.ASSETS["realesrgan-x4plus"].licence,
            asset="realesrgan-x4plus",
            scale=4,
        ),
    )
}


def open_restorer(
    name: str, weights: str | Path | None = None, device: str = "cpu", *, run_root: Path | None = None
) -> Restorer:
    """Open a restorer.

    name: a key of `RESTORERS`; or a run of kind base or refl in `run_root`, where `RUN@0.5` interpolates halfway
    between the base and the tuned restorer; or any new name together with `weights`, a checkpoint of a network that
    spandrel recognises (GFPGAN, CodeFormer, RestoreFormer, SwinIR, ...; see refl.restorers.spandrel_restorer).
    weights: a file that replaces the entry's default weights. Raises `UnknownRestorerError`,
    rewardlab.assets.MissingAsset, FileNotFoundError, or `WeightsError` for a file that does not fit.
    """
    spec = RESTORERS.get(name)
    if spec is None and weights is None and run_root is not None and (found := _run_of(name, run_root)):
        from refl.restorers.policy_restorer import PolicyRestorer

        run, share = found
        return PolicyRestorer(run, share=share, device=device)
    if spec is None and weights is None:
        raise UnknownRestorerError(
            f"unknown restorer {name!r}. Choose from {', '.join(RESTORERS)} and the runs of train_base and refl. To "
            f"use another network (GFPGAN, CodeFormer, RestoreFormer, SwinIR, ...), download its checkpoint and pass "
            f"it with --weights PATH."
        )
    if spec is not None and spec.kind == "classical":
        if weights is not None:
            raise WeightsError(f"{name} does not use weights. Omit {weights}.")
        from refl.restorers.classical import LanczosRestorer

        return LanczosRestorer(spec)

    from refl.restorers.spandrel_restorer import CheckpointRestorer

    if weights is not None:
        path = Path(weights)
        own = RestorerSpec(name, "network", f"{name} ({path.name})", "see its authors", weights=path)
        return CheckpointRestorer(own, path, device)
    if spec is None or spec.asset is None:
        raise WeightsError(f"{name} has no default weights. Pass a file with --weights PATH.")
    return CheckpointRestorer(spec, assets.find(spec.asset), device)


def _run_of(name: str, run_root: Path) -> tuple[Run, float] | None:
    """Return the run and the share of `RUN` or `RUN@SHARE`, if the run exists."""
    stem, at, number = name.partition("@")
    try:
        run, share = open_run(run_root, stem), float(number) if at else 1.0
    except ValueError:
        return None
    if not run.exists():
        return None
    if not 0 <= share <= 1:
        raise UnknownRestorerError(f"{name}: the share after @ must be from 0 (the base) to 1 (the tuned restorer).")
    return run, share
