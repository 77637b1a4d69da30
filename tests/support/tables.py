"""Helpers for tests of tables."""

import re


def squeezed(table: str) -> str:
    """Return the table without the spaces that align its columns."""
    return re.sub(r" +", " ", table)
