"""Restorers: what turns a low-quality face into a candidate. Only opening one loads torch."""

from pathlib import Path

from refl.restorers.spec import Restorer, RestorerSpec, UnknownRestorerError, WeightsError
from rewardlab import assets

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


def open_restorer(name: str, weights: str | Path | None = None, device: str = "cpu") -> Restorer:
    """Load a restorer.

    name: a key of `RESTORERS`, or any new name together with `weights`, a checkpoint of a network that
    spandrel recognises (GFPGAN, CodeFormer, RestoreFormer, SwinIR, ...; see refl.restorers.checkpoint).
    weights: a file to use in place of the entry's own. Raises `UnknownRestorerError`,
    rewardlab.assets.MissingAsset, FileNotFoundError, or `WeightsError` for a file that does not fit.
    """
    spec = RESTORERS.get(name)
    if spec is None and weights is None:
        raise UnknownRestorerError(
            f"no restorer is called {name!r}. There are: {', '.join(RESTORERS)}. For another one (GFPGAN, "
            f"CodeFormer, RestoreFormer, SwinIR, ...) fetch its checkpoint and name the file: --weights PATH."
        )
    if spec is not None and spec.kind == "classical":
        if weights is not None:
            raise WeightsError(f"{name} is a formula and takes no weights; leave {weights} out")
        from refl.restorers.classical import LanczosRestorer

        return LanczosRestorer(spec)

    from refl.restorers.checkpoint import CheckpointRestorer

    if weights is not None:
        path = Path(weights)
        own = RestorerSpec(name, "network", f"{name} ({path.name})", "as its authors state", weights=path)
        return CheckpointRestorer(own, path, device)
    if spec is None or spec.asset is None:
        raise WeightsError(f"{name} has no weights of its own: name the file with --weights PATH")
    return CheckpointRestorer(spec, assets.find(spec.asset), device)
