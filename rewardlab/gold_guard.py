"""Guard of the gold set for trainings that read files: its faces, people and images must not be trained on."""

from collections.abc import Iterable
from typing import NamedTuple

from rewardlab.snapshot_images import DataError


class Subject(NamedTuple):
    """Face, person and images of a row of a manifest or list of faces. pictures: paths that contain the sha256."""

    face: int
    identity: str
    pictures: tuple[str, ...]


def first_leak(training: Iterable[Subject], gold: Iterable[Subject]) -> Subject | None:
    """Return the first training row with a face, person or image of the gold set.

    Face numbers are only comparable within one database: set the face of gold subjects from another database to -1.
    """
    gold = list(gold)
    faces, people = {subject.face for subject in gold} - {-1}, {subject.identity for subject in gold}
    pictures = {picture for subject in gold for picture in subject.pictures}
    for subject in training:
        if subject.face in faces or subject.identity in people or not pictures.isdisjoint(subject.pictures):
            return subject
    return None


def refuse_gold(training: Iterable[Subject], gold: Iterable[Subject], *, where: str) -> None:
    """Raise `DataError` if a face, person or image of the gold set is in the training data, as `first_leak` finds it.

    where: end of the message, which states how the face is used.
    """
    if leaked := first_leak(training, gold):
        raise DataError(
            f"Face {leaked.face} (identity {leaked.identity}) is in the gold set and {where}. Gold faces must not be "
            "trained on: take a new snapshot from the database."
        )
