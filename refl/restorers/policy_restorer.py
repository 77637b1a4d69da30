"""Restorers from runs of `train_base` and `refl`."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refl.bases import BASES, Base
from refl.configs import ReflConfig
from refl.policies import open_policy, tuned_weights
from refl.policies.noise import content_seed
from refl.policies.policy import Policy
from refl.policies.prompts import open_prompts, stored_prompts
from refl.restorers.classical import TORCH_VERSION, check_images, resize
from refl.restorers.spec import RestorerSpec, Subject
from refl.restorers.systems import SYSTEMS
from rewardlab.training.runs import Run


class PolicyRestorer:
    """The restorer of a run. Images of another size are resized to its training size and back.

    The LoRA is merged into the weights, so a tuned restorer is as fast as its base. The noise is seeded by the image's
    content, so results do not depend on the batch and are reproducible.
    """

    def __init__(self, run: Run, *, share: float = 1.0, device: str | torch.device = "cpu") -> None:
        """share: 0 is the base, 1 the tuned restorer. Raises the errors of `open_policy.open_run`."""
        self.policy = open_policy.open_run(run, share=share)
        tuned_weights.fuse(self.policy)
        self.policy.to(torch.device(device)).requires_grad_(False)
        self.name = run_restorer_name(run.name, share)
        description = run.description()
        kind, self.prompt = description.kind, description.config.get("prompt", "empty")
        self.prompts = open_prompts(self.prompt, stored_prompts(run.folder, description.start))
        base = BASES.get(description.start.get("base", ""))
        system = SYSTEMS[base.system] if base else None
        options = _options(base, ReflConfig(**description.config)) if base else {}
        if "licence_accepted" in description.start:
            options["licence_accepted"] = True
        self.spec = RestorerSpec(
            name=self.name,
            kind="network",
            title=f"{'Base' if kind == 'base' else 'Tuned by reward feedback'}: {run.name}",
            licence=system.licence if system else "as for its base",
            noncommercial=system.noncommercial if system else False,
            parameters={"run": run.name, "dial": share, "prompt": self.prompt} | sampling(self.policy) | options,
        )
        self._sha256 = _sha256(run)

    @property
    def provenance(self) -> dict[str, Any]:
        return self.spec.provenance(
            architecture=type(self.policy).__name__,
            version=f"torch {TORCH_VERSION}",
            weights={"weights_file": "model", "weights_sha256": self._sha256},
        )

    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        """Restore with the same prompts as in tuning. Raises `DataError` for a missing prompt."""
        if self.prompt != "empty" and len(subjects) != len(lq):
            raise ValueError(f"{self.name} was tuned with prompts ({self.prompt}): pass the subjects of the images")
        prompts = self.prompts(subjects) if subjects else [""] * len(lq)
        return restore_by(self.policy, lq, prompts)


def restore_by(policy: Policy, lq: Tensor, prompts: Sequence[str]) -> Tensor:
    """Restore (B, 3, S, S) in [0, 1] with a policy, at the size that it was trained at. prompts: B texts."""
    check_images(lq)
    images = resize(lq, policy.input_size).to(policy.device)
    restored = policy.restore(images, prompts, [content_seed(image) for image in lq])
    return resize(restored.float(), lq.shape[-1]).clamp(0, 1).to(lq.device)


def run_restorer_name(run: str, share: float = 1.0) -> str:
    """Return `run`, or for example `run@0.5` for a share below 1."""
    return run if share == 1 else f"{run}@{share:g}"


def _options(base: Base, config: ReflConfig) -> dict[str, Any]:
    """Return the options under the names that the untuned restorer has for them."""
    return {name: getattr(config, field) for name, field in base.options.items()}


def sampling(policy: Any) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in ("timestep", "steps", "start", "eta") if hasattr(policy, name)}


def _sha256(run: Run) -> str:
    """Hash the trained files and their initial models."""
    found = hashlib.sha256(json.dumps(run.description().start, sort_keys=True).encode())
    for folder in (run.start, run.model):
        for file in sorted(folder.rglob("*.safetensors")):
            found.update(file.read_bytes())
    return found.hexdigest()
