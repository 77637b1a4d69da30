"""Reward models by name: a run of train_frm, a model folder, or HPSv2 as its authors released it.

Importing this module does not load torch; `RewardSource.open` does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab import assets
from rewardlab.training.runs import NAME, Run, RunError, finished, open_run

if TYPE_CHECKING:
    from rewardlab.reward_model.model import FaceRewardModel

RELEASED = assets.RELEASED_REWARDS
WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"
ARCHITECTURE = "ViT-H-14"
# The layers that train when a model without a run is updated while tuning (Sec. 3.1).
IMAGE_LAYERS, TEXT_LAYERS = 20, 11


@dataclass(frozen=True)
class RewardSource:
    """A reward model. path: the folder of the run or model, or the checkpoint of a released one."""

    kind: Literal["run", "folder", "released"]
    name: str
    path: Path

    @property
    def run(self) -> Run | None:
        return Run(self.path) if self.kind == "run" else None

    @property
    def weights(self) -> Path:
        return self.path if self.kind == "released" else (self.run.model if self.run else self.path) / WEIGHTS_FILE

    @property
    def null_text(self) -> bool:
        """Whether it was trained without captions, and is used without them."""
        return bool(self.run and self.run.description().config.get("null_text"))

    @property
    def layers(self) -> tuple[int, int]:
        """The last layers of the image and the text encoder that an update trains."""
        known = self.run.description().config if self.run else {}
        return known.get("image_layers", IMAGE_LAYERS), known.get("text_layers", TEXT_LAYERS)

    @property
    def is_simulated(self) -> bool:
        counts = self.run.description().manifest.counts if self.run else {}
        return any(pairs for origin, pairs in counts.items() if origin.endswith("/simulated"))

    def open(self, device: str = "cpu") -> "FaceRewardModel":
        """Load the model, in evaluation mode. Raises `ModelError`."""
        from rewardlab.reward_model import backbones, model

        if self.kind == "released":
            return backbones.open_hpsv2(self.path, ARCHITECTURE).to(device)
        return model.load(self.run.model if self.run else self.path, device)


def find(name: str, root: Path, option: str) -> RewardSource:
    """Find a reward model: `hpsv2` or `hpsv2.1`, a run in `root`, or a folder of a run or model.

    option: named by errors. Raises `RunError`, or `MissingAsset` for a released model whose file is not here.
    """
    if name in RELEASED:
        if Run(root / name).exists():
            raise RunError(
                f"{option} {name} means the released model, but there is a run of this name. Rename the run."
            )
        return RewardSource("released", name, assets.find(name).resolve())
    folder = Path(name).expanduser()
    if NAME.fullmatch(name) and open_run(root, name).exists():
        run = finished(open_run(root, name), "frm", option, "a reward model: manage.py train_frm")
        return RewardSource("run", run.name, run.folder)
    if (folder / CONFIG_FILE).is_file():  # first, since its text encoder may have a config.json too
        return RewardSource("folder", folder.resolve().name, folder.resolve())
    if (folder / "config.json").exists():
        run = finished(Run(folder.resolve()), "frm", option, "a reward model: manage.py train_frm")
        return RewardSource("run", run.name, run.folder)
    raise RunError(
        f"{option} {name} is not a reward model. Name a run of train_frm, a model folder with {CONFIG_FILE}, or "
        f"{' or '.join(RELEASED)}."
    )
