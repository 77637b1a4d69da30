"""Open a base by name, or a base with the tuned weights of a run."""

from pathlib import Path
from typing import Any

from refl.policies import tuned_weights
from refl.policies.diffusion import MultiStepPolicy, Policy
from rewardlab.training.runs import Run, RunError


def open_base(start: dict[str, Any], folder: Path, *, seed: int, steps: int, eta: float) -> Policy:
    """Open the base named by the configuration of a run.

    start: `base` and its files; a compact base is in `folder`. Raises `MissingAsset`, `WeightsError` or `OSError`.
    """
    name = start["base"]
    if name == "compact":
        from refl.policies import compact

        policy: Policy = compact.load(folder, seed=seed)
    elif name == "osediff":
        from refl.policies.osediff import open_osediff

        policy = open_osediff(Path(start["sd"]), Path(start["checkpoint"]))
    else:
        from refl.policies.diffbir import open_diffbir

        policy = open_diffbir(Path(start["sd"]), Path(start["checkpoint"]), Path(start["swinir"]))
    if isinstance(policy, MultiStepPolicy):
        policy.steps, policy.eta = steps, eta
    return policy


def open_run(run: Run, *, dial: float = 1.0) -> Policy:
    """Open the restorer of a finished run of kind base or refl. dial: 0 is the base, 1 the tuned restorer.

    Raises `RunError` for another run, and what `open_base` raises.
    """
    description = run.description()
    if not run.is_done():
        raise RunError(f"The run {run.name} is not finished. Run its command again.")
    if description.kind == "base":
        from refl.policies import compact

        return compact.load(run.model)
    if description.kind != "refl":
        raise RunError(f"The run {run.name} has no restorer: its kind is {description.kind}.")
    config = description.config
    policy = open_base(description.start, run.start, seed=config["seed"], steps=config["steps"], eta=config["eta"])
    tuned_weights.load(policy, run.model)
    if dial != 1:
        policy.turn_dial(dial)
    return policy
