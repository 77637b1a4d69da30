"""What tests read of tables."""

import re


def squeezed(table: str) -> str:
    """Return it without the spaces that align its columns."""
    return re.sub(r" +", " ", table)
