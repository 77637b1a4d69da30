"""Jobs: forms made from commands, who may start what, and commands that are run by the job runner."""

import errno
import os
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import CommandError
from django.utils import timezone
from django.utils.translation import override

from annotate.common import progress_file, task_queue
from annotate.common.refusals import Refused
from annotate.engine.ray_address import RAY_OPTIONS
from annotate.jobs import folders, lifecycle, sources
from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import KINDS
from annotate.jobs.option_fields import help_of
from annotate.management.commands.serve import parts_of
from annotate.management.stage_command import command_error
from annotate.models import AuditEntry, GoldSet, Job, Predictor, User, WorkerHeartbeat
from annotate.serving import job_runner
from tests.support.factories import make_campaign, make_user
from tests.support.run_folders import write_folder
from tests.support.servers import ROOT

pytestmark = pytest.mark.django_db
State = Job.State


@pytest.fixture
def trainer(client, db) -> User:
    """A lead who may start trainings, signed in."""
    person = make_user("trainer", is_staff=True)
    person.user_permissions.add(Permission.objects.get(codename="start_training"))
    client.force_login(person)
    return User.objects.get(pk=person.pk)


@pytest.fixture
def data_folder(settings, tmp_path) -> Path:
    """A folder that the operator allowed, and links in it that leave it."""
    folder, outside = tmp_path / "allowed", tmp_path / "outside"
    for path in (folder / "ffhq" / "part", folder / ".hidden", outside):
        path.mkdir(parents=True)
    (folder / "captions.csv").write_text("path,caption\n")
    (outside / "secret.csv").write_text("path\n")
    (folder / "link").symlink_to(outside)
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    settings.DATA_FOLDERS = [folder]
    return folder


def filled(kind: str, user: User, **values) -> JobForm:
    """Return a form with its initial values, changed by `values`."""
    empty = JobForm(KINDS[kind], user=user)
    initial = {name: empty.get_initial_for_field(field, name) for name, field in empty.fields.items()}
    return JobForm(KINDS[kind], initial | values, user=user)


def start(kind: str, user: User, **values) -> tuple[Job, bool]:
    form = filled(kind, user, **values)
    assert form.is_valid(), form.errors
    return lifecycle.start(form, user=user)


def choose(form: JobForm) -> dict[str, object]:
    """Return a value for each required field."""
    found = {}
    for name, field in form.fields.items():
        if field.required and not field.initial:
            known = [value for value, _label in getattr(field, "choices", ()) if value]
            found[name] = known[-1] if known else "new-name"
            if getattr(field.widget, "allow_multiple_selected", False) or getattr(field, "is_list", False):
                found[name] = [found[name]]
    return found


@pytest.fixture
def choices(run_root, data_folder, tmp_path, monkeypatch) -> None:
    """One of each thing that can be chosen."""
    GoldSet.objects.create(campaign=make_campaign(), seed=0, pairs_sha256="0" * 64)
    Predictor.objects.create(status=Predictor.Status.READY)
    for kind in ("frm", "base"):
        write_folder(run_root, f"{kind}-a", kind)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.pth").write_bytes(b"1")
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path / "weights"))


def options_of(form: JobForm) -> dict:
    return vars(form.parser.parse_args(form.arguments()))


# Needed only without another option, so the form does not require it.
NEEDED = {"refl": {"frm": "frm-a"}, "ablate": {"base_run": "base-a"}, "ingest": {"path": "data:0:ffhq"}}


@pytest.mark.parametrize("name", KINDS)
def test_form_of_each_kind_parses_back_to_its_values(name, trainer, choices):
    kind = KINDS[name]
    form = filled(name, trainer, **choose(JobForm(kind, user=trainer)) | NEEDED.get(name, {}))
    assert form.is_valid(), form.errors
    read = options_of(form)
    for action in form.actions:
        value = form.values().get(action.dest)
        if kind.sources.get(action.dest) is sources.OUTPUT:
            continue
        if value is None:
            assert read[action.dest] == action.default
        elif action.dest not in kind.sources:
            assert read[action.dest] in (value, [value]) or str(read[action.dest]) == value
    known = {action.dest for action in form.parser._actions}
    named = {*kind.first, *kind.sources, *kind.withheld, *kind.required, *kind.for_trainers, *kind.initial}
    assert named <= known


