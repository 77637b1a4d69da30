"""The presets of `reproduce` by name."""

from dataclasses import dataclass
from pathlib import Path

from annotate.reproduction.sizes import SIZES
from annotate.reproduction.steps import Preset

COMPACT, PAPER = "compact", "paper"
NAMES = (PAPER, COMPACT)


@dataclass(frozen=True)
class Choice:
    """What a user chooses besides the tables. folder: for the journal and the tables. size: of the preset compact."""

    preset: str
    folder: Path
    runs: Path
    size: str = "small"
    device: str = "cuda"

    @property
    def setting(self) -> str:
        """What all steps in the folder have in common."""
        return f"preset {self.preset}" + (f", size {self.size}" if self.preset == COMPACT else "")


def describe(choice: Choice) -> Preset:
    """Describe all tables and figures. Imports what the preset needs."""
    if choice.preset == COMPACT:
        from annotate.reproduction import compact

        return compact.preset(SIZES[choice.size], choice.runs, choice.folder)
    from annotate.reproduction import paper

    return paper.preset(choice.folder, choice.device)
