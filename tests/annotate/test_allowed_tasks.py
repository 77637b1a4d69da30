"""The background queue runs our own functions only, wherever a task came from."""

import base64
import pickle
import re
from datetime import timedelta

import pytest
from django.core import signing
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule, Task
from django_q.scheduler import scheduler
from django_q.signing import PickleSerializer, SignedPackage
from django_q.tasks import async_task

from annotate.common.allowed_tasks import TASKS, NotOurTask
from annotate.tasks import queue_leftover_work
from tests.support.factories import make_user
from tests.support.servers import ROOT

pytestmark = pytest.mark.django_db
OURS = "annotate.tasks.refit_predictor"


class Shell:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def plant(task) -> None:
    """Write a row into the queue's table, as someone could who has the secret key too."""
    package = signing.dumps(task, key=Conf.SECRET_KEY, salt=Conf.PREFIX, serializer=PickleSerializer)
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload=package, lock=timezone.now() - timedelta(seconds=1))


@pytest.mark.database
@pytest.mark.parametrize(
    "extra", [{"func": "os.system"}, {"func": exec}, {"hook": "os.system"}, {"chain": [("os.system",)]}]
)
def test_foreign_task_planted_in_queue_is_removed_unrun(caplog, extra):
    plant({"id": "1", "name": "planted", "func": OURS, "args": (), "kwargs": {}} | extra)
    assert get_broker().dequeue() == []
    assert not OrmQ.objects.exists()
    assert "A task was removed from the queue" in caplog.text


@pytest.mark.database
def test_pickle_in_queue_or_results_is_never_executed(tmp_path, caplog):
    trace = tmp_path / "executed"
    plant({"id": "1", "name": "planted", "func": OURS, "args": (Shell(trace),)})
    assert get_broker().dequeue() == []
    assert "exec" in caplog.text
    planted = base64.b64encode(pickle.dumps(Shell(trace))).decode()
    now = timezone.now()
    Task.objects.create(id="2", name="planted", func=OURS, started=now, stopped=now, success=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_q_task SET result = %s", [planted])
    assert Task.objects.get().result == planted
    assert not trace.exists()


def test_our_own_task_passes_the_queue():
    async_task(OURS)
    waiting = get_broker().dequeue()
    assert [SignedPackage.loads(payload)["func"] for _, payload in waiting] == [OURS]


def test_foreign_function_cannot_be_queued_or_scheduled(caplog):
    with pytest.raises(NotOurTask, match=r"os\.system"):
        async_task("os.system", "true")
    due = timezone.now() - timedelta(minutes=1)
    for fields in ({"func": "os.system", "args": "'true'"}, {"func": OURS, "hook": "os.system"}):
        Schedule.objects.all().delete()
        Schedule.objects.create(next_run=due, schedule_type=Schedule.ONCE, **fields)
        scheduler(broker=get_broker())
        assert not OrmQ.objects.exists()
        assert "was refused" in caplog.text
    for fields in ({"func": "os.system"}, {"func": OURS}):
        Schedule.objects.create(next_run=due, **fields)
    queue_leftover_work(alone=True)
    assert list(Schedule.objects.values_list("func", "hook")) == [(OURS, None)]


def test_every_task_that_the_code_queues_is_allowed():
    queued = [
        name
        for path in ROOT.glob("annotate/**/*.py")
        for name in re.findall(r"async_task\(\s*\"([\w.]+)\"", path.read_text())
    ]
    assert set(queued) == TASKS


@pytest.mark.parametrize("model", ["success", "failure", "schedule", "ormq"])
def test_admin_pages_of_the_queue_are_read_only(client, model):
    client.force_login(make_user(is_staff=True, is_superuser=True))
    now = timezone.now()
    for number, success in ((1, True), (2, False)):
        Task.objects.create(id=str(number), name=f"t{number}", func=OURS, started=now, stopped=now, success=success)
    Schedule.objects.create(func=OURS, next_run=now + timedelta(days=1))
    plant({"id": "1", "name": "t", "func": OURS})
    page = client.get(f"/admin/django_q/{model}/").content.decode()
    assert "resubmit" not in page.lower()
    assert "delete_selected" not in page
    assert client.get(f"/admin/django_q/{model}/add/").status_code == 403
    row = {"success": "1", "failure": "2", "schedule": Schedule.objects.get().pk, "ormq": OrmQ.objects.get().pk}[model]
    assert client.post(f"/admin/django_q/{model}/{row}/change/", {"func": "os.system"}).status_code == 403
    assert client.post(f"/admin/django_q/{model}/{row}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"/admin/django_q/{model}/{row}/change/").status_code == 200