def test_values_of_every_type_reach_the_command(trainer, choices):
    form = filled(
        "train_frm", trainer, backbone="compact", iterations="12", learning_rate="1e-5", mirror="no", cosine="yes",
        run="a-run", save_every="10", log_every="5", precision="fp32",
    )  # fmt: skip
    assert form.is_valid(), form.errors
    read = options_of(form)
    assert (read["iterations"], read["learning_rate"], read["mirror"], read["cosine"]) == (12, 1e-5, False, True)
    assert "--no-mirror --cosine" in form.command_line() or "--cosine --no-mirror" in form.command_line()
    several = filled("evaluate_frm", trainer, run="frm-a", human_fraction="0 0.5 1", baseline=["frm-a"])
    assert several.is_valid(), several.errors
    assert options_of(several)["human_fraction"] == [0.0, 0.5, 1.0]
    folder = filled("restore", trainer, from_folder=["ffhq=data:0:ffhq"], restorer=["lanczos", "base-a"])
    assert folder.is_valid(), folder.errors
    assert options_of(folder)["from_folder"][0].startswith("ffhq=/")


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        ("train_base", "iterations", "٣", "is not a number"),
        ("train_base", "iterations", "9" * 30, "is not a number"),
        ("train_base", "iterations", "ten", "ten is not a number"),
        ("train_base", "save_every", "7", "save_every must be a multiple of log_every"),
        ("train_base", "run", "--faces=/etc", "must not begin with a dash"),
        ("train_base", "run", "a\0b", "Null characters"),
        ("train_base", "device", "tpu", "not one of the available choices"),
        ("ablate", "table", "5", "varies the number of steps with gradient, but the base compact has 1"),
        ("refl", "backprop_steps", "2", "is more than the base compact has denoising steps: 1"),
        ("refl", "preset", "dr2", "dr2-spar is free for non-commercial use only"),
        ("make_gold", "pairs", "-4", "-4 is not a positive integer"),
        ("autolabel", "confidence", "0.9", "needs --max-error"),
        ("ingest", "split", "train=2", "the shares must sum to 1"),
        ("ingest", "dataset", "My Faces!", "use at most 60 small letters"),
        ("ingest", "path", "data:0:../outside", "not one of the available choices"),
        ("ingest", "path", "/etc/passwd", "not one of the available choices"),
    ],
)
def test_wrong_value_is_refused_with_a_reason(kind, field, value, message, trainer, choices):
    chosen = {"path": "data:0:ffhq", "base_run": "base-a", "frm": "frm-a", "judge": ""}
    form = filled(kind, trainer, **chosen | {field: value})
    assert not form.is_valid()
    assert message in " ".join(fault for faults in form.errors.values() for fault in faults)


def test_only_choice_of_a_required_option_is_chosen(client, trainer):
    for number, slug in enumerate(("gold", "second")):
        GoldSet.objects.create(campaign=make_campaign(slug=slug, faces=1), seed=1)
        page = client.get("/jobs/new/freeze_gold/").content.decode()
        assert ('<option value="">–</option>' in page or '<option value="" selected>–</option>' in page) is bool(number)


def test_options_not_offered_cannot_be_smuggled_in(trainer, client, choices):
    form = filled("train_frm", trainer, backbone="compact", manifest="/etc/passwd", images="/etc", verbosity="3")
    assert form.is_valid()
    assert "/etc" not in form.command_line()
    assert not {"manifest", "images", "verbosity", "settings"} & set(form.values())
    job, _ = lifecycle.start(form, user=trainer)
    Job.objects.filter(pk=job.pk).update(values=job.values | {"manifest": "/etc/passwd"})
    with pytest.raises(Refused, match="manifest is not offered"):
        lifecycle.form_of(Job.objects.get(pk=job.pk))
    Job.objects.filter(pk=job.pk).update(kind="shell", values={})
    with pytest.raises(Refused, match="no job of the kind shell"):
        lifecycle.form_of(Job.objects.get(pk=job.pk))


