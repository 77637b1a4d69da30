"""Restorers, which turn a low-quality face into a candidate. torch is imported only when one is opened."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from refl.errors import LicenceError, OptionError, UnknownRestorerError, WeightsError
from refl.restorers.spec import Restorer, RestorerSpec
from refl.restorers.systems import SYSTEMS
from rewardlab import assets
from rewardlab.training.runs import Run, open_run

__all__ = [
    "KNOWN",
    "RESTORERS",
    "SYSTEMS",
    "LicenceError",
    "OptionError",
    "Restorer",
    "RestorerSpec",
    "UnknownRestorerError",
    "WeightsError",
    "open_restorer",
]

# Those of the demo, whose weights are in the packages of requirements-demo.txt.
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
            assets=("dat-light-x4",),
            scale=4,
        ),
        RestorerSpec(
            name="realesrgan-x4plus",
            kind="network",
            title="Real-ESRGAN x4plus (RRDBNet, trained on synthetic degradations)",
            licence=assets.ASSETS["realesrgan-x4plus"].licence,
            assets=("realesrgan-x4plus",),
            scale=4,
        ),
    )
}
KNOWN = RESTORERS | SYSTEMS


def open_restorer(
    name: str,
    weights: str | Path | None = None,
    device: str = "cpu",
    *,
    run_root: Path | None = None,
    options: Mapping[str, str] | None = None,
    prompts: Path | None = None,
    accept_licence: bool = False,
    result: str = "",
) -> Restorer:
    """Open a restorer.

    name: a key of `KNOWN`; or a run of kind base or refl in `run_root`, where `RUN@0.5` interpolates halfway
    between the base and the tuned restorer; or any new name together with `weights`, a checkpoint of a network that
    spandrel recognises (see refl.restorers.spandrel_restorer). weights: a file that replaces the entry's first asset.
    options: texts for the entry's options; the others keep their defaults. prompts: a table of tags for the option
    prompt=file. accept_licence: required by entries that are free for non-commercial use only. result: the name of its
    results, if not `name`.

    Raises `UnknownRestorerError`, `OptionError`, `LicenceError`, rewardlab.assets.MissingAsset, FileNotFoundError,
    `WeightsError` for a file that does not fit, or `DataError` for `prompts`.
    """
    options, path = options or {}, Path(weights) if weights is not None else None
    spec = KNOWN.get(name)
    if spec is None and path is not None:
        spec = RestorerSpec(name, "network", f"{name} ({path.name})", "see its authors")
    found = _run_of(name, run_root) if run_root is not None and path is None else None
    if found and spec:
        raise UnknownRestorerError(
            f"{name} is a published restorer and also a run. For the run, write {name}@1; for the restorer, rename the "
            "run's folder."
        )
    if spec is None:
        if found is None:
            raise _unknown(name)
        if options or prompts or result:
            raise OptionError(f"{name} is a run: it takes no options, and gives its results its own name.")
        from refl.restorers.policy_restorer import PolicyRestorer

        run, share = found
        return PolicyRestorer(run, share=share, device=device)
    values = spec.parse(options)
    if prompts is not None and "prompt" not in values:
        raise OptionError(f"{name} does not use text. Omit {prompts}.")
    if spec.kind == "classical":
        if path is not None:
            raise WeightsError(f"{name} does not use weights. Omit {path}.")
        from refl.restorers.classical import LanczosRestorer

        return LanczosRestorer(replace(spec, name=result or name))
    spec.require_accepted(accept_licence)
    if spec.noncommercial:
        spec = replace(spec, parameters=spec.parameters | {"licence_accepted": True})
    if path is not None and not path.exists():
        raise FileNotFoundError(f"the weights file {path} does not exist")
    if spec.method == "checkpoint" and not spec.base:
        return _open_checkpoint(replace(spec, name=result or name), path, values, device, accept_licence)
    return _open_system(spec, path, values, device, result, prompts)


def _open_system(
    spec: RestorerSpec, path: Path | None, values: dict[str, object], device: str, result: str, prompts: Path | None
) -> Restorer:
    from refl.restorers.system_files import find_files

    files = find_files(spec, path)
    if spec.base:
        from refl.restorers.untuned import UntunedRestorer

        return UntunedRestorer(spec, files, values, device, name=result, prompts=prompts)
    from refl.restorers.network_restorer import NetworkRestorer

    return NetworkRestorer(spec, files, values, device, name=result)


def _open_checkpoint(
    spec: RestorerSpec, path: Path | None, values: dict[str, object], device: str, accept_licence: bool
) -> Restorer:
    from refl.restorers.spandrel_restorer import CheckpointRestorer

    path = path or assets.find(spec.assets[0])
    return CheckpointRestorer(spec, path, device, options=values, accept_licence=accept_licence)


def _unknown(name: str) -> UnknownRestorerError:
    return UnknownRestorerError(
        f"unknown restorer {name!r}. Choose from {', '.join(KNOWN)} and the runs of train_base and refl. To use "
        f"another network (SwinIR, ...), download its checkpoint and pass it with --weights PATH."
    )


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
