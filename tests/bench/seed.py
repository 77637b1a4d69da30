"""Fill a database with faces, pairs, scores and a campaign, without pictures: `python -m tests.bench.seed --help`.

The scores depend on a hidden quality, which the SVM can learn. Prints the annotators' tokens as JSON.
"""

import argparse
import hashlib
import json
import uuid

import django

django.setup()

import numpy as np  # noqa: E402
from django.db import transaction  # noqa: E402
from django.db.models import F  # noqa: E402
from django.utils import timezone  # noqa: E402

from annotate.accounts import tokens  # noqa: E402
from annotate.campaigns import items as campaign_items  # noqa: E402
from annotate.campaigns import lifecycle  # noqa: E402
from annotate.common import image_store  # noqa: E402
from annotate.common.batches import batches  # noqa: E402
from annotate.models import (  # noqa: E402
    Campaign,
    Candidate,
    Dataset,
    Face,
    Item,
    Judgement,
    LabelPolicy,
    Lease,
    Membership,
    Pair,
    Restorer,
    Score,
    User,
)
from annotate.pipeline import pairing  # noqa: E402
from rewardlab.metrics.registry import PAPER_METRICS  # noqa: E402

RESTORERS = ("first-restorer", "second-restorer", "third-restorer")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stored_picture(text: str) -> str:
    """Store a tiny picture with a colour of its own, and return its hash."""
    value = int(digest(text)[:12], 16)
    colours = np.array([value >> shift & 255 for shift in range(0, 48, 8)], np.uint8)
    return image_store.store_png(np.tile(colours.reshape(1, 2, 3), (8, 4, 1)))


@transaction.atomic
def fill(
    faces: int, annotators: int, overlap: int, *,
    contested_only: bool, scores: bool, labels: int, pictures: bool = False, size: int = 512, **fields,
) -> dict:  # fmt: skip
    content = stored_picture if pictures else digest
    restorers = [Restorer.objects.get_or_create(name=name, defaults={"kind": "network"})[0] for name in RESTORERS]
    dataset = Dataset.objects.get_or_create(name="photographs")[0]
    for batch in batches(range(faces), 2000):
        rows = Face.objects.bulk_create(
            Face(
                dataset=dataset, source_sha256=digest(f"face {n}"), source_key=digest(f"face {n}")[:32],
                identity=digest(f"face {n}")[:32],
                split="train", size=size, seed=n, caption=f"The face of a person, number {n}.",
            )
            for n in batch
        )  # fmt: skip
        Candidate.objects.bulk_create(
            Candidate(face=face, source=source, restorer=restorer, sha256=content(f"{face.pk}/{source}"))
            for face in rows
            for source, restorer in (("hq", None), *((r.name, r) for r in restorers))
        )
    for _ in pairing.build_pairs(Face.objects.all()):
        pass
    if scores:
        random = np.random.default_rng(0)
        candidates = np.array(Candidate.objects.values_list("pk", flat=True))
        quality = random.normal(size=len(candidates))
        for index, metric in enumerate(PAPER_METRICS):
            values = quality * (0.3 + 0.1 * index) + random.normal(size=len(candidates))
            for batch in batches(zip(candidates.tolist(), values.tolist(), strict=True), 5000):
                Score.objects.bulk_create(Score(candidate_id=pk, metric=metric, value=value) for pk, value in batch)
    campaign = Campaign.objects.create(slug="bench", name="Bench", overlap=overlap, seed=0, **fields)
    pairs = Pair.objects.filter(kind=Pair.Kind.CONTESTED) if contested_only else Pair.objects.all()
    items = campaign_items.add_items(campaign=campaign, pairs=pairs.values_list("pk", flat=True))
    users = [User.objects.create(username=f"bench{n}", simulated=True) for n in range(annotators)]
    lifecycle.invite(campaign=campaign, annotators=users)
    LabelPolicy.objects.update(count_simulated=True)
    if labels:
        judge(campaign, users[0], labels)
    return {"items": items, "tokens": [tokens.create(user=user)[0] for user in users]}


def judge(campaign: Campaign, user: User, labels: int) -> None:
    """Store `labels` answers of a simulated annotator, who prefers high values of the last metric, with noise."""
    random = np.random.default_rng(1)
    quality = dict(Score.objects.filter(metric=PAPER_METRICS[-1]).values_list("candidate_id", "value"))
    now = timezone.now()
    items = list(campaign.items.select_related("pair").order_by("position")[:labels])
    leases = Lease.objects.bulk_create(
        Lease(item=item, annotator=user, left_is_first=True, issued_at=now, expires_at=now) for item in items
    )
    answers = Judgement.objects.bulk_create(
        Judgement(
            key=uuid.uuid4(), lease=lease, revision=0, left_is_first=True, seconds=2,
            choice="first"
            if quality[lease.item.pair.first_id] - quality[lease.item.pair.second_id] + random.normal() > 0
            else "second",
        )
        for lease in leases
    )  # fmt: skip
    for lease, answer in zip(leases, answers, strict=True):
        lease.status, lease.judgement, lease.closed_at = "answered", answer, now
    Lease.objects.bulk_update(leases, ["status", "judgement", "closed_at"], batch_size=500)
    Item.objects.filter(pk__in=[item.pk for item in items]).update(open_slots=F("open_slots") - 1)
    Membership.objects.filter(annotator=user).update(answered=labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=10)
    parser.add_argument("--annotators", type=int, default=8)
    parser.add_argument("--overlap", type=int, default=1)
    parser.add_argument("--contested-only", action="store_true")
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--labels", type=int, default=0, help="needs --scores")
    parser.add_argument("--pictures", action="store_true", help="also store a tiny picture for each image")
    parser.add_argument("--size", type=int, default=512, help="the faces' size in pixels, as the database states it")
    parser.add_argument("--lease-seconds", type=int, default=900)
    parser.add_argument("--repeat-share", type=float, default=0)
    options = parser.parse_args()
    print(
        json.dumps(
            fill(
                options.faces,
                options.annotators,
                options.overlap,
                contested_only=options.contested_only,
                scores=options.scores,
                labels=options.labels,
                pictures=options.pictures,
                size=options.size,
                lease_seconds=options.lease_seconds,
                repeat_share=options.repeat_share,
            )
        )
    )