def test_files_are_chosen_inside_allowed_folders_only(data_folder, tmp_path):
    roots = folders.data_roots()
    assert [token for token, _ in folders.list_folders(roots, with_root=True)] == [
        "data:0:", "data:0:ffhq", "data:0:ffhq/part",
    ]  # fmt: skip
    assert [token for token, _ in folders.list_files(roots)] == ["data:0:captions.csv"]
    assert folders.resolve("data:0:ffhq/part") == (data_folder / "ffhq" / "part").resolve()
    outside = ("data:0:../outside", "data:0:link/secret.csv", "data:0:link.csv", "data:0:/etc", "data:1:ffhq", "runs:x")
    for token in (*outside, "data:0:ffhq/../../outside", "data:0:missing", "data:0:a\0", "/etc/passwd", ""):
        with pytest.raises(folders.NotAllowed):
            folders.resolve(token)


def test_roles_decide_who_may_start_what(client, trainer, choices):
    pages = [f"/jobs/new/{name}/" for name in ("export", "train_frm", "refl")]
    assert [client.get(page).status_code for page in pages] == [200, 200, 200]
    client.force_login(make_user("lead", is_staff=True))
    assert [client.get(page).status_code for page in pages] == [200, 403, 403]
    assert client.post("/jobs/new/train_base/", {}).status_code == 403
    evaluation = client.get("/jobs/new/evaluate_frm/").content.decode()
    assert "--human-fraction" not in evaluation
    assert "--baseline" in evaluation
    job, _ = start("train_base", trainer)
    assert client.post(f"/jobs/{job.pk}/do/cancel").status_code == 403
    client.force_login(make_user("annotator"))
    assert {client.get(page).status_code for page in (*pages, "/jobs/", f"/jobs/{job.pk}/", f"/jobs/{job.pk}/log")} == {
        403
    }
    trainer.user_permissions.clear()
    with pytest.raises(Refused, match="may not start"):  # the queue checks it again
        lifecycle.form_of(Job.objects.get(pk=job.pk))
    assert client.get("/jobs/new/shell/").status_code == 403


def test_job_goes_from_form_to_queue_once(client, trainer):
    page = client.post("/jobs/new/export/", {"format": "csv", "consensus": "majority", "check": "1"}).content.decode()
    assert "python manage.py export OUT --format csv" in page
    assert "The options are valid. Nothing was started." in page
    assert not Job.objects.exists()
    shown = client.post("/jobs/new/export/command", {"format": "nonsense"}).content.decode()
    assert "nonsense is not one of the available choices" in shown
    for _ in range(2):
        started = client.post("/jobs/new/export/", {"format": "csv", "consensus": "majority"})
        assert started["Location"] == f"/jobs/{Job.objects.get().pk}/"
    assert "was not started twice" in client.get(started["Location"]).content.decode()
    job = Job.objects.get()
    assert (job.state, job.queue, job.values) == (State.QUEUED, "stages", {"format": "csv"})
    assert "No process works on the queue" in client.get(f"/jobs/{job.pk}/live").content.decode()
    assert client.get(f"/jobs/{job.pk}/live", {"seen": job.version}).status_code == 204
    client.post(f"/jobs/{job.pk}/do/cancel")
    assert client.post(f"/jobs/{job.pk}/do/nonsense").status_code == 404
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    client.post(f"/jobs/{job.pk}/do/resume")
    assert "already ended" not in client.post(f"/jobs/{job.pk}/do/cancel", follow=True).content.decode()
    again = client.get(f"/jobs/new/export/?from={job.pk}").content.decode()
    assert '<option value="csv" selected>' in again
    actions = AuditEntry.objects.filter(target=f"job {job.pk}").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["start-job", "cancel-job", "resume-job", "cancel-job"]


