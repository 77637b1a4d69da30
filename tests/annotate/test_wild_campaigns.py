"""Campaigns and studies about faces that have no photograph."""

import pytest
from django.test import Client
from django.urls import reverse

from annotate.campaigns import lifecycle
from annotate.campaigns.lifecycle import Selection
from annotate.desk.image_access import may_see
from annotate.models import Campaign, Candidate, Dataset, Face
from annotate.pipeline import pairing
from tests.annotate.test_campaigns import form
from tests.support.factories import make_face, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def wild() -> list[Face]:
    """Three training faces without a photograph, each with two restorations."""
    low_quality = Dataset.objects.create(name="wild", has_ground_truth=False)
    faces = [make_face(dataset=low_quality, restorers=("dat-light", "lanczos")) for _ in range(3)]
    Candidate.objects.filter(source=Candidate.HQ).delete()
    assert sum(step.done for step in pairing.build_pairs(Face.objects.all())) == 3
    return faces


def test_campaign_without_photographs_says_what_it_lacks(lead, wild):
    page = lead.get(reverse("campaign_new")).content.decode()
    assert "dat-light and lanczos" in page and "and the photograph" not in page
    refused = lead.post(reverse("campaign_new"), form(qualification_size=5))
    assert refused.status_code == 400
    assert "of which there are 0. Faces without a photograph have none." in refused.content.decode()
    assert not Campaign.objects.exists()
    page = lead.post(reverse("campaign_new"), form(check_share=0.1), follow=True).content.decode()
    assert "3 items" in page and "There are no attention checks yet" in page
    slug = Campaign.objects.get().slug
    examples = lead.post(reverse("example_act", args=[slug]), follow=True).content.decode()
    assert "There are no pairs for examples yet" in examples
    settings = reverse("campaign_settings", args=[slug])
    sent = lead.get(settings).context["form"].initial | {"qualification_size": 1}
    changed = lead.post(settings, {name: value for name, value in sent.items() if value is not None})
    assert "Enter at most 0 pairs; 0 means no qualification." in changed.content.decode()
    make_face(restorers=("lanczos",))
    list(pairing.build_pairs(Face.objects.all()))
    assert lead.post(reverse("campaign_new"), form(qualification_size=1, name="Other")).status_code == 302


def test_study_without_photographs_shows_the_input(lead, wild):
    study = Campaign(slug="study", name="Study", kind="study", overlap=1, show_reference=True, show_input=False)
    lifecycle.create_campaign(campaign=study, selection=Selection(), actor=make_user(is_staff=True))
    plain = Campaign(slug="plain", name="Plain", overlap=1, show_reference=True, show_input=False)
    lifecycle.create_campaign(campaign=plain, selection=Selection(), actor=make_user(is_staff=True))
    for campaign, can_see in ((plain, False), (study, True)):
        person = make_user()
        lifecycle.invite(campaign=campaign, annotators=[person])
        client = Client()
        client.force_login(person)
        page = client.get(f"/campaigns/{campaign.slug}/judge", follow=True)
        assert ("Reference, of low quality" in page.content.decode()) is can_see
        shown = page.context["pairs"][0]
        assert (shown.reference is not None) is can_see and shown.input is None
        lq = Candidate.objects.get(face=shown.face, source=Candidate.LQ)
        assert may_see(person, lq) is can_see
    answer = {"lease": shown.lease.token, "key": shown.key, "answer": "left", "seconds": 2}
    assert client.post("/campaigns/study/answer", answer).status_code == 302
    report = lead.get("/campaigns/study/study").content.decode()
    assert "1 face has no photograph: its reference was the low-quality picture." in report
    assert "1 of the faces have no photograph" in lead.get("/campaigns/study/study.tex").content.decode()
