"""Whether the engine `ray` can be used. Web processes ask too, so nothing heavy is imported."""

import os
from importlib.util import find_spec

REQUIREMENTS = "requirements-ray.txt"
RAY_OPTIONS = {"engine", "cpus_per_worker", "gpus_per_worker"}  # of commands, which make sense for a cluster only


def address() -> str:
    return os.environ.get("RAY_ADDRESS", "")


def ray_missing() -> str:
    """Return what the engine `ray` lacks, and what to do; empty if it can be used."""
    if find_spec("ray") is None:
        return f"--engine ray needs Ray: run pip install -r {REQUIREMENTS}."
    if not address():
        return (
            "--engine ray needs the address of a cluster: set RAY_ADDRESS, for example to HOST:6379, or to auto on a "
            "machine of the cluster."
        )
    return ""