def test_address_fills_in_options_of_the_form(client, trainer, choices):
    page = client.get("/jobs/new/restore/?restorer=lanczos&restorer=base-a&faces=test&shell=rm").content.decode()
    assert "python manage.py restore --skip-bad --restorer lanczos --restorer base-a --faces test" in page
    assert 'value="base-a" id="id_restorer_3" checked' in page
    form = client.get("/jobs/new/fit_predictor/?refit=on").context["form"]
    assert (form["refit"].value(), form.is_bound) == (True, False)
    earlier, _ = start("export", trainer, format="csv", with_images=True)
    changed = client.get(f"/jobs/new/export/?from={earlier.pk}&format=hpdv2").context["line"]
    assert "--format hpdv2" in changed and "--with-images" in changed


def test_bad_option_in_an_address_is_marked_alone(client, trainer, choices):
    response = client.get("/jobs/new/ingest/?split=train%3D2&dataset=new")
    assert list(response.context["form"].errors) == ["split"]  # not the folder, which the person has yet to choose
    assert "The link that you followed fills in an option that is not valid here" in response.content.decode()
    response = client.get("/jobs/new/evaluate/?restorers=gone&base=%00")
    assert {"restorers", "base"} == set(response.context["form"].errors)
    assert response.context["line"] == ""


@pytest.mark.database
def test_same_job_waits_or_runs_once_and_is_claimed_once(trainer):
    first, is_new = start("fit_predictor", trainer)
    assert is_new
    assert start("fit_predictor", trainer) == (first, False)
    other, is_new = start("fit_predictor", trainer, refit=True)
    assert is_new
    assert lifecycle.claim("training", "here") is None
    assert [lifecycle.claim("stages", "here") for _ in range(3)] == [first, other, None]
    with pytest.raises(Refused, match="waits or runs already"):
        lifecycle.resume(first, user=trainer)
    Job.objects.filter(pk=first.pk).update(state=State.INTERRUPTED)
    third, _ = start("fit_predictor", trainer)
    assert lifecycle.resume(first, user=trainer) == third
    assert Job.objects.get(pk=first.pk).state == State.INTERRUPTED


