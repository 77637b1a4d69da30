"""The parts of the documentation that come from the code: each function returns Markdown for one marker of a page."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
