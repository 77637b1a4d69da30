"""From photographs to scored pairs by the commands: bad files, names, splits, and kill -9 in between."""

import argparse
import io
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from django.core import serializers
from django.core.management import CommandError, call_command
from PIL import Image

from annotate import models
from annotate.common import image_store
from annotate.models import Candidate, Dataset, Face, Pair, Restorer, Score, StageRun
from rewardlab import assets, images
from rewardlab.files import write_atomic
from tests.support.servers import ROOT, Deployment
from tests.support.stored_files import path_of


def portraits(count: int) -> list[Path]:
    return sorted(assets.find("demo-faces").glob("*.jpg"))[:count]


def run(*arguments: str) -> tuple[str, str | None]:
    """Return what a command printed, and its error message."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except (CommandError, argparse.ArgumentTypeError) as error:
        return out.getvalue(), str(error)
    return out.getvalue(), None


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three good photographs, named by number."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, portrait in enumerate(portraits(3)):
        shutil.copy(portrait, photographs / f"{number:05d}.jpg")
    return photographs


BAD_FILES = {
    "empty.jpg": "empty",
    "text.png": "unsupported",
    "cut.jpg": "truncated",
    "damaged.png": "corrupt",
    "bomb.png": "bomb",
    "wall.png": "no_face",
    "tiny.png": "too_small",
    "copy.jpg": "duplicate",
    "same_pixels.png": "duplicate",
    "moving.webp": "animated",
    "vector.bmp": "unsupported",
    "folder.jpg": None,  # a folder of that name is ignored
}


def make_bad_files(photographs: Path) -> None:
    good = (photographs / "00000.jpg").read_bytes()
    picture = Image.open(io.BytesIO(good)).convert("RGB")
    (photographs / "empty.jpg").write_bytes(b"")
    (photographs / "text.png").write_text("not an image")
    (photographs / "cut.jpg").write_bytes(good[: len(good) // 2])
    png = io.BytesIO()
    picture.save(png, "PNG")
    damaged = bytearray(png.getvalue())
    damaged[len(damaged) // 2] ^= 0xFF
    (photographs / "damaged.png").write_bytes(damaged)
    Image.new("1", (20_000, 20_000)).save(photographs / "bomb.png")
    Image.new("RGB", (600, 600), "beige").save(photographs / "wall.png")
    picture.resize((90, 120)).save(photographs / "tiny.png")
    (photographs / "copy.jpg").write_bytes(good)
    (photographs / "same_pixels.png").write_bytes(png.getvalue())
    picture.save(photographs / "moving.webp", save_all=True, append_images=[Image.new("RGB", picture.size)])
    (photographs / "vector.bmp").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (photographs / "folder.jpg").mkdir()


@pytest.mark.django_db
def test_ingest_of_bad_photographs_names_reasons_and_takes_the_good(folder):
    make_bad_files(folder)
    printed, error = run("ingest", str(folder), "--size", "192")
    assert Face.objects.count() == 3
    reasons = {reason for reason in BAD_FILES.values() if reason}
    for reason in reasons:
        assert f"  {reason} (" in printed
    for name, reason in BAD_FILES.items():
        assert (name in printed) == (reason is not None), name
    assert error == "11 skipped, see above. Use --skip-bad to exit with 0."
    again, error = run("ingest", str(folder), "--size", "192", "--skip-bad")
    assert "done 0, already there 3, skipped 11" in again
    assert error is None
    run_row = StageRun.objects.order_by("-pk").first()
    assert run_row.state == "done"
    assert set(run_row.skipped) == reasons
    assert "00000" not in json.dumps(run_row.skipped)


@pytest.mark.django_db
def test_ingest_of_every_image_type_gives_the_same_face(tmp_path):
    picture = Image.open(portraits(1)[0]).convert("RGB")
    grey = picture.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was rotated: show it 90 degrees clockwise
    exif[0x013B] = "Somebody"
    picture.save(tmp_path / "plain.png")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.jpg", exif=exif, quality=95)
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    grey.save(tmp_path / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    printed, error = run("ingest", str(tmp_path), "--size", "192", "--skip-bad")
    assert error is None
    # The alpha copy has exactly the pixels of the plain one, the 16-bit copy those of the grey one.
    assert Face.objects.count() == 4, printed
    crops = [image_store.load(c).astype(float).mean(axis=2) for c in Candidate.objects.filter(source="hq")]
    for crop in crops:
        # Without colour the landmarks move by a pixel or two.
        assert np.corrcoef(crop.ravel(), crops[0].ravel())[0, 1] > 0.9
    for candidate in Candidate.objects.all():
        with Image.open(io.BytesIO(image_store.read(candidate.sha256))) as stored:
            assert not stored.info
            assert not stored.getexif()


@pytest.mark.django_db
def test_names_of_files_and_people_are_not_stored(tmp_path):
    photographs = tmp_path / "Ada Lovelace"
    photographs.mkdir()
    shutil.copy(portraits(1)[0], photographs / "Grace Hopper.jpg")
    (photographs / "Grace Hopper.txt").write_text("The face of a woman.")
    call = ("ingest", str(photographs), "--size", "192", "--identity-from", "folder")
    _, error = run(*call)
    assert "Name the data set with --dataset" in error  # else it would be called ada-lovelace
    run(*call, "--dataset", "pioneers")
    stored = (Dataset, Face, Candidate, StageRun)
    dump = "".join(serializers.serialize("json", model.objects.all()) for model in stored)
    assert "The face of a woman." in dump
    for name in ("Ada", "Lovelace", "Grace", "Hopper"):
        assert name not in dump


@pytest.mark.django_db
def test_splits_by_identity_keep_the_shares(tmp_path):
    rows = ["path,caption,identity"]
    for number, portrait in enumerate(portraits(12)):
        shutil.copy(portrait, tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,The face of person {number // 3}.,person {number // 3}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    call = ("ingest", str(tmp_path / "table.csv"), "--size", "128", "--identity-from", "column")
    run(*call, "--split", "train=.5,gold=.5", "--seed", "3")
    assert Face.objects.count() == 12
    identities = Face.objects.values_list("identity", "split").distinct()
    assert len(identities) == 4
    assert {split for _, split in identities} == {"train", "gold"}
    assert Face.objects.filter(caption_source="file").count() == 12


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["{folder}", "--split", "train=.5,gold=.1"], "must sum to 1"),
        (["{folder}", "--split", "holdout=1"], "there is no split holdout"),
        (["{folder}", "--captions", "{folder}/00000.jpg"], "is not a table"),
        (["{folder}", "--identity-from", "column"], "3 skipped"),
        (["{folder}", "--size", "0"], "not a positive integer"),
        (["{folder}", "--size", "8"], "must be 64 to 2048"),
    ],
)
def test_ingest_with_wrong_arguments_says_what_to_do(folder, arguments, message):
    _, error = run("ingest", *(argument.format(folder=folder) for argument in arguments))
    assert error
    assert message in error
    assert not Face.objects.exists()


@pytest.mark.django_db
def test_chain_makes_six_scored_pairs_per_face_and_repeats_nothing(folder, settings):
    run("ingest", str(folder), "--size", "128")
    assert run("caption")[1] is None
    assert run("degrade")[1] is None
    results = folder.parent / "results"
    results.mkdir()
    for number in range(3):
        Image.new("RGB", (128, 128), (90 + number, 80, 70)).save(results / f"{number:05d}.png")
    printed, error = run(
        "restore", "--restorer", "lanczos", "--restorer", "dat-light", "--from-folder", f"elsewhere={results}"
    )
    assert error is None, printed
    run("build_pairs")
    printed, error = run("score", "--metrics", "ssim", "psnr", "musiq")
    assert "unavailable (1)" in printed
    assert "musiq_koniq_ckpt" in printed
    assert "1 skipped" in error
    assert Pair.objects.filter(kind="anchored").count() == Pair.objects.filter(kind="contested").count() == 9
    for face in Face.objects.all():
        assert face.pairs.count() == 6
        assert face.caption.startswith("The face of")
    assert Score.objects.count() == 3 * 4 * 2
    assert set(Score.objects.filter(candidate__source="hq", metric="ssim").values_list("value", flat=True)) == {1.0}
    assert Restorer.objects.get(name="dat-light").provenance["weights_sha256"]
    before = serializers.serialize("json", [*Candidate.objects.all(), *Pair.objects.all(), *Score.objects.all()])
    for command in (
        "caption",
        "degrade",
        "restore --restorer lanczos",
        "build_pairs",
        "score --metrics ssim psnr",
    ):
        assert "done 0" in run(*command.split())[0]
    after = serializers.serialize("json", [*Candidate.objects.all(), *Pair.objects.all(), *Score.objects.all()])
    assert before == after


@pytest.mark.django_db
def test_stages_out_of_order_name_the_stage_to_run_first(folder):
    for command, first in (("degrade", "ingest"), ("caption", "ingest"), ("score", "ingest"), ("restore", "degrade")):
        assert f"run {first} first" in (run(command)[1] or ""), command
    run("ingest", str(folder), "--size", "128")
    assert "run restore first" in run("build_pairs")[1]
    printed, _ = run("ingest", str(folder), "--size", "192")
    assert "other_size (3)" in printed
    (folder / "00001.txt").write_text("The face of somebody.")
    assert "done 1, already there 2" in run("ingest", str(folder), "--size", "128")[0]
    assert run("degrade")[1] is None
    assert "--batch-size" in run("restore", "--batch-size", "0")[1]
    assert "does not work on this machine" in run("restore", "--restorer", "lanczos", "--device", "nonsense")[1]


@pytest.mark.django_db
def test_results_of_other_software_are_matched_by_exported_names(folder):
    run("ingest", str(folder), "--size", "128")
    exported = folder.parent / "lq"
    run("degrade", "--export", str(exported))
    assert len(list(exported.iterdir())) == 3
    for file in exported.iterdir():
        write_atomic(file, images.encode_png(255 - images.read(file)))
    assert run("restore", "--from-folder", f"negative={exported}")[1] is None
    for face in Face.objects.all():
        lq, negative = (image_store.load(face.candidates.get(source=source)) for source in ("lq", "negative"))
        assert np.array_equal(negative, 255 - lq)


@pytest.mark.django_db
def test_damaged_stored_image_is_skipped_by_name(folder):
    run("ingest", str(folder), "--size", "128")
    broken = Candidate.objects.first()
    path_of(broken).write_bytes(path_of(broken).read_bytes()[:-100])
    printed, error = run("degrade")
    assert "done 2, skipped 1" in printed
    assert "changed or damaged" in printed
    assert error


@pytest.mark.django_db
def test_restorer_errors_name_size_result_weights_and_choices(folder):
    run("ingest", str(folder), "--size", "128")
    run("degrade")
    results = folder.parent / "results"
    results.mkdir()
    Image.new("RGB", (64, 64)).save(results / "00000.png")
    printed, _ = run("restore", "--from-folder", f"mine={results}")
    assert "wrong_size (1)" in printed
    assert "no_result (2)" in printed
    _, error = run("restore", "--restorer", "mine", "--weights", str(results / "missing.pth"))
    assert "missing.pth" in error
    _, error = run("restore", "--restorer", "unknown-restorer")
    assert "lanczos" in error


def everything(site: Deployment) -> dict:
    """Return the rows by content, without what differs between two runs (keys, times)."""
    return site.ask("tests.support.contents")


def test_chain_killed_repeatedly_ends_with_same_result(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, portrait in enumerate(portraits(3)):
        shutil.copy(portrait, photographs / f"{number:05d}.jpg")
    with Deployment("sqlite") as undisturbed:
        started = time.monotonic()
        undisturbed.python(
            "-m", "tests.support.chain", str(photographs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        duration = time.monotonic() - started
        expected = everything(undisturbed)
    chance = random.Random(1)
    with Deployment("sqlite") as site:
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.chain", str(photographs)], cwd=ROOT, env=site.environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(chance.uniform(0.3, 1) * duration)
            process.kill()
            process.wait()
            for path in (site.folder / "media").rglob("*.png"):
                images.read(path)  # raises if the file is incomplete
        site.python("-m", "tests.support.chain", str(photographs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert everything(site) == expected


def test_every_model_is_in_the_admin():
    from django.contrib import admin

    ours = {model for model in vars(models).values() if isinstance(model, type) and hasattr(model, "_meta")}
    by_inline_or_page = {models.Membership, models.Example, models.GuestLink, models.Recruitment}
    of_the_service = {models.RefitRequest, models.RecentJoin, models.WorkerHeartbeat}
    assert ours - by_inline_or_page - of_the_service <= set(admin.site._registry)
