"""Open a base, or a base with the tuned weights of a run."""

from pathlib import Path
from typing import Any

from refl.policies import tuned_weights
from refl.policies.diffusion import MultiStepPolicy, Policy
from rewardlab.training.runs import Run, RunError


def open_base(start: dict[str, Any], folder: Path, *, seed: int, steps: int, eta: float) -> Policy:
    """Open the base that a run starts from.

    start: `base` and its files. folder: contains a compact base. Raises `MissingAsset`, `WeightsError` or `OSError`.
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


def open_run(run: Run, *, share: float = 1.0) -> Policy:
    """Open the restorer of a finished run of kind base or refl. share: 0 is the base, 1 the tuned restorer.

    Raises `RunError` for other runs, and the errors of `open_base`.
    """
    description = run.description()
    if not run.is_done():
        raise RunError(f"The run {run.name} is not finished. Repeat its command to resume it.")
    if description.kind == "base":
        from refl.policies import compact

        return compact.load(run.model)
    if description.kind != "refl":
        raise RunError(
            f"The run {run.name} of kind {description.kind} has no restorer. Name a run of train_base or refl."
        )
    config = description.config
    policy = open_base(description.start, run.start, seed=config["seed"], steps=config["steps"], eta=config["eta"])
    tuned_weights.load(policy, run.model)
    if share != 1:
        policy.interpolate(share)
    return policy
