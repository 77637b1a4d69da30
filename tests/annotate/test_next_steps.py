"""Next steps: from a finished training to pairs that people can judge, and from pages to the jobs that they need."""

import pytest
from django.contrib.auth.models import Permission

from annotate.evaluation import plan
from annotate.models import Candidate, Face, Job, LabelPolicy, Pair, Predictor, Restorer, Score
from annotate.pipeline import pairing
from refl import dataset
from tests.support.factories import make_campaign, make_face, make_user
from tests.support.run_folders import page_of, write_evaluation, write_folder, write_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def lead(client, run_root):
    client.force_login(make_user("lead", is_staff=True))
    return client


def add_restorations(name: str) -> None:
    restorer, _ = Restorer.objects.get_or_create(name=name, defaults={"kind": "network"})
    for face in Face.objects.all():
        sha256 = f"{face.pk:064d}".replace("0", "b", 1)
        Candidate.objects.create(face=face, source=name, restorer=restorer, sha256=sha256)


def restorations(client):
    return next(link for link in client.get("/").context["chain"].links if link.name == "restorations")


def test_trained_restorer_is_taken_into_judging_step_by_step(lead, run_root):
    write_folder(run_root, "small", "base")
    make_campaign(slug="first", faces=2)
    page = page_of(lead, "/runs/small/")
    assert '<a class="button primary" href="/jobs/new/restore/?restorer=small">Restore the faces with it</a>' in page
    assert "--restorer small" in page_of(lead, "/jobs/new/restore/?restorer=small")
    link = restorations(lead)
    assert (link.state, link.note) == ("missing", "small has not restored the faces yet")
    assert link.step.address == "/jobs/new/restore/?restorer=small"

    add_restorations("small")
    assert restorations(lead).state == "done"
    chain = lead.get("/").context["chain"]
    assert next(link for link in chain.links if link.name == "pairs").note == "2 restorations without pairs"
    assert ' primary" href="/jobs/new/build_pairs/">Build pairs</a>' in page_of(lead, "/runs/small/")

    assert sum(step.done for step in pairing.build_pairs(Face.objects.all())) == 2 * 4
    page = page_of(lead, "/runs/small/")
    assert ' primary" href="/jobs/new/score/">Score images</a>' in page
    Score.objects.bulk_create(Score(candidate=one, metric="psnr", value=1) for one in Candidate.objects.all())
    page = page_of(lead, "/runs/small/live")
    assert ' primary" href="/campaigns/new?restorer=small">New campaign with its pairs</a>' in page
    chosen = lead.get("/campaigns/new?restorer=small").context["selection"]["restorer_pairs"].value()
    assert chosen == ["dat-light|small", "lanczos|small", "realesrgan-x4plus|small"]
    assert Pair.objects.filter(first__source="small").exists()


def test_restorer_that_lacks_faces_is_chosen_in_the_next_step(lead, run_root):
    write_folder(run_root, "small", "base")
    make_face()
    add_restorations("small")
    make_face(restorers=("dat-light",))
    link = restorations(lead)
    assert link.note == "3 missing"
    assert link.step.address.endswith("?restorer=lanczos&restorer=realesrgan-x4plus&restorer=small")


def test_tuned_restorer_is_compared_with_its_base(lead, run_root):
    for name, kind in (("frm-1", "frm"), ("small", "base"), ("tuned", "refl")):
        write_folder(run_root, name, kind)
    config = run_root / "tuned" / "config.json"
    config.write_text(config.read_text().replace('"start": {', '"start": {"base_run": "small", '))
    make_face("test")
    assert "Compare it with its base" not in page_of(lead, "/runs/tuned/")
    add_restorations("small")
    add_restorations("tuned")
    address = "/jobs/new/evaluate/?restorers=small&restorers=tuned&base=small&frm=frm-1&trained_on=lpips"
    assert address.replace("&", "&amp;") in page_of(lead, "/runs/tuned/")
    form = lead.get(address).context["form"]
    assert not form.is_bound and form.as_sent().is_valid()

    photograph = Candidate.objects.get(source="hq")
    row = dataset.FaceRow(photograph.face_id, "a", "test", "", 64, hq=f"hq/{photograph.sha256}.png", lq="lq.png")
    for name in ("small", "tuned"):
        dataset.write(run_root / name / "faces.jsonl", [row])
        described = run_root / name / "config.json"
        described.write_text(described.read_text().replace('"config": {', '"config": {"held_out": 1, '))
    assert plan.monitored_faces(["tuned"], run_root) == {photograph.sha256}
    page = page_of(lead, "/runs/tuned/")
    assert "Compare it with its base" not in page
    assert 'href="/jobs/new/ingest/?split=test">All test faces monitored its training' in page


def test_next_steps_of_a_job_are_those_that_a_person_may_take(lead, run_root):
    write_folder(run_root, "frm-1", "frm")
    write_folder(run_root, "small", "base")
    person = make_user("starter", is_staff=True)
    job = Job.objects.create(kind="train_base", queue="training", state="done", run_name="small", started_by=person)
    page = page_of(lead, f"/jobs/{job.pk}/live")
    assert "Tune it by a reward model" not in page
    assert "/jobs/new/refl/" not in page
    lead.force_login(trainer := make_user("trainer", is_staff=True))
    trainer.user_permissions.add(Permission.objects.get(codename="start_training"))
    page = page_of(lead, f"/jobs/{job.pk}/live")
    assert "/jobs/new/refl/?base_run=small&amp;frm=frm-1" in page
    assert lead.get("/jobs/new/refl/?base_run=small&frm=frm-1").context["form"].as_sent().is_valid()
    Job.objects.filter(pk=job.pk).update(state="failed")
    assert "Next steps" not in page_of(lead, f"/jobs/{job.pk}/live")
    write_folder(run_root, "broken", "base", state="failed")
    Job.objects.filter(pk=job.pk).update(run_name="broken", may_pass=True)
    assert f'href="/jobs/{job.pk}/">Open job {job.pk}, which can be resumed</a>' in page_of(lead, "/runs/broken/")


def test_pages_offer_jobs_in_place_of_commands(lead, run_root):
    person = make_user("ann")
    make_campaign(slug="plain", faces=1, members=[person])
    assert 'href="/jobs/new/fit_predictor/"' in page_of(lead, "/campaigns/plain/")
    versions = [Predictor.objects.create(status=state) for state in ("ready", "ready", "failed")]
    LabelPolicy.objects.update(pinned=versions[1])
    page = page_of(lead, "/predictors")
    for address in ("autolabel/?max_error=0.1", "fit_predictor/", "learning_curve/", "score/"):
        assert f'href="/jobs/new/{address}"' in page
    rollbacks = [f'"/jobs/new/rollback_predictor/?version={version.pk}"' in page for version in versions]
    assert rollbacks == [True, False, False]  # neither to the current version nor to a failed one
    assert "manage.py" not in page.replace("manage.py weights fetch", "")  # which is for the operator
    write_run(run_root, state="done")
    assert 'href="/jobs/new/evaluate_frm/?run=frm-1"' in page_of(lead, "/runs/frm-1/")
    write_evaluation(run_root / "frm-1", simulated=False)
    assert "manage.py" not in page_of(lead, "/runs/frm-1/")
    page = page_of(lead, "/campaigns/plain/agreement")
    assert 'href="/jobs/new/make_gold/"' in page and "manage.py" not in page
    downloaded = page_of(lead, "/campaigns/plain/agreement.html")  # where a link to the site is of no use
    assert "manage.py make_gold" in downloaded and "/jobs/" not in downloaded
