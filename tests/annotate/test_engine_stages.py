"""Stages on engines: the same rows and the same bytes with one process and with several."""

import pytest

from annotate.models import Candidate
from tests.support.computed_stages import forget, ingest_squares, run, stored
from tests.support.stored_files import path_of

FACES = 5


@pytest.fixture
def faces(tmp_path, settings, db):
    settings.MEDIA_ROOT = tmp_path / "media"
    ingest_squares(tmp_path / "squares", FACES)
    run("degrade")


def damage(source: str, number: int) -> str:
    """Damage the file of one image, and return the candidate's name."""
    candidate = Candidate.objects.filter(source=source).order_by("face")[number]
    path_of(candidate).write_bytes(b"damaged")
    return str(candidate)


def test_restore_by_several_workers_equals_restore_by_one(faces):
    broken = damage("lq", 1)
    words = ("restore", "--restorer", "lanczos", "--batch-size", "2")
    printed = run(*words)
    alone = stored("lanczos")
    assert len(alone) == FACES - 1
    assert f"{broken}: " in printed

    forget("lanczos")
    assert run(*words, "--workers", "2") == printed
    assert stored("lanczos") == alone
