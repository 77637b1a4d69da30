"""Options of training commands, derived from the configuration's dataclass; image folders of runs."""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator
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


def default_name(kind: str, config: Any, free: tuple[str, ...]) -> str:
    """Name a run by a hash of its configuration without `free`, so that the same command finds the run again."""
    fixed = {name: value for name, value in asdict(config).items() if name not in free}
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:8]}"


def images_folder(options: dict[str, Any], run: Any) -> Path:
    """Find the image folder.

    In this order: --images, `images` next to the manifest (written by `snapshot --with-images`), the folder recorded
    in the run, the media folder. The media folder is filled from the bucket if images are kept there.
    """
    if options["images"]:
        return Path(options["images"])
    places = [Path(options["manifest"]).parent / "images"] if options.get("manifest") else []
    if run.exists() and (known := run.description().images):
        places.append(Path(known))
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

    known, wanted = run.description().config, asdict(config)
    found = [
        f"{name} {known.get(name)} -> {value}"
        for name, value in wanted.items()
        if known.get(name) != value and name not in free
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
    shutil.rmtree(run.folder)
