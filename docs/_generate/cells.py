"""Cells and tables in Markdown, and the check that every description has something to describe."""

import re
from collections.abc import Iterable, Sequence

from mkdocs.exceptions import PluginError

NO_DEFAULT = "–"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table. Heads and cells are Markdown already: see `code` and `text`."""
    from rewardlab.tables import Raw, markdown

    written = [[Raw(cell) for cell in row] for row in rows]
    return markdown([Raw(head) for head in heads], written, "l" * len(heads)) + "\n"


def code(words: str) -> str:
    return f"`{words}`".replace("|", "\\|") if words else ""


def text(words: str) -> str:
    """Escape prose of the code for Markdown; what is in backticks stays code."""
    from rewardlab.tables import markdown_escaped

    parts = re.split(r"(`[^`]*`)", " ".join(words.split()))
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else " ".join(map(markdown_escaped, part.split(" ")))
        for part in parts
    )


def require_described(where: str, found: Iterable[str], meanings: Iterable[str]) -> None:
    """Raise `PluginError` if something has no description here, or a description has nothing to describe."""
    if wrong := {*found} ^ {*meanings}:
        raise PluginError(f"docs/_generate and {where} differ in: {', '.join(sorted(wrong))}.")
