"""Options of commands that compute on an engine."""

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.engine.interface import Engine, EngineError
from annotate.engine.options import EngineOptions
from annotate.management.stage_command import positive, usable_device


def amount(text: str) -> float:
    """Parse an option's number of CPUs or GPUs, of which a worker may need a part."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 999")
    return value


def add_engine_options(parser: CommandParser) -> None:
    parser.add_argument("--workers", type=positive, default=1, help="workers at once (default: %(default)s)")
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local: processes of this machine; ray: a Ray cluster, whose address is in RAY_ADDRESS (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--cpus-per-worker", type=amount, default=1.0, help="CPUs that a worker asks a Ray cluster for (default: 1)"
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=amount,
        help="GPUs that a worker asks a Ray cluster for (default: 1 with --device cuda, else 0)",
    )


def engine_for(options: dict[str, Any]) -> Engine:
    """Return the engine that the options name. Raises `CommandError` if it cannot be used."""
    device = device_for(options) if "device" in options else ""
    gpus = options["gpus_per_worker"]
    try:
        return EngineOptions(
            options["engine"],
            options["workers"],
            options["cpus_per_worker"],
            float(device.startswith("cuda")) if gpus is None else gpus,
            shares_gpus=device == "cuda",  # cuda:1 names one GPU
        ).engine()
    except EngineError as error:
        raise CommandError(str(error)) from error


def device_for(options: dict[str, Any]) -> str:
    """Return the device of the workers. That of a cluster need not work on this machine."""
    if options["engine"] == "ray":
        return options["device"] or ("cuda" if options["gpus_per_worker"] else "cpu")
    return usable_device(options["device"])
