"""The published restorers that can be tuned (Tables 1 and 15): what a tuned and an untuned one have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Base:
    """A base of `refl`.

    system: its name among the restorers. files: its weights, by their role in a run, as names in `rewardlab.assets`;
    the file that is tuned comes first. options: of the restorer, as fields of `ReflConfig`.
    """

    system: str
    files: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def assets(self) -> tuple[str, ...]:
        return tuple(self.files.values())


BASES = {
    "osediff": Base("osediff", {"checkpoint": "osediff-face", "sd": "sd-2.1-base"}, {"prompt": "prompt"}),
    "diffbir": Base(
        "diffbir",
        {"checkpoint": "diffbir-face", "swinir": "diffbir-swinir-face", "sd": "sd-2.1-base"},
        {"steps": "steps", "eta": "eta", "prompt": "prompt"},
    ),
    "gfpgan": Base("gfpgan", {"checkpoint": "gfpgan-1.4"}),
    "codeformer": Base("codeformer", {"checkpoint": "codeformer"}, {"fidelity": "fidelity"}),
    "dr2": Base("dr2-spar", {"checkpoint": "dr2", "sparnet": "sparnethd-dr2"}, {"N": "low_pass", "tau": "tau"}),
}
