"""The bases of `refl` as published, without a tuning run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refl.bases import BASES
from refl.configs import PRESETS
from refl.policies import open_policy, tuned_weights
from refl.policies.policy import Policy
from refl.policies.prompts import open_prompts
from refl.restorers.classical import TORCH_VERSION
from refl.restorers.policy_restorer import restore_by, sampling
from refl.restorers.spec import RestorerSpec, Subject
from refl.restorers.system_files import recorded
from rewardlab.files import sha256_of


class UntunedRestorer:
    """A base of `refl` with its published weights: what a tuned run of these files restores at share 0.

    Images of another size are resized to the base's and back. Noise is seeded by the image's content, so results are
    reproducible. An image gives the same result alone and in a batch, to 1e-4. An exception is CodeFormer, which
    selects discrete codes and may resolve near ties differently.
    """

    def __init__(
        self,
        spec: RestorerSpec,
        files: Mapping[str, Path],
        values: Mapping[str, Any],
        device: str | torch.device = "cpu",
        *,
        name: str = "",
        prompts: Path | None = None,
    ) -> None:
        """files: path of each asset. values: of the options. prompts: a table of tags (see `open_prompts`).

        Raises FileNotFoundError, `MissingAsset`, `WeightsError` or `DataError`.
        """
        self.name, self.source = name or spec.name, values.get("prompt", "empty")
        self.prompts = open_prompts(self.source, prompts)
        self.policy = open_untuned(spec.base, dict(zip(BASES[spec.base].files, files.values(), strict=True)), values)
        tuned_weights.fuse(self.policy)
        self.policy.to(torch.device(device)).requires_grad_(False)
        table = {"prompts_sha256": sha256_of(prompts)} if prompts else {}
        self.provenance = spec.provenance(
            name=self.name,
            architecture=type(self.policy).__name__,
            version=f"torch {TORCH_VERSION}",
            weights=recorded(files),
            parameters={**spec.parameters, **sampling(self.policy), **values, **table},
        )

    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        """Restore with prompts. Raises `DataError` for a face that the table of tags does not have."""
        if self.source != "empty" and len(subjects) != len(lq):
            raise ValueError(f"{self.name} uses prompts ({self.source}): pass the subjects of the images")
        prompts = self.prompts(subjects) if self.source != "empty" else [""] * len(lq)
        return restore_by(self.policy, lq, prompts)


def open_untuned(base: str, files: Mapping[str, Path], values: Mapping[str, Any]) -> Policy:
    """Open a base. files: by role. values: of the restorer's options."""
    fields = BASES[base].options
    given = {fields[name]: value for name, value in values.items() if name in fields}
    policy = open_policy.open_base(files, Path(), replace(PRESETS[base], **given))
    if "start" in values:
        policy.start = values["start"]
    return policy
