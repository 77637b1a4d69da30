"""Stages on engines: the same rows and the same bytes with one process and with several."""

import pytest

from annotate.common import stores
from annotate.models import Candidate, Face, Score
from tests.support.computed_stages import forget, ingest_squares, run, stored

FACES = 5


@pytest.fixture
def faces(tmp_path, db):
    ingest_squares(tmp_path / "squares", FACES)
    run("degrade")
    run("restore", "--restorer", "lanczos")


def damage(source: str, number: int) -> str:
    """Damage the file of one image, and return the candidate's name."""
    candidate = Candidate.objects.filter(source=source).order_by("face")[number]
    stores.write("images", candidate.relative_path, b"damaged")
    return str(candidate)


def scores() -> dict[tuple, float]:
    rows = Score.objects.values_list("candidate__face", "candidate__source", "metric", "value")
    return {tuple(key): value for *key, value in rows}


def captions() -> dict[int, tuple]:
    rows = Face.objects.exclude(caption="").values_list("pk", "caption", "caption_source")
    return {face: tuple(rest) for face, *rest in rows}


STAGES = {
    "degrade": (("degrade",), "hq", lambda: stored("lq"), lambda: forget("lq")),
    "restore": (("restore", "--restorer", "lanczos"), "lq", lambda: stored("lanczos"), lambda: forget("lanczos")),
    "score": (("score", "--metrics", "psnr", "ssim"), "hq", scores, lambda: Score.objects.all().delete()),
    "caption": (("caption",), "hq", captions, lambda: Face.objects.update(caption="", caption_source="")),
}


def compare(stage: str) -> None:
    """Run a stage with one process, then with two, with a damaged image."""
    words, reads, results, forget_results = STAGES[stage]
    broken = damage(reads, 1)
    forget_results()
    words = (*words, "--batch-size", "2")
    printed = run(*words)
    assert f"{broken}: " in printed
    assert "Restore it from a backup" in printed
    alone = results()
    assert len(alone) >= FACES - 1

    forget_results()
    assert not results()
    assert run(*words, "--workers", "2") == printed
    assert results() == alone


@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_write_what_one_process_writes(stage, faces):
    compare(stage)


def test_workers_read_and_write_a_bucket(bucket, faces):
    compare("restore")
