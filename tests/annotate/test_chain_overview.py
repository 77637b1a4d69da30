"""The overview of the chain: what is there, what is missing, and what comes next."""

import pytest
from django.urls import reverse

from annotate.models import Candidate, Face, GoldSet, Job, LabelPolicy, Membership, Predictor, StageRun
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def overview(client, run_root):
    client.force_login(make_user("lead", is_staff=True))

    def read():
        response = client.get("/")
        assert response.status_code == 200
        chain = response.context["chain"]
        return {link.name: link for link in chain.links}, chain.next, response.content.decode()

    return read


def test_empty_site_asks_for_photographs_first(overview):
    links, step, page = overview()
    assert {link.state for link in links.values()} == {"empty"}
    assert step.name == "faces"
    assert step.step.address == reverse("uploads")
    assert "0 faces, 0 data sets" in page


def test_first_incomplete_link_comes_next(overview):
    make_campaign(slug="open", faces=2)
    Face.objects.update(caption="a face")
    links, step, _ = overview()
    assert links["faces"].state == links["captions"].state == links["pairs"].state == "done"
    assert step.name == "scores"
    Candidate.objects.filter(source="lq").first().delete()
    links, step, _ = overview()
    assert (links["lq"].state, links["lq"].note) == ("missing", "1 missing")
    assert step.name == "lq"


def test_running_and_failed_jobs_are_shown_with_their_links(overview):
    user = make_user("starter", is_staff=True)
    job = Job.objects.create(kind="ingest", queue="stages", state="running", done=3, total=9, started_by=user)
    links, step, _ = overview()
    assert (links["faces"].state, links["faces"].note) == ("running", "3 of 9")
    assert step is None or step.name != "faces"
    Job.objects.filter(pk=job.pk).update(state="failed")
    links, step, page = overview()
    assert links["faces"].state == "failed"
    assert step.step.address == reverse("job", args=[job.pk])
    assert "The last job failed." in page


def test_demo_in_preparation_is_not_offered_as_a_step(overview):
    StageRun.objects.create(stage="demo", done=3, total=9)
    _, _, page = overview()
    assert "The demo is being prepared: 3 of 9 photographs" in page
    assert 'id="next-step"' not in page
    StageRun.objects.update(state="done")
    assert 'id="next-step"' in overview()[2]


def test_gold_set_without_all_answers_waits_for_people(overview):
    person = make_user("ann")
    campaign = make_campaign(slug="gold", faces=1, members=[person])
    GoldSet.objects.create(campaign=campaign, seed=1)
    Job.objects.create(kind="freeze_gold", queue="stages", state="failed", started_by=person)
    links, step, _ = overview()
    assert (links["gold"].state, links["gold"].note, links["gold"].step) == ("missing", "0 of 3 answers", None)
    assert step.name != "gold"
    Job.objects.all().delete()
    Membership.objects.update(answered=3)
    links, _, _ = overview()
    assert (links["gold"].note, links["gold"].step.text) == ("not frozen yet", "Freeze a gold set")


def test_simulated_labels_are_not_called_labels_of_people(overview):
    LabelPolicy.objects.update_or_create(pk=1, defaults={"count_simulated": True})
    version = Predictor.objects.create(status="ready", labels=18, simulated_labels=12)
    assert overview()[0]["labels"].count == "6 of people, 12 SIMULATED, 0 of the SVM"
    Predictor.objects.filter(pk=version.pk).update(simulated_labels=0)
    assert overview()[0]["labels"].count == "18 of people, 0 of the SVM"


def test_annotators_see_their_campaigns_instead(client):
    person = make_user("ann")
    make_campaign(slug="open", faces=1, members=[person])
    client.force_login(person)
    assert "Judge" in client.get("/").content.decode()
    assert client.get(reverse("overview")).status_code == 403
