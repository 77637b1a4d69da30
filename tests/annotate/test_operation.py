"""What operators see: health, metrics, logs, headers, old rows, and work that a killed worker left behind."""

import json
import logging
import uuid
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.models import Failure, OrmQ
from django_q.tasks import async_task

from annotate.accounts import retention, tokens
from annotate.common import task_queue
from annotate.desk import judging, leasing
from annotate.models import AccessToken, FailedSignIn, RefitRequest, WorkerHeartbeat
from annotate.predictor import refit_requests, refitting
from annotate.settings import logs
from tests.support.factories import make_campaign, make_user

TOKEN = {"Authorization": "Bearer a-secret-of-the-monitoring"}


def make_worker(*, busy: int = 0, started: float = 0, reported: float = 0) -> WorkerHeartbeat:
    """Make a worker that started and reported so many seconds ago."""
    now = timezone.now()
    return WorkerHeartbeat.objects.create(
        name=uuid.uuid4().hex, started_at=now - timedelta(seconds=started), at=now - timedelta(seconds=reported),
        processes=2, busy=busy,
    )  # fmt: skip


def queue_task(*, waiting: float = 0, taken: float | None = None) -> OrmQ:
    """Queue a task that has been waiting, or was taken by a worker, so many seconds ago."""
    async_task("annotate.tasks.refit_predictor")
    task = OrmQ.objects.order_by("-pk").first()
    lock = timedelta(seconds=-waiting) if taken is None else timedelta(seconds=3700 - taken)
    OrmQ.objects.filter(pk=task.pk).update(lock=timezone.now() + lock)
    return task


def parts(client) -> tuple[int, dict[str, str]]:
    response = client.get("/ready", headers={"Host": "10.0.0.7:8000"})
    return response.status_code, {name: fault for name, fault in response.json()["parts"].items() if fault != "ok"}


@pytest.mark.django_db
def test_ready_names_each_part_that_does_not_work(client, settings, tmp_path):
    assert parts(client) == (503, {"worker": "no worker has reported in the last 45 seconds"})
    worker = make_worker()
    assert parts(client) == (200, {})
    queue_task(waiting=70)
    assert parts(client) == (503, {"queue": "a task has been waiting for 70 seconds"})
    WorkerHeartbeat.objects.update(busy=2)  # a grid search and a refit may take longer
    assert parts(client) == (200, {})
    WorkerHeartbeat.objects.filter(pk=worker.pk).update(at=timezone.now() - timedelta(seconds=50))
    assert set(parts(client)[1]) == {"worker", "queue"}
    OrmQ.objects.all().delete()
    make_worker()
    settings.LEAST_FREE_MB = 10**9
    status, faults = parts(client)
    assert (status, set(faults)) == (503, {"disk"})
    assert "MB are free in DATA_ROOT" in faults["disk"]
    settings.LEAST_FREE_MB, settings.MEDIA_ROOT = 0, settings.DATA_ROOT / "secret_key"  # a file
    assert parts(client) == (503, {"media": "MEDIA_ROOT is not writable"})


@pytest.mark.django_db
def test_health_stays_200_without_a_database(client):
    def fails(execute, sql, parameters, many, context):
        raise OperationalError("the password is hunter2")

    with connection.execute_wrapper(fails):
        ready, health = client.get("/ready"), client.get("/health")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert health.json()["parts"]["database"] == "unavailable"
    assert health.json()["status"] == "impaired"
    assert b"hunter2" not in ready.content
    assert client.post("/ready").status_code == 405


@pytest.mark.django_db
def test_metrics_need_the_token_and_count_answers_and_errors(client, settings):
    assert client.get("/metrics").status_code == 404
    settings.METRICS_TOKEN = TOKEN["Authorization"].removeprefix("Bearer ")
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    judge()
    make_worker()
    queue_task(waiting=5)
    client.get("/campaigns/new")
    lines = client.get("/metrics", headers=TOKEN).content.decode().splitlines()
    for line in (
        "diffusionreward_answers_total 1.0",
        'diffusionreward_ready{part="worker"} 1.0',
        'diffusionreward_refits_total{status="ready"} 0.0',
        "diffusionreward_workers 1.0",
        "diffusionreward_failed_tasks 0.0",
    ):
        assert line in lines
    waits = [float(line.split()[1]) for line in lines if line.startswith("diffusionreward_queue_wait_seconds")]
    assert 5 <= waits[0] < 60
    counted = 'diffusionreward_request_seconds_count{method="GET",route="/campaigns/new",status="302"}'
    assert any(line.startswith(counted) for line in lines)


def judge() -> None:
    """Store an answer."""
    person = make_user()
    campaign = make_campaign(members=[person])
    lease = leasing.lease_items(annotator=person, campaign=campaign, depth=1)[0]
    judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="left")


