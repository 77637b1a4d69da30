"""Rows for tests that need no images. Image files are named but not written."""

import hashlib
from itertools import count

from annotate.campaigns import items, lifecycle
from annotate.models import Campaign, Candidate, Dataset, Face, Pair, Restorer, User
from annotate.pipeline import pairing
from tests.support.servers import PASSWORD

RESTORERS = ("dat-light", "lanczos", "realesrgan-x4plus")
numbers = count(1)


def make_user(name: str | None = None, **fields) -> User:
    return User.objects.create_user(name or f"annotator{next(numbers)}", password=PASSWORD, **fields)


def make_face(split: str = "train", restorers: tuple[str, ...] = RESTORERS, **fields) -> Face:
    number = next(numbers)
    digest = hashlib.sha256(f"face {number}".encode()).hexdigest()
    face = Face.objects.create(
        **{
            "source_sha256": digest,
            "dataset": Dataset.objects.get_or_create(name="photographs")[0],
            "path_key": digest[:32],
            "name_key": digest[:32],
            "source_key": digest[:32],
            "identity": digest[:32],
            "split": split,
            "size": 64,
            "seed": number,
            "caption": f"The face of a person, number {number}.",
        }
        | fields
    )
    for source in ("hq", "lq", *restorers):
        restorer = None
        if source in restorers:
            restorer, _ = Restorer.objects.get_or_create(name=source, defaults={"kind": "network"})
        content = hashlib.sha256(f"{number}/{source}".encode()).hexdigest()
        Candidate.objects.create(face=face, source=source, restorer=restorer, sha256=content)
    return face


def make_campaign(*, faces: int = 2, overlap: int = 1, members: tuple[User, ...] = (), **fields) -> Campaign:
    """Make a campaign over the contested pairs (three per face) of new faces.

    Its seed is fixed, so that the order of the items and the sides are the same in every run.
    """
    campaign = Campaign.objects.create(
        **{"slug": f"campaign{next(numbers)}", "name": "Test", "overlap": overlap, "seed": 0} | fields
    )
    made = [make_face().pk for _ in range(faces)]
    from annotate.models import Face

    for _ in pairing.build_pairs(Face.objects.filter(pk__in=made)):
        pass
    asked = Pair.objects.filter(face__in=made, kind=Pair.Kind.CONTESTED)
    items.add_items(campaign=campaign, pairs=asked.values_list("pk", flat=True))
    lifecycle.invite(campaign=campaign, annotators=members)
    campaign.refresh_from_db()
    return campaign
