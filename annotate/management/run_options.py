"""Options of training commands, derived from the configuration's dataclass; image folders of runs."""

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from annotate.common import image_store

Config = TypeVar("Config")


def add_config_options(parser: CommandParser, config_class: type, *, without: tuple[str, ...]) -> None:
    """Add one option per field of the configuration. An option that is not given defaults to the preset."""
    kinds = get_type_hints(config_class)
    for option in fields(config_class):
        if option.name in without:
            continue
        kind = kinds[option.name]
        default = "" if option.default == "" else f"(default: {_spelled(option.default)})"
        details: dict[str, Any] = {"default": None, "help": f"{option.metadata.get('help', '')} {default}".strip()}
        if kind is bool:
            details["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            details["choices"] = get_args(kind)
        else:
            details["type"] = kind
        parser.add_argument(f"--{option.name.replace('_', '-')}", **details)


def _spelled(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def config_from(options: dict[str, Any], preset: Config) -> Config:
    """Return the preset, updated with the given options. Raises `CommandError` for invalid values."""
    given = {name: options[name] for name in asdict(preset) if options.get(name) is not None}  # type: ignore[call-overload]
    try:
        return replace(preset, **given)  # type: ignore[type-var]
    except ValueError as error:
        raise CommandError(f"{error}.") from error


def default_name(kind: str, config: Any, free: tuple[str, ...], datasets: Sequence[str] | None = None) -> str:
    """Name a run by a hash of its configuration without `free`, so that the same command finds the run again.

    datasets: names of the data sets to which the training is limited.
    """
    fixed = {name: value for name, value in asdict(config).items() if name not in free}
    if datasets:
        fixed["datasets"] = sorted(set(datasets))
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:8]}"


def add_run_option(parser: CommandParser) -> None:
    # torchrun takes --run for an abbreviation of its own --run-path, even after the name of the script.
    parser.add_argument(
        "--run", "--run-name", help="name of the run; torchrun: --run-name (default: derived from the configuration)"
    )


def add_continue_option(parser: CommandParser) -> None:
    parser.add_argument(
        "--continue-from",
        metavar="RUN[@STEP]",
        help="start a new run from a saved state of this one, with its models, data and settings, except for the "
        "options given here (default: the newest)",
    )


def add_weights_root_option(parser: CommandParser) -> None:
    parser.add_argument(
        "--weights-root", type=Path, metavar="FOLDER", help="folder with the weights (default: REWARDLAB_WEIGHTS)"
    )


def parent_of(options: dict[str, Any], kind: str, data_options: Iterable[str]) -> Any:
    """Open the state named by --continue-from; None without it. Raises `CommandError`.

    data_options: options that the new run takes from its parent, so they must not be given.
    """
    from rewardlab.training import continued
    from rewardlab.training.runs import RunError

    if not options.get("continue_from"):
        return None
    if given := [f"--{name.replace('_', '-')}" for name in data_options if options.get(name)]:
        raise CommandError(
            f"--continue-from takes models and data from its run. Remove {', '.join(given)}, or start a new run."
        )
    try:
        return continued.open_parent(Path(settings.RUN_ROOT), options["continue_from"], kind=kind)
    except RunError as error:
        raise CommandError(str(error)) from error


def config_of(run_or_parent: Any, config_class: type[Config]) -> Config:
    """Return a stored configuration. Raises `CommandError` for one of another version."""
    try:
        return config_class(**run_or_parent.config)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{run_or_parent} has a configuration that this version cannot read: {error}.") from error


def add_dataset_option(parser: CommandParser, what: str) -> None:
    parser.add_argument(
        "--dataset", nargs="+", metavar="NAME", help=f"only {what} of these data sets (default: of all)"
    )


def require_datasets(names: Sequence[str] | None) -> None:
    """Raise `CommandError` for a data set that is not in the database."""
    from annotate.pipeline.datasets import DatasetError, find_dataset

    try:
        for name in names or ():
            find_dataset(name)
    except DatasetError as error:
        raise CommandError(str(error)) from error


def require_in_file(source: Path, what: str, known: set[str], wanted: Sequence[str]) -> None:
    """Raise `CommandError` for wanted data sets that are not among the `known` ones of a file. what: its rows."""
    if missing := [name for name in wanted if name not in known]:
        named = ", ".join(sorted(name or "without a name" for name in known))
        raise CommandError(f"{source} has no {what} of data set {', '.join(missing)}; it has {named}.")


def other_datasets(found: set[str], wanted: Sequence[str] | None) -> list[str]:
    """List the difference between the data sets of a run and the wanted ones; empty if none are wanted."""
    if not wanted or found == set(wanted):
        return []
    return [f"data sets {', '.join(sorted(found))} -> {', '.join(sorted(set(wanted)))}"]


def images_folder(options: dict[str, Any], run: Any) -> Path:
    """Find the image folder.

    In this order: --images, `images` next to the manifest (written by `snapshot --with-images`), the folder recorded
    in the run, the media folder. The media folder is filled from the bucket if images are kept there.
    """
    if options["images"]:
        return Path(options["images"])
    places = [Path(options["manifest"]).parent / "images"] if options.get("manifest") else []
    if run.exists() and (known := run.images_place()):
        places.append(known)
    media = Path(settings.MEDIA_ROOT)
    folder = next((place for place in places if place.is_dir()), media)
    if folder.resolve() != media.resolve() or image_store.is_local():
        return folder
    return image_store.local_folder(_named_images(run, options.get("manifest")))


def _named_images(run: Any, given: Path | None) -> Iterator[str]:
    """Yield the images that a training reads: those named by the run's manifest and faces, or by a given file."""
    from refl import dataset
    from rewardlab import manifest

    for file in filter(None, (run.manifest, run.faces, given)):
        if not file.exists():
            continue
        if "faces" in file.name:
            yield from (image for face in dataset.read(file)[1] for image in (face.hq, face.lq) if image)
        else:
            yield from (image for row in manifest.read_rows(file) for image in (row.first, row.second))


def differences(run: Any, config: Any, manifest_path: Path | None, free: tuple[str, ...]) -> list[str]:
    """List the differences between a run and this configuration and manifest, except in the fields of `free`."""
    from rewardlab import manifest

    # A run of an earlier version lacks newer options, whose defaults keep what it did.
    known = {option.name: option.default for option in fields(config)} | run.description().config
    found = [
        f"{name} {known[name]} -> {value}"
        for name, value in asdict(config).items()
        if known[name] != value and name not in free
    ]
    if manifest_path:
        ours, theirs = (manifest.read_header(path)["sha256"] for path in (run.manifest, manifest_path))
        if ours != theirs:
            found.append(f"manifest {ours[:12]} -> {theirs[:12]}")
    return found


def remove_unsaved(run: Any, different: list[str]) -> None:
    """Delete a run whose configuration differs, unless it has a checkpoint: then raise `CommandError`."""
    if run.checkpoint.exists():
        raise CommandError(
            f"The run {run.name} exists with another configuration ({'; '.join(different)}). "
            "Choose another name with --run."
        )
    run.remove()
