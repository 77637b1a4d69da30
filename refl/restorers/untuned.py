"""OSEDiff and DiffBIR as published, without a tuning run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refl.policies import tuned_weights
from refl.policies.diffbir import ASSET as DIFFBIR
from refl.policies.diffbir import SWINIR_ASSET, open_diffbir
from refl.policies.osediff import ASSET as OSEDIFF
from refl.policies.osediff import open_osediff
from refl.policies.policy import Policy
from refl.policies.prompts import open_prompts
from refl.policies.stable_diffusion import ASSET as STABLE_DIFFUSION
from refl.restorers.classical import TORCH_VERSION
from refl.restorers.policy_restorer import restore_by, sampling
from refl.restorers.spec import RestorerSpec, Subject
from refl.restorers.system_files import recorded
from rewardlab.files import sha256_of


class UntunedRestorer:
    """A base of `refl` with its published weights.

    Images of another size are resized to the base's and back. Noise is seeded by the image's content, so results are
    reproducible and do not depend on the batch.
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

        Raises `MissingAsset`, `WeightsError` or `DataError`.
        """
        self.name, self.source = name or spec.name, values["prompt"]
        self.prompts = open_prompts(self.source, prompts)
        self.policy = _open(spec.method, files, {key: value for key, value in values.items() if key != "prompt"})
        tuned_weights.fuse(self.policy)
        self.policy.to(torch.device(device)).requires_grad_(False)
        prompt = {"prompt": self.source} | ({"prompts_sha256": sha256_of(prompts)} if prompts else {})
        self.provenance: dict[str, Any] = {
            "name": self.name,
            "kind": spec.kind,
            "title": spec.title,
            "version": f"torch {TORCH_VERSION}",
            **recorded(files),
            "architecture": type(self.policy).__name__,
            "scale": 1,
            "input_range": "[0, 1]",
            "licence": spec.licence,
            "parameters": {**spec.parameters, **sampling(self.policy), **prompt},
        }

    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        """Restore with prompts. Raises `DataError` for a face that the table of tags does not have."""
        if self.source != "empty" and len(subjects) != len(lq):
            raise ValueError(f"{self.name} uses prompts ({self.source}): pass the subjects of the images")
        prompts = self.prompts(subjects) if subjects else [""] * len(lq)
        return restore_by(self.policy, lq, prompts)


def _open(method: str, files: Mapping[str, Path], values: Mapping[str, Any]) -> Policy:
    if method == "osediff":
        return open_osediff(files[STABLE_DIFFUSION], files[OSEDIFF])
    policy = open_diffbir(files[STABLE_DIFFUSION], files[DIFFBIR], files[SWINIR_ASSET])
    policy.steps, policy.start, policy.eta = values["steps"], values["start"], values["eta"]
    return policy
