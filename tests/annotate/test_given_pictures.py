"""Low-quality pictures that were given: beside their photographs, and of faces without ground truth."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image, ImageFilter

from annotate.common import image_store
from annotate.models import Candidate, Dataset, Face, Pair, Score
from refl import dataset as faces_file
from rewardlab import assets, images
from tests.support.factories import make_face

pytestmark = pytest.mark.django_db
SIZE = 64


def run(*words: object) -> tuple[str, str]:
    """Return what a command printed, and its error message or an empty text."""
    out = io.StringIO()
    try:
        call_command(*map(str, words), stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def noise(path: Path, number: int, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def ingest(*words: object) -> tuple[str, str]:
    return run("ingest", *words, "--size", SIZE, "--aligned")


def test_given_pictures_become_the_lq_of_their_photographs(tmp_path):
    hq, lq = tmp_path / "hq", tmp_path / "lq"
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/3.png")):
        noise(hq / name, number)
    noise(lq / "a" / "1.jpg", 10)  # another suffix
    noise(lq / "a" / "2.png", 11, size=16)  # smaller than its photograph
    shutil.copy(hq / "b" / "1.png", lq / "b_1.png")
    (lq / "b").mkdir()
    shutil.copy(hq / "b" / "1.png", lq / "b" / "1.png")  # the photograph itself
    assert "--lq needs --aligned" in run("ingest", hq, "--lq", lq, "--size", SIZE)[1]
    assert not Dataset.objects.exists()
    printed, error = ingest(hq, "--lq", lq, "--dataset", "pairs")
    assert "given_lq: done 2, skipped 2, left out 1" in printed and error
    assert "it is the photograph of face" in printed and "no low-quality picture named after its photograph" in printed
    stored = {c.face_id: c for c in Candidate.objects.filter(source="lq")}
    first, second, third, _ = Face.objects.order_by("pk")
    assert np.array_equal(image_store.load(stored[first.pk]), images.read(lq / "a" / "1.jpg"))
    assert stored[second.pk].provenance == {"degradation": "given", "scale": 4.0}
    assert image_store.load(stored[second.pk]).shape == (SIZE, SIZE, 3)

    kept = set(Candidate.objects.filter(source="lq").values_list("sha256", flat=True))
    printed, _ = run("degrade")
    assert "degrade: done 2, already there 2" in printed and "2 faces have a given low-quality picture" in printed
    assert kept <= set(Candidate.objects.filter(source="lq").values_list("sha256", flat=True))

    noise(lq / "b" / "1.png", 12)  # comes after degrade: restorations of the other may exist
    printed, _ = run("ingest", "--lq", lq, "--dataset", "pairs")
    assert f"{third} has another degraded image already" in printed and "already there 2" in printed


def test_ambiguous_given_pictures_are_refused_by_name(tmp_path):
    hq, lq = tmp_path / "hq", tmp_path / "lq"
    for number, name in enumerate(("a/1.png", "b/1.png", "c/2.png")):
        noise(hq / name, number)
    noise(lq / "1.png", 10)  # of a or of b
    noise(lq / "c" / "2.png", 11)
    noise(lq / "c" / "2.jpg", 12)
    printed, error = ingest(hq, "--lq", lq)
    assert re.search(r"1\.png: several photographs have this name: face \d+ of hq, face \d+ of hq", printed)
    assert re.search(r"several files have its name: \S*c/2\.(png|jpg), \S*c/2\.(png|jpg)", printed)
    assert error and not Candidate.objects.filter(source="lq").exists()
    assert "is not a folder" in run("ingest", hq, "--lq", tmp_path / "none", "--aligned")[1]
    assert "Pass the folder of the photographs" in run("ingest")[1]


@pytest.fixture
def wild(tmp_path, settings) -> Path:
    """Faces without ground truth in split test: three portraits, blurred, each with two restorations."""
    settings.RUN_ROOT = tmp_path / "runs"
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:3]):
        (tmp_path / "wild").mkdir(exist_ok=True)
        whole = Image.open(portrait).convert("RGB")
        whole.filter(ImageFilter.GaussianBlur(3)).save(tmp_path / "wild" / f"person{number}.png")
        (tmp_path / "sharp").mkdir(exist_ok=True)
        whole.resize((128, 128)).save(tmp_path / "sharp" / f"person{number}.jpg")
    words = ("--size", 128, "--dataset-kind", "evaluation")
    assert run("ingest", "--lq", tmp_path / "wild", *words)[1] == ""
    assert run("restore", "--restorer", "lanczos", "--from-folder", f"sharp={tmp_path / 'sharp'}")[1] == ""
    return tmp_path


def test_wild_faces_are_paired_and_evaluated_without_original(wild, lead):
    assert set(Candidate.objects.values_list("source", flat=True)) == {"lq", "lanczos", "sharp"}
    assert not Dataset.objects.get().has_ground_truth
    assert "degrade: done 0" in run("degrade")[0]
    assert run("build_pairs")[1] == ""
    assert set(Pair.objects.values_list("kind", flat=True)) == {"contested"} and Pair.objects.count() == 3
    assert run("caption")[1] == "" and not Face.objects.filter(caption="").exists()

    printed, error = run("score", "--metrics", "ssim", "niqe")
    face = Face.objects.earliest("pk")
    assert f"3 faces of wild: {face} of data set wild has no original; SSIM needs one" in printed and error == ""
    assert set(Score.objects.values_list("metric", flat=True)) == {"niqe"}

    compare = ("evaluate", "--restorers", "lanczos", "sharp", "--name", "wild-1")
    refused = run(*compare, "--metrics", "ssim", "niqe", "fid")[1]
    assert refused.startswith(
        f"{face} of data set wild has no original; SSIM, FID needs one. Leave it out of --metrics, or pass --fid-stats"
    )
    printed, error = run(*compare, "--base", "lanczos", "--dataset", "wild")
    assert (
        error == "" and "These faces have no originals" in printed and "Means over 3 faces of data set wild" in printed
    )
    results = json.loads((wild / "runs" / "wild-1" / "evaluation" / "results.json").read_text())
    assert [row["restorer"] for row in results["rows"]] == ["lq", "lanczos", "sharp"]
    assert "niqe" in results["rows"][2]["values"] and "ssim" not in results["rows"][2]["values"]
    assert (
        run("fid_stats", wild / "sharp", wild / "sharp.npz", "--features", "efficientnet-lite0", "--size", 128)[1] == ""
    )
    of_file = ("--metrics", "fid", "--fid-stats", wild / "sharp.npz", "--name", "wild-2")
    assert run("evaluate", "--restorers", "lanczos", "sharp", *of_file)[1] == ""
    values = json.loads((wild / "runs" / "wild-2" / "evaluation" / "results.json").read_text())["rows"]
    distances = {row["restorer"]: row["values"]["fid"]["mean"] for row in values}
    assert distances["sharp"] == pytest.approx(0, abs=1e-3) and distances["lanczos"] > 1
    assert "SSIM, PSNR (dB), LPIPS" in printed.partition("Not measured: ")[2]
    page = lead.get("/runs/wild-1/").content.decode()
    assert f"Face {face.pk} of data set wild has no original, which FID needs without --fid-stats." in page
    for page in ("/faces/", f"/faces/{face.pk}/", "/"):
        assert lead.get(page).status_code == 200


def test_original_that_is_missing_is_refused_by_name(wild):
    face = Face.objects.earliest("pk")
    needs_one = f"{face} of data set wild has no original; the training of a restorer needs one"
    assert needs_one in run("train_base", "--iterations", 1)[1]
    assert "consists of low-quality pictures without photographs" in ingest(wild / "sharp", "--dataset", "wild")[1]
    photographed = make_face(split="test", restorers=("lanczos",))
    assert "3 faces of wild have no original, and 1 face of photographs have one" in run(
        "evaluate", "--restorers", "lanczos"
    )[1]  # fmt: skip
    assert "There is no data set lfw. Known: photographs, wild." in run(
        "evaluate", "--restorers", "lanczos", "--dataset", "lfw"
    )[1]  # fmt: skip
    printed, error = run("snapshot", wild / "out", "--faces-of", "wild", "photographs")
    assert error == "" and "There is no manifest.jsonl: No preference" in printed
    assert "left out of faces.jsonl: 3 faces of wild" in printed
    _, rows = faces_file.read(wild / "out" / "faces.jsonl")
    assert [row.face for row in rows] == [photographed.pk]
    assert "To list faces alone: snapshot OUT --faces-of DATASET" in run("snapshot", wild / "other")[1]


def test_trainings_select_their_data_set(wild, tmp_path):
    make_face(split="test")
    assert run("snapshot", tmp_path / "out", "--faces-of", "photographs")[1] == ""
    faces = tmp_path / "out" / "faces.jsonl"
    error = run("train_base", "--faces", faces, "--dataset", "ffhq")[1]
    assert f"{faces} has no faces of data set ffhq; it has photographs." in error
    assert "There are no training faces" in run("train_base", "--faces", faces, "--dataset", "photographs")[1]
    assert "There is no data set ffhq. Known: photographs, wild." in run("train_base", "--dataset", "ffhq")[1]
    assert "There is no data set ffhq." in run("train_frm", "--dataset", "ffhq", "--backbone", "compact")[1]
