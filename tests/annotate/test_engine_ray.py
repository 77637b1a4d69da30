"""The engine of a Ray cluster of two nodes, one of which is killed half way."""

import pytest
from django.core.management import CommandError, call_command

from annotate.engine.options import EngineOptions
from annotate.models import Candidate, Face
from annotate.pipeline.restoring import RestoreTask, restore_faces
from tests.support.computed_stages import forget, ingest_squares, run, stored
from tests.support.engine_tasks import Held

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
FACES = 8


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of two nodes with one CPU each, whose address is in RAY_ADDRESS. The second node is returned."""
    from ray.cluster_utils import Cluster

    few = {"num_cpus": 1, "include_log_monitor": False, "no_monitor": True}  # processes beside the nodes
    cluster = Cluster(initialize_head=True, head_node_args=few | {"include_dashboard": False})
    second = cluster.add_node(**few)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def test_a_killed_node_changes_no_row_and_no_byte(db, tmp_path, nodes):
    ingest_squares(tmp_path / "squares", FACES)
    run("degrade")
    run("restore", "--restorer", "lanczos", "--batch-size", "1")
    alone = stored("lanczos")
    assert len(alone) == FACES
    forget("lanczos")

    cluster, second = nodes
    with pytest.raises(CommandError, match="No node of the Ray cluster has 64 CPUs"):
        call_command("restore", "--restorer", "lanczos", "--engine", "ray", "--cpus-per-worker", "64")

    held = Held(RestoreTask("lanczos"), tmp_path, workers=2)
    with EngineOptions("ray", workers=2).engine() as engine:
        restorer = engine.open(held)
        steps = restore_faces(Face.objects.all(), engine=engine, restorer=restorer, batch_size=1)
        assert next(steps).done
        cluster.remove_node(second, allow_graceful=False)
        (tmp_path / "go").touch()
        assert [step for step in steps if not step.done] == []
    assert stored("lanczos") == alone

    Candidate.objects.filter(source="lanczos").first().delete()
    assert "done 1, already there 7" in run("restore", "--restorer", "lanczos", "--engine", "ray")
    assert stored("lanczos") == alone
