"""Options of training commands, derived from the configuration's dataclass, and the folders they work in."""

import argparse
import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

Config = TypeVar("Config")


def add_config_options(parser: CommandParser, config_class: type, *, without: tuple[str, ...]) -> None:
    """One option a field. What is not given comes from the preset."""
    kinds = get_type_hints(config_class)
    for option in fields(config_class):
        if option.name in without:
            continue
        kind = kinds[option.name]
        details: dict[str, Any] = {"default": None, "help": f"{option.metadata.get('help', '')} [{option.default}]"}
        if kind is bool:
            details["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            details["choices"] = get_args(kind)
        else:
            details["type"] = kind
        parser.add_argument(f"--{option.name.replace('_', '-')}", **details)


def config_from(options: dict[str, Any], preset: Config) -> Config:
    """The preset with the options that were given. Raises `CommandError` for values that make no sense."""
    given = {name: options[name] for name in asdict(preset) if options.get(name) is not None}  # type: ignore[call-overload]
    try:
        return replace(preset, **given)  # type: ignore[type-var]
    except ValueError as error:
        raise CommandError(f"{error}.") from error


def default_name(kind: str, config: Any, free: tuple[str, ...]) -> str:
    """The same configuration makes the same name, so that the same command finds its run again."""
    fixed = {name: value for name, value in asdict(config).items() if name not in free}
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:8]}"


def images_folder(options: dict[str, Any], run: Any) -> Path:
    """--images, else `images` beside the manifest as `snapshot --with-images` writes it, else where the run found
    them when it began, else the media folder."""
    if options["images"]:
        return Path(options["images"])
    places = [Path(options["manifest"]).parent / "images"] if options.get("manifest") else []
    if run.exists() and (known := run.description().images):
        places.append(Path(known))
    return next((place for place in places if place.is_dir()), Path(settings.MEDIA_ROOT))


def differences(run: Any, config: Any, manifest_path: Path | None, free: tuple[str, ...]) -> list[str]:
    """What this configuration and manifest would change of a run, but for what may be changed."""
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