@pytest.fixture
def json_log():
    """The records of a log in JSON, as `LOG_FORMAT=json` writes them."""
    written: list[dict] = []
    configured = logging.config.DictConfigurator(logs.logging_settings("INFO", "json", access=True))
    configured.configure()
    handler = logging.getLogger().handlers[0]

    class Stream:
        write = staticmethod(lambda text: written.extend(map(json.loads, text.splitlines())))
        flush = staticmethod(lambda: None)

    handler.setStream(Stream)
    yield written
    logging.config.dictConfig(logs.logging_settings("WARNING", "text", access=False))


@pytest.mark.django_db
def test_log_has_request_id_and_route_but_no_token(client, json_log):
    response = client.get("/join/a-secret-token", headers={"X-Request-ID": "id-of-the-proxy"})
    assert response["X-Request-ID"] == "id-of-the-proxy"
    access, refusal = (record for record in json_log if record["logger"] in ("annotate.access", "django.request"))
    assert (access["route"], access["status"], access["method"]) == ("/join/<str:token>", 404, "GET")
    assert access["request_id"] == refusal["request_id"] == "id-of-the-proxy"
    assert "a-secret-token" not in json.dumps(json_log)
    made = client.get("/accounts/login/", headers={"X-Request-ID": "two\nlines"})["X-Request-ID"]
    assert len(made) == 16
    assert made != client.get("/accounts/login/")["X-Request-ID"]


@pytest.mark.django_db
def test_server_error_shows_the_id_of_its_log_entry(client, json_log):
    def fails(execute, sql, parameters, many, context):
        raise RuntimeError("broken")

    client.raise_request_exception = False
    with connection.execute_wrapper(fails):
        response = client.get("/join/a-secret-token")
    assert response.status_code == 500
    assert f"under {response['X-Request-ID']}." in response.content.decode()
    error = next(record for record in json_log if record["level"] == "ERROR")
    assert error["request_id"] == response["X-Request-ID"]
    assert "RuntimeError: broken" in error["exc_info"]


@pytest.mark.django_db
def test_pages_are_not_stored_and_show_times_with_their_zone(lead, settings):
    campaign = make_campaign(members=[make_user()])
    settings.TIME_ZONE = "Asia/Tokyo"
    page = lead.get(f"/campaigns/{campaign.slug}/log")
    assert page["Cache-Control"] == "private, no-store"
    assert " JST</span></time>" in page.content.decode()


@pytest.mark.django_db
def test_pages_say_that_no_worker_uses_the_answers(lead):
    judge()
    notice = "no worker has reported in the last minute"
    assert notice in lead.get("/predictors").content.decode()
    make_worker()
    assert notice not in lead.get("/predictors").content.decode()


@pytest.mark.django_db
def test_pruning_deletes_old_rows_only(settings):
    now = timezone.now()
    for name, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=name, session_data="", expire_date=now + timedelta(days=days))
    for name, days in (("old", 31), ("new", 29)):
        stopped = now - timedelta(days=days)
        Failure.objects.create(id=name, name=name, func="x", started=stopped, stopped=stopped, success=False)
    for minutes in (11, 9):
        FailedSignIn.objects.create(name="a", address="b", at=now - timedelta(minutes=minutes))
    make_worker(reported=90_000)
    make_worker()
    for days in (31, 29):
        tokens.create(user=make_user(), days=1)
        AccessToken.objects.filter(expires_at__gt=now).update(expires_at=now - timedelta(days=days))
    assert retention.prune() == {
        "sessions": 1, "failed tasks": 1, "failed sign-ins": 1, "workers": 1, "expired tokens": 1,
    }  # fmt: skip
    assert (
        set(Session.objects.values_list("pk", flat=True))
        == set(Failure.objects.values_list("pk", flat=True))
        == {"new"}
    )


@pytest.mark.database
@pytest.mark.django_db
def test_lost_refit_is_requested_once():
    judge()  # queues a refit
    assert not refit_requests.request_lost_refit()
    OrmQ.objects.all().delete()
    refit_requests.take_refit_request()  # by a worker that was then killed
    assert refit_requests.request_lost_refit()
    assert not refit_requests.request_lost_refit()
    assert OrmQ.objects.count() == 1
    refit_requests.take_refit_request()
    assert refitting.refit_while_labels_wait() == 0  # too few answers
    assert not refit_requests.request_lost_refit(), "the answers were considered"
    RefitRequest.objects.update(considered_judgement_id=0, running_until=timezone.now() + timedelta(minutes=1))
    assert not refit_requests.request_lost_refit(), "a refit is running"


@pytest.mark.database
@pytest.mark.django_db
def test_tasks_of_an_ended_worker_are_released():
    make_worker(started=60)
    kept = [queue_task(taken=30), queue_task(waiting=5)]
    abandoned = queue_task(taken=90)
    assert task_queue.release_abandoned_tasks() == 1
    assert task_queue.release_abandoned_tasks() == 0
    abandoned.refresh_from_db()
    assert abandoned.lock <= timezone.now()
    kept[0].refresh_from_db()
    assert kept[0].lock > timezone.now()
