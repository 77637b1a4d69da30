"""Open a base, or a base with the tuned weights of a run."""

from collections.abc import Mapping
from pathlib import Path

from refl.bases import BASES
from refl.configs import ReflConfig
from refl.policies import tuned_weights
from refl.policies.policy import Policy
from rewardlab.training import inputs
from rewardlab.training.runs import Run, RunError


def contents_of(role: str) -> inputs.Contents | None:
    """Return the function that lists the files of a folder with this role; None for the default."""
    if role != "sd":
        return None
    from refl.policies.stable_diffusion import used_files

    return used_files


def locate_all(run: Run, *roles: str) -> dict[str, Path]:
    """Return the paths of a run's inputs on this machine: of these roles, where recorded, and the base's files.

    Raises `MissingAsset`.
    """
    start = run.description().start
    known = BASES[start["base"]].files if start["base"] in BASES else {}
    return {
        role: inputs.locate(run, start, role, asset=known.get(role, ""), contents=contents_of(role))
        for role in (*roles, *known)
        if start.get(role)
    }


def open_base(files: Mapping[str, Path], folder: Path, config: ReflConfig) -> Policy:
    """Open the base that a run starts from.

    files: of a large base, by role. folder: contains a compact base. Raises `MissingAsset`, `WeightsError`, `OSError`,
    or `ValueError` for settings that the base does not have.
    """
    blocks = config.trained_blocks
    if config.base == "compact":
        from refl.policies import compact
        from refl.policies.diffusion import MultiStepPolicy

        policy = compact.load(folder, seed=config.seed)
        if isinstance(policy, MultiStepPolicy):
            policy.steps, policy.eta = config.steps, config.eta
        return policy
    if config.base == "osediff":
        from refl.policies.osediff import open_osediff

        return open_osediff(files["sd"], files["checkpoint"])
    if config.base == "diffbir":
        from refl.policies.diffbir import open_diffbir

        return open_diffbir(files["sd"], files["checkpoint"], files["swinir"], steps=config.steps, eta=config.eta)
    if config.base == "dr2":
        from refl.policies.dr2 import open_dr2

        return open_dr2(files["checkpoint"], files["sparnet"], low_pass=config.low_pass, tau=config.tau, trained=blocks)
    from refl.policies import feed_forward

    if config.base == "gfpgan":
        return feed_forward.open_gfpgan(files["checkpoint"], trained=blocks)
    return feed_forward.open_codeformer(files["checkpoint"], fidelity=config.fidelity, trained=blocks)


def open_run(run: Run, *, share: float = 1.0) -> Policy:
    """Open the restorer of a finished run of kind base or refl. share: 0 is the base, 1 the tuned restorer.

    Raises `RunError` for other runs, and the errors of `locate_all` and `open_base`.
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
    policy = open_base(locate_all(run), run.start, ReflConfig(**description.config))
    tuned_weights.load(policy, run.model)
    if share != 1:
        policy.interpolate(share)
    return policy
