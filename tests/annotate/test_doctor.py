"""The doctor finds what is wrong with the stored data, repairs what is safe, and changes nothing else."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from annotate.campaigns import items
from annotate.common import image_store
from annotate.models import Campaign, Candidate, Dataset, Face, Pair
from rewardlab import assets, face_alignment, images
from tests.support.factories import make_face
from tests.support.stored_files import path_of

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not assets.is_available("demo-faces"), reason="requirements-demo.txt is not installed"),
]
SIZE = 128


def doctor(*options: str) -> tuple[str, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *options, stdout=out)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def make_old(path: Path) -> Path:
    os.utime(path, (0, 0))
    return path


@pytest.fixture
def faces(tmp_path, settings) -> list[Face]:
    """Two aligned portraits, degraded and restored."""
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:2]):
        crop = face_alignment.align(images.read(portrait), SIZE).image
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(crop).save(tmp_path / "set" / f"{number}.png")
    for words in (
        ("ingest", tmp_path / "set", "--aligned", "--size", SIZE, "--split", "train"),
        ("degrade",),
        ("restore", "--restorer", "lanczos"),
    ):
        call_command(*map(str, words), stdout=io.StringIO())
    return list(Face.objects.order_by("pk"))


def test_doctor_finds_and_repairs_files_and_pairs(faces, settings):
    assert doctor()[1] == ""
    media = Path(settings.MEDIA_ROOT)
    hq, lq = (faces[0].candidates.get(source=source) for source in ("hq", "lq"))
    lying = image_store.store_png(np.rot90(images.read(path_of(hq))))
    orphan = make_old(path_of(hq))
    Candidate.objects.filter(pk=hq.pk).update(sha256=lying)
    path_of(lq).write_bytes(path_of(lq).read_bytes() + b"!")
    path_of(faces[1].candidates.get(source="lanczos")).unlink()
    blank = image_store.store_png(np.full((SIZE, SIZE, 3), 128, np.uint8))
    old_photograph = path_of(faces[1].candidates.get(source="hq"))
    faces[1].candidates.filter(source="hq").update(sha256=blank)
    temporary = media / "ab" / ".abc.png.0123.tmp"
    temporary.parent.mkdir(exist_ok=True)
    for path in (temporary, media / "notes.txt"):
        path.write_bytes(b"")
        make_old(path)
    printed, error = doctor()
    for line in (
        f"hq of face {faces[0].pk}: the face is upright only if the image is turned by 270 degrees",
        f"hq of face {faces[1].pk}: no face is found in it (ingested --aligned)",
        f"lq of face {faces[0].pk}: {lq}: {path_of(lq)} was changed or damaged",
        f"missing_image (1)\n    lanczos of face {faces[1].pk}",
        f"{orphan}: no row refers to it; --fix moves it to {media / 'unreferenced'}",
        f"{temporary}: an interrupted program left it",
        f"{media / 'notes.txt'}: it is not an image of this project",
    ):
        assert line in printed
    assert error == "7 findings, see above. --fix repairs 2 of them."
    assert orphan.exists() and temporary.exists()
    assert "lying_face" not in doctor("--no-faces")[0]
    rows = list(Candidate.objects.order_by("pk").values())
    assert "5 findings, see above." in doctor("--fix")[1]
    assert not temporary.exists() and not orphan.exists() and (media / "unreferenced" / orphan.name).is_file()
    assert old_photograph.exists()  # new: a running stage may be about to refer to it
    assert list(Candidate.objects.order_by("pk").values()) == rows
    assert "unreferenced" not in doctor()[0]


def test_doctor_repairs_only_pairs_nobody_was_asked_about():
    asked, unasked = make_face(restorers=("dat-light", "lanczos")), make_face(restorers=("dat-light", "lanczos"))
    for face in (asked, unasked):
        call_command("build_pairs", stdout=io.StringIO())
        face.candidates.filter(source="lanczos").update(sha256=face.candidates.get(source="dat-light").sha256)
    campaign = Campaign.objects.create(slug="early", name="Early")
    items.add_items(campaign=campaign, pairs=Pair.objects.identical().filter(face=asked).values_list("pk", flat=True))
    photograph = asked.candidates.get(source="hq")
    asked.candidates.filter(source="lq").update(sha256=photograph.sha256)  # no restoration: not reported
    unasked.candidates.filter(source="dat-light").update(sha256=unasked.candidates.get(source="lq").sha256)
    unasked.candidates.filter(source="lanczos").update(sha256=unasked.candidates.get(source="lq").sha256)
    printed, _ = doctor("--fix", "--no-faces")
    assert "people were asked about it: its answers say nothing" in printed
    assert "nobody was asked about it (repaired)" in printed
    assert printed.count("its image is the degraded input itself") == 2
    assert list(Pair.objects.identical().values_list("face", flat=True)) == [asked.pk]


def test_doctor_lists_files_that_cannot_be_told_apart(tmp_path):
    old = Dataset.objects.create(name="unnamed")
    for _ in range(2):  # as an earlier version stored alice/0001.jpg and bert/0001.jpg
        make_face(dataset=old, path_key="", name_key="", source_key="0" * 32)
    for suffix in ("png", "jpg"):
        make_face(path_key=suffix, name_key="same", source_key="same")
    make_face(dataset=old, path_key="", name_key="", source_key="1" * 32)
    printed, _ = doctor("--no-faces")
    assert "several_files_under_one_key (2)" in printed
    assert "of data set unnamed: an earlier version knew their files by the name alone" in printed
    assert "ingest the folder again with --dataset unnamed" in printed
    assert "of data set photographs: their files differ in the suffix only" in printed


def test_doctor_names_data_sets_without_photographs():
    low_quality = Dataset.objects.create(name="wild", has_ground_truth=False)
    lacking, _ = make_face(), make_face(dataset=low_quality)
    Candidate.objects.filter(source="hq").delete()
    printed, _ = doctor("--no-faces")
    assert "no_photograph (1)" in printed
    assert f"{lacking} of data set photographs: its photograph is not stored" in printed
    assert "data set wild: low-quality pictures without photographs (1 face)" in printed


def test_doctor_without_detector_reports_unchecked_faces(faces, monkeypatch, tmp_path):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / assets.ASSETS["yunet"].file).write_bytes(b"")
    face_alignment._networks.__dict__.clear()
    printed, error = doctor()
    assert "not_checked (1)" in printed and "is not a network in ONNX format, or is damaged" in printed
    assert error.startswith("1 finding,")
    shutil.rmtree(tmp_path / "weights")
    assert doctor()[1] == ""
