"""Convert between left/right, as an annotator sees a pair, and first/second, as it is stored."""

LEFT, RIGHT, FIRST, SECOND, CANT_TELL = "left", "right", "first", "second", "cant_tell"
SIDES = (LEFT, RIGHT, CANT_TELL)
CHOICES = (FIRST, SECOND, CANT_TELL)


def choice_of(side: str, *, left_is_first: bool) -> str:
    """Convert left, right or cant_tell to first, second or cant_tell. Raises `ValueError` for anything else."""
    if side not in SIDES:
        raise ValueError(f"{side!r} is not one of {', '.join(SIDES)}")
    if side == CANT_TELL:
        return CANT_TELL
    return FIRST if (side == LEFT) == left_is_first else SECOND


def side_of(choice: str, *, left_is_first: bool) -> str:
    """Convert first, second or cant_tell to left, right or cant_tell. Raises `ValueError` for anything else."""
    if choice not in CHOICES:
        raise ValueError(f"{choice!r} is not one of {', '.join(CHOICES)}")
    if choice == CANT_TELL:
        return CANT_TELL
    return LEFT if (choice == FIRST) == left_is_first else RIGHT
