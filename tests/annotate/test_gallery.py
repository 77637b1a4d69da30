"""The gallery of faces, and the deletion of a face or a person on request."""

import uuid

import numpy as np
import pytest
from django.db import IntegrityError, connection
from django.urls import reverse

from annotate.agreement import gold_hashes
from annotate.common import image_store
from annotate.desk import judging, leasing
from annotate.models import AuditEntry, Candidate, Face, GoldSet, Judgement, Membership, Score
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged():
    """A campaign of three faces, which ann and bob answer differently, all but one pair of ann's."""
    people = [make_user("ann"), make_user("bob")]
    campaign = make_campaign(slug="faces", faces=3, overlap=2, members=people)
    for person, choice in zip(people, ("left", "right"), strict=True):
        for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=50):
            side = choice if lease.left_is_first else {"left": "right", "right": "left"}[choice]
            judging.submit_judgement(
                annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice=side, criterion="realism"
            )
    return campaign


def test_gallery_filters_faces_by_score_and_disagreement(admin_client, judged):
    faces = list(Face.objects.order_by("pk"))
    images = Candidate.objects.filter(face=faces[1], restorer__isnull=False)
    Score.objects.create(candidate=images[0], metric="lpips", value=0.25)
    address = reverse("faces")

    def shown(**query) -> list[int]:
        response = admin_client.get(address, query)
        assert response.status_code == 200
        return [row.face.pk for row in response.context["rows"]]

    assert shown() == [face.pk for face in faces]
    assert shown(metric="lpips", low="0.2", high="0.3") == [faces[1].pk]
    assert shown(metric="lpips", low="0.3") == []
    assert shown(disputed="on") == [face.pk for face in faces]
    assert shown(after=faces[0].pk) == [face.pk for face in faces[1:]]
    page = admin_client.get(reverse("face", args=[faces[1].pk])).content.decode()
    assert "0.250" in page
    assert page.count("ann: ") == page.count("bob: ") > 0


def test_number_of_queries_is_the_same_for_one_face_and_many(admin_client, django_assert_max_num_queries):
    make_campaign(slug="many", faces=20)
    with django_assert_max_num_queries(16):
        admin_client.get(reverse("faces"))


@pytest.mark.parametrize("role", ["annotator", "lead"])
def test_only_leads_see_faces_and_only_admins_delete_them(client, judged, role):
    client.force_login(make_user("carl", is_staff=role == "lead"))
    face = Face.objects.first()
    seen = 200 if role == "lead" else 403
    assert client.get(reverse("faces")).status_code == client.get(reverse("face", args=[face.pk])).status_code == seen
    assert client.post(reverse("erase_face", args=[face.pk]), {"scope": "face", "understood": "on"}).status_code == 403
    assert Face.objects.filter(pk=face.pk).exists()


@pytest.mark.database
def test_deleted_face_takes_all_that_hangs_on_it(admin_client, judged, django_capture_on_commit_callbacks):
    face = Face.objects.order_by("pk")[0]
    gold = GoldSet.objects.create(campaign=judged, seed=1, pairs_sha256="")
    gold_hashes.hash_again(gold)
    own, shared = (image_store.store_png(np.full((8, 8, 3), grey, np.uint8)) for grey in (1, 2))
    face.candidates.filter(source="hq").update(sha256=own)
    Candidate.objects.filter(source="lq").update(sha256=shared)  # equal images are one file
    answers = Judgement.objects.filter(lease__item__pair__face=face).count()
    before = {member.annotator.username: member.answered for member in Membership.objects.all()}
    assert answers > 0
    address = reverse("erase_face", args=[face.pk])
    assert admin_client.post(address, {"scope": "face"}).status_code == 400  # not confirmed
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(address, {"scope": "face", "understood": "on", "reason": "asked on Monday"})
    assert not Face.objects.filter(pk=face.pk).exists()
    assert (image_store.exists(own), image_store.exists(shared)) == (False, True)
    for member in Membership.objects.all():
        assert member.answered == before[member.annotator.username] - answers // 2
        given = Judgement.objects.filter(lease__annotator=member.annotator)
        assert given.count() == member.answered
    judged.refresh_from_db()
    assert judged.item_count == judged.items.count()
    gold.refresh_from_db()
    gold_hashes.require_unchanged(gold)
    entry = AuditEntry.objects.get(action="erase-faces")
    assert entry.details["judgements"] == answers
    assert entry.details["reason"] == "asked on Monday"
    with pytest.raises(IntegrityError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM annotate_judgement")


@pytest.mark.database
def test_deleted_person_takes_all_their_faces(admin_client, judged):
    first, second = Face.objects.order_by("pk")[:2]
    Face.objects.filter(pk=second.pk).update(identity=first.identity)
    admin_client.post(reverse("erase_face", args=[first.pk]), {"scope": "person", "understood": "on"})
    assert Face.objects.count() == 1
