"""Data in bulk: queries per batch and not per row, and equal images that earlier versions encoded otherwise."""

import csv
import io
import shutil
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image

from annotate.common import image_store, stores
from annotate.models import Candidate, Face, Judgement, Pair, Score
from annotate.models.faces import image_path
from annotate.predictor import refit_requests
from rewardlab import images
from rewardlab.files import sha256

pytestmark = pytest.mark.django_db
SIZE = 64


def run(*words: object) -> str:
    """Return what a command printed, with its error message."""
    out = io.StringIO()
    try:
        call_command(*map(str, words), stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def write_noise(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def write_table(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def answers(folder: Path, name: str) -> Path:
    """Write one annotator's answer about each pair of a data set."""
    pairs = Pair.objects.filter(face__dataset__name=name).order_by("pk")
    rows = [{"annotator": f"{name}@example.org", "pair": pair.pk, "choice": "first"} for pair in pairs]
    return write_table(folder / "answers.csv", rows)


def test_number_of_queries_is_the_same_for_few_and_many_rows(tmp_path):
    def queries_of(count: int) -> dict[str, int]:
        folder, name = tmp_path / str(count), f"set-{count}"
        for seed, part in enumerate(("hq", "lq", "restored", "plain")):
            write_noise(folder / part, count, 100 * count + seed)
        captions = write_table(
            folder / "captions.csv",
            [{"path": f"{number}.png", "caption": f"Face {number}."} for number in range(count)],
        )
        found = {}

        def measured(what: str, *words: object) -> None:
            with CaptureQueriesContext(
                connection,
            ) as captured:
                printed = run(*words)
            assert f"done {count}" in printed, printed
            # A stage records its progress once a second.
            found[what] = sum("annotate_stagerun" not in query["sql"] for query in captured.captured_queries)

        aligned = ("--aligned", "--size", SIZE, "--split", "train")
        measured("ingest", "ingest", folder / "hq", "--lq", folder / "lq", *aligned, "--dataset", name)
        measured("captions", "caption", "--backend", "file", "--from", captions, "--dataset", name, "--skip-bad")
        measured("restore", "restore", f"--from-folder=elsewhere-{count}={folder / 'restored'}", "--dataset", name)
        measured("pairs", "build_pairs")
        table = answers(folder, name)
        measured("import", "import_judgements", table, "--format", "csv", "--campaign", name)
        captioned = write_table(
            folder / "table.csv", [{"path": f"plain/{number}.png", "caption": "A face."} for number in range(count)]
        )
        measured("table", "ingest", captioned, *aligned, "--dataset", f"{name}-plain")
        measured("degrade", "degrade")
        return found

    refit_requests.request_refit()  # the first request also queues a task
    few = queries_of(3)
    assert queries_of(12) == few
    assert Judgement.objects.count() == 15 and not Face.objects.filter(caption="").exists()


def as_earlier_version(candidates) -> None:
    """Store images as versions before 0.3 did: encoded otherwise, and without the hash of their pixels."""
    for candidate in candidates:
        buffer = io.BytesIO()
        Image.fromarray(image_store.load(candidate)).save(buffer, "PNG", compress_level=6)
        data = buffer.getvalue()
        assert sha256(data) != candidate.sha256
        stores.write("images", image_path(sha256(data)), data)
        Candidate.objects.filter(pk=candidate.pk).update(sha256=sha256(data), pixels_sha256=None)


@pytest.mark.database
def test_equal_images_of_an_earlier_version_are_recognised(tmp_path):
    hq, lq = write_noise(tmp_path / "hq", 3, 1), write_noise(tmp_path / "lq", 3, 2)
    words = ("ingest", hq, "--lq", lq, "--aligned", "--size", SIZE, "--dataset", "old", "--split", "train")
    run(*words)
    as_earlier_version(Candidate.objects.all())

    printed = run(*words)
    assert "ingest: done 0, already there 3" in printed and "given_lq: done 0, already there 3" in printed
    other = tmp_path / "other"
    other.mkdir()
    Image.open(hq / "0.png").save(other / "copy.bmp")
    assert "duplicate (1)" in run("ingest", other, "--aligned", "--size", SIZE)

    results = write_noise(tmp_path / "results", 3, 3)
    shutil.copy(hq / "1.png", results / "1.png")
    shutil.copy(lq / "2.png", results / "2.png")
    printed = run("restore", f"--from-folder=elsewhere={results}")
    assert "done 1, skipped 2" in printed and "identical_to_hq (1)" in printed and "identical_to_lq (1)" in printed


def test_restored_copy_of_an_earlier_image_makes_no_pair(tmp_path):
    hq = write_noise(tmp_path / "hq", 1, 1)
    run("ingest", hq, "--aligned", "--size", SIZE, "--dataset", "old", "--split", "train")
    run("degrade")
    results = write_noise(tmp_path / "results", 1, 2)
    run("restore", f"--from-folder=first={results}")
    as_earlier_version(Candidate.objects.filter(source="first"))
    Image.fromarray(images.read(results / "0.png")).save(results / "0.bmp")
    (results / "0.png").unlink()
    run("restore", f"--from-folder=second={results}")
    printed = run("build_pairs")
    assert "done 2, skipped 0, left out 1" in printed and "first and second" in printed
    assert not Pair.objects.identical().exists()
    run("build_pairs", "--with-identical")
    assert Pair.objects.identical().count() == 1 and Pair.objects.different().count() == 2


class CountingFolder(stores.Folder):
    """The folder of the images, which counts how often each is read."""

    reads: ClassVar[Counter[str]] = Counter()

    def _open(self, name: str, mode: str = "rb"):
        self.reads[name] += 1
        return super()._open(name, mode)


def test_score_reads_each_image_once_for_all_metrics(tmp_path, settings):
    hq = write_noise(tmp_path / "hq", 3, 1)
    run("ingest", hq, "--aligned", "--size", SIZE, "--dataset", "faces", "--split", "train")
    run("degrade")
    run("restore", f"--from-folder=elsewhere={write_noise(tmp_path / 'results', 3, 2)}")
    restored = Candidate.objects.filter(source="elsewhere").order_by("pk")
    Score.objects.create(candidate=restored[0], metric="psnr", value=1.0)  # of an earlier run
    whole = image_store.read(restored[1].sha256)
    stores.write("images", restored[1].relative_path, b"damaged")

    backend = {"BACKEND": f"{__name__}.CountingFolder", "OPTIONS": {"setting": "MEDIA_ROOT"}}
    settings.STORAGES = settings.STORAGES | {"images": backend}
    printed = run("score", "--metrics", "ssim", "psnr")
    assert "done 9, already there 1, skipped 1" in printed and "broken_image (1)" in printed
    assert len(CountingFolder.reads) == 6 and set(CountingFolder.reads.values()) == {1}
    assert Score.objects.get(candidate=restored[0], metric="psnr").value == 1.0
    assert set(Score.objects.filter(metric="ssim", candidate__source="hq").values_list("value", flat=True)) == {1.0}

    stores.write("images", restored[1].relative_path, whole)
    assert "done 2, already there 10, skipped 0" in run("score", "--metrics", "ssim", "psnr")
