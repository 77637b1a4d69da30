"""Rows and files that the stages made, to be compared between engines."""

import io
from pathlib import Path

import numpy as np
from django.core.management import CommandError, call_command
from PIL import Image

from annotate.common import image_store
from annotate.models import Candidate

SIZE = 64


def run(*words: str) -> str:
    """Run a command and return what it prints, with its error."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def ingest_squares(folder: Path, count: int) -> None:
    """Ingest aligned pictures of blurred noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    assert "skipped 0" in run("ingest", str(folder), "--aligned", "--size", str(SIZE), "--split", "train")


def stored(source: str) -> dict[int, tuple]:
    """Return all fields of the candidates of a source that do not depend on the time, by face."""
    rows = Candidate.objects.filter(source=source).values_list("face_id", "restorer__name", "sha256", "provenance")
    assert all(image_store.read(sha256) for _, _, sha256, _ in rows)
    return {face: tuple(rest) for face, *rest in rows}


def forget(source: str) -> None:
    """Delete the candidates of a source and their files."""
    for candidate in Candidate.objects.filter(source=source):
        image_store.delete(candidate.sha256)
        candidate.delete()