def test_waiting_job_without_a_process_makes_the_site_not_ready(client, trainer, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    start("train_base", trainer)
    assert client.get("/ready").json()["parts"]["jobs"] == "ok"
    Job.objects.update(queued_at=timezone.now() - timedelta(seconds=70))
    assert client.get("/ready").json()["parts"]["jobs"].startswith("a job of queue training has been waiting for 70")
    assert "serve --queue training" in client.get("/jobs/").content.decode()
    WorkerHeartbeat.objects.create(
        name=task_queue.worker_name("training"), queue="training", started_at=timezone.now(), at=timezone.now(),
        processes=1,
    )  # fmt: skip
    assert client.get("/ready").json()["parts"]["jobs"] == "ok"
    assert client.get("/ready").json()["parts"]["worker"] != "ok"  # it is no worker of the other queue


def test_files_of_ended_jobs_expire(client, trainer, settings, tmp_path):
    settings.DATA_ROOT = tmp_path
    job, _ = start("export", trainer, format="csv")
    assert client.get(f"/jobs/{job.pk}/result").status_code == 404
    lifecycle.folder_of(job).mkdir(parents=True)
    lifecycle.result_of(job).write_bytes(b"zip")
    (tmp_path / "jobs" / "999999").mkdir()
    ended = {"state": State.DONE, "result": {"bytes": 3}, "log_end": "done"}
    Job.objects.filter(pk=job.pk).update(**ended, ended_at=timezone.now() - timedelta(days=13))
    job_runner.delete_expired_files()
    assert client.get(f"/jobs/{job.pk}/result")["Content-Disposition"] == f'attachment; filename="export-{job.pk}.zip"'
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [str(job.pk)]
    Job.objects.filter(pk=job.pk).update(ended_at=timezone.now() - timedelta(days=15))
    job_runner.delete_expired_files()
    assert client.get(f"/jobs/{job.pk}/result").status_code == 404
    assert not lifecycle.folder_of(job).exists()
    assert "done" not in Job.objects.get(pk=job.pk).log_end


@pytest.mark.parametrize("name", KINDS)
def test_form_of_each_kind_is_german(name, client, trainer):
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    page = client.get(f"/jobs/new/{name}/")
    assert "Gegenwärtig" in page.content.decode() or name == "evaluate_frm"
    english, german = [], []
    for language, helps in (("en", english), ("de", german)):
        with override(language):
            helps += [(action.dest, help_of(action)) for action in page.context["form"].actions]
    same = {option for option, text in german if text and (option, text) in english}
    assert same <= {"device", "seed"}  # nothing but names and numbers


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -r requirements-ray.txt")
def test_options_of_a_cluster_are_offered_only_where_there_is_one(trainer, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    form = filled("score", trainer, workers="2", engine="ray")
    assert not RAY_OPTIONS & set(form.fields)
    assert form.is_valid()
    assert "--workers 2" in form.command_line()
    assert "ray" not in form.command_line()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    form = filled("score", trainer, engine="ray", gpus_per_worker="0.5")
    assert form.is_valid(), form.errors
    assert "--engine ray --gpus-per-worker 0.5" in form.command_line()
    ours = [action for action in form.actions if action.dest in RAY_OPTIONS]
    english = [help_of(action) for action in ours]
    with override("de"):
        assert not set(english) & {help_of(action) for action in ours}


def test_error_is_the_message_of_the_newest_attempt():
    first = "$ python manage.py score\nCommandError: Old.\n"
    assert job_runner.last_error(first) == "Old."
    assert (
        job_runner.last_error(first + "\n$ python manage.py score\nTraceback\nValueError: new\n") == "ValueError: new"
    )
    assert job_runner.last_error("$ x\n1 a\nCommandError: Two\nlines.\n") == "Two\nlines."
    assert job_runner.last_error("") == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), progress_file.MAY_PASS),
        (FileNotFoundError("weights.pth"), 1),
        (ValueError("iterations must be at least 1"), 1),
    ],
    ids=["disk full", "missing file", "option"],
)
def test_exit_code_says_whether_the_command_may_succeed_later(error, code):
    assert command_error(error).returncode == code
    log = "$ python manage.py score\nCommandError: Why.\n"
    assert job_runner.may_pass(code, log) == (code != 1)
    assert job_runner.may_pass(1, "\n$ python manage.py score\nTraceback\nValueError: crashed\n")
    assert job_runner.may_pass(-9, log)


def test_refused_job_leads_to_its_options_not_to_the_same_again(client, trainer):
    job, _ = start("export", trainer, format="csv", with_images=True)
    Job.objects.filter(pk=job.pk).update(state=State.FAILED)
    page = client.get(f"/jobs/{job.pk}/live").content.decode()
    assert "job-resume" not in page
    assert f'class="button primary" id="job-change" href="/jobs/new/export/?from={job.pk}"' in page
    answer = client.post(f"/jobs/{job.pk}/do/resume", follow=True).content.decode()
    assert "or would fail again" in answer
    Job.objects.filter(pk=job.pk).update(may_pass=True)
    page = client.get(f"/jobs/{job.pk}/live").content.decode()
    assert 'class="primary" id="job-resume"' in page and 'class="button" id="job-change"' in page


def test_parts_of_serve_follow_from_only_and_queue():
    assert parts_of(None, None) == ("web", "worker", "training")
    assert parts_of(None, "stages") == ("web", "worker")
    assert parts_of("worker", None) == ("worker", "training")
    assert parts_of("worker", "stages") == ("worker",)
    assert parts_of(None, "training") == parts_of("worker", "training") == ("training",)
    with pytest.raises(CommandError, match="runs no jobs"):
        parts_of("web", "training")


def test_forms_load_no_heavy_library():
    code = (
        "import django, sys; django.setup()\n"
        "from annotate import urls\n"
        "from django.core.management import load_command_class\n"
        "from annotate.jobs.kinds import KINDS\n"
        "for kind in KINDS.values(): load_command_class('annotate', kind.command_name).create_parser('', '')\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'pandas', 'accelerate'} & set(sys.modules)))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "annotate.settings"}
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert printed.stdout.strip() == "[]"
