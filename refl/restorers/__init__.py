"""Restorers, which turn a low-quality face into a candidate. Only opening one imports torch."""

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
            title="Lanczos enlargement x4 (baseline: the same information the x4 networks get)",
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
    """Load a restorer.

    name: a key of `RESTORERS`; or a run of kind base or refl in `run_root`, with `@0.5` appended for the dial
    between base and tuned; or any new name together with `weights`, a checkpoint of a network that
    spandrel recognises (GFPGAN, CodeFormer, RestoreFormer, SwinIR, ...; see refl.restorers.spandrel_restorer).
    weights: a file to use instead of the entry's own. Raises `UnknownRestorerError`,
    rewardlab.assets.MissingAsset, FileNotFoundError, or `WeightsError` for a file that does not fit.
    """
    spec = RESTORERS.get(name)
    if spec is None and weights is None and run_root is not None and (found := _run_of(name, run_root)):
        from refl.restorers.policy_restorer import PolicyRestorer

        run, dial = found
        return PolicyRestorer(run, dial=dial, device=device)
    if spec is None and weights is None:
        raise UnknownRestorerError(
            f"there is no restorer {name!r}. Known are: {', '.join(RESTORERS)}, and the runs of "
            f"train_base and refl. For another one (GFPGAN, "
            f"CodeFormer, RestoreFormer, SwinIR, ...) download its checkpoint and pass the file with --weights PATH."
        )
    if spec is not None and spec.kind == "classical":
        if weights is not None:
            raise WeightsError(f"{name} is a formula without weights: omit {weights}")
        from refl.restorers.classical import LanczosRestorer

        return LanczosRestorer(spec)

    from refl.restorers.spandrel_restorer import CheckpointRestorer

    if weights is not None:
        path = Path(weights)
        own = RestorerSpec(name, "network", f"{name} ({path.name})", "as its authors state", weights=path)
        return CheckpointRestorer(own, path, device)
    if spec is None or spec.asset is None:
        raise WeightsError(f"{name} has no default weights: pass the file with --weights PATH")
    return CheckpointRestorer(spec, assets.find(spec.asset), device)


def _run_of(name: str, run_root: Path) -> tuple[Run, float] | None:
    """Return the run of `name` or `name@dial`, if it exists."""
    stem, at, dial = name.partition("@")
    try:
        run, share = open_run(run_root, stem), float(dial) if at else 1.0
    except ValueError:
        return None
    if not run.exists():
        return None
    if not 0 <= share <= 1:
        raise UnknownRestorerError(f"{name}: the dial must be from 0 (the base) to 1 (the tuned restorer).")
    return run, share
