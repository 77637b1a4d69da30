"""The page on the architecture: ARCHITECTURE.md of the repository."""

from . import ROOT


def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
