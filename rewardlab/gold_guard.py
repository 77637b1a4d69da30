"""The guard of the gold set where files are read: nothing may train on its faces, persons or pictures."""

from collections.abc import Iterable
from typing import NamedTuple

from rewardlab.snapshot_images import DataError


class Subject(NamedTuple):
    """What a row of a manifest or of a list of faces shows. pictures: paths, which end in the content's sha256."""

    face: int
    identity: str
    pictures: tuple[str, ...]


def refuse_gold(training: Iterable[Subject], gold: Iterable[Subject], *, where: str) -> None:
    """Raise `DataError` if a person, a face or a picture of the gold set is among what trains.

    where: the end of the sentence that says how the face is used. Face numbers are compared within one database only:
    give gold subjects of another one the face -1.
    """
    gold = list(gold)
    faces, people = {subject.face for subject in gold} - {-1}, {subject.identity for subject in gold}
    pictures = {picture for subject in gold for picture in subject.pictures}
    for subject in training:
        if subject.face in faces or subject.identity in people or not pictures.isdisjoint(subject.pictures):
            raise DataError(
                f"Face {subject.face} (identity {subject.identity}) is in the gold set and {where}. Nothing may train "
                "on gold faces: take a new snapshot from the database."
            )
