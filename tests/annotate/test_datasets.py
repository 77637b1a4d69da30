"""Data sets: files meet faces by data set and path, every file is accounted for, ambiguity is refused by name."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from annotate.campaigns.lifecycle import Selection
from annotate.common import image_store
from annotate.models import Candidate, Dataset, Face, Pair
from rewardlab import assets, images
from tests.support.factories import make_face
from tests.support.stored_files import path_of

pytestmark = pytest.mark.django_db
SIZE = 64


def run(*words: object) -> tuple[str, str]:
    """Return what a command printed, and its error message or an empty text."""
    out = io.StringIO()
    try:
        call_command(*map(str, words), stdout=out)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def write_noise(path: Path, number: int, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return path


def write_folder(root: Path, *names: str, start: int = 0) -> Path:
    for number, name in enumerate(names, start=start):
        write_noise(root / name, number)
    return root


def ingest(path: Path, *words: object) -> tuple[str, str]:
    return run("ingest", path, "--size", SIZE, "--aligned", *words)


def test_two_sets_with_same_file_names_stay_apart(tmp_path):
    names = ("00000.png", "00001.png")
    ffhq, celeba = write_folder(tmp_path / "FFHQ", *names), write_folder(tmp_path / "CELEBA", *names, start=2)
    (celeba / "00000.txt").write_text("From CelebA.")
    assert ingest(ffhq, "--split", "train")[1] == ""
    assert "data set celeba: 3 files (2 done, 1 caption files)" in ingest(celeba, "--split", "test")[0]
    faces = Face.objects.values_list("dataset__name", "split", "caption").order_by("pk")
    assert list(faces) == [
        ("ffhq", "train", ""),
        ("ffhq", "train", ""),
        ("celeba", "test", "From CelebA."),
        ("celeba", "test", ""),
    ]
    assert Face.objects.values("identity").distinct().count() == 4

    texts = write_folder(tmp_path / "texts", *names, start=2)
    for name in names:
        (texts / name).with_suffix(".txt").write_text(f"Text {name}.")
    printed, error = run("caption", "--backend", "file", "--from", texts)
    assert "there are several data sets (celeba, ffhq): choose one with --dataset" in printed
    assert error and not Face.objects.filter(caption__startswith="Text").exists()
    assert run("caption", "--backend", "file", "--from", texts, "--dataset", "celeba")[1] == ""
    assert list(Face.objects.filter(caption__startswith="Text").values_list("dataset__name", "caption")) == [
        ("celeba", "Text 00001.png.")
    ]
    assert "There is no data set lfw. Known: celeba, ffhq." in run("caption", "--dataset", "lfw")[1]


def test_results_of_people_with_same_file_names(tmp_path):
    people = ("alice", "bert", "cleo")
    photographs = write_folder(tmp_path / "people", *(f"{name}/0001_01.png" for name in people))
    for name in people:
        (photographs / name / "0001_01.txt").write_text(f"Face of {name}.")
    ingest(photographs, "--identity-from", "folder")
    Face.objects.update(caption="")
    assert run("caption", "--backend", "file", "--from", photographs)[1] == ""
    assert list(Face.objects.order_by("pk").values_list("caption", flat=True)) == [f"Face of {n}." for n in people]
    run("degrade")
    flat = write_folder(tmp_path / "flat", "0001_01.jpg")
    printed, _ = run("restore", "--from-folder", f"mine={flat}")
    assert "several photographs have this name: face" in printed and printed.count("face ") >= len(people)
    results = write_folder(tmp_path / "results", *(f"{name}/0001_01.jpg" for name in people), start=10)
    assert run("restore", "--from-folder", f"mine={results}")[1] == ""
    for name, face in zip(people, Face.objects.order_by("pk"), strict=True):
        stored = image_store.load(face.candidates.get(source="mine"))
        assert np.array_equal(stored, images.read(results / name / "0001_01.jpg"))


def test_results_that_are_ambiguous_or_copies_are_refused(tmp_path):
    photographs = write_folder(tmp_path / "photographs", "a.png", "b.png", "c.png", "d.png")
    ingest(photographs)
    run("degrade")
    lq, hq = (Candidate.objects.filter(source=source).order_by("face") for source in ("lq", "hq"))
    results = tmp_path / "results"
    write_folder(results, "a.png", "a.JPG", "final/b.png", start=20)
    write_noise(results / "input" / "b.png", 30)
    shutil.copy(path_of(lq[2]), results / "c.png")
    Image.open(path_of(hq[3])).save(results / "d.bmp")  # the same pixels in another format
    printed, error = run("restore", "--from-folder", f"mine={results}")
    assert re.search(r"several files have its name: \S*a\.(png, |JPG, )\S*a\.(png|JPG)", printed)
    assert re.search(r"several files have its name: \S*final/b\.png, \S*input/b\.png", printed)
    assert f"{results}/c.png: it is the degraded input of face" in printed
    assert f"{results}/d.bmp: it is the photograph of face" in printed
    assert "done 0, skipped 4" in printed and error
    assert not Candidate.objects.filter(source="mine").exists()
    assert "a restorer's name has at most 60" in run("restore", "--from-folder", f"{'m' * 61}={results}")[1]


def test_photographs_that_differ_in_suffix_stay_apart(tmp_path):
    photographs = write_folder(tmp_path / "set", "a.png", "a.bmp")
    (tmp_path / "set" / "table.csv").write_text("path,caption\na.png,The PNG.\na.bmp,The BMP.\n")
    ingest(photographs)
    assert run("caption", "--backend", "file", "--from", tmp_path / "set" / "table.csv")[1] == ""
    assert set(Face.objects.values_list("caption", flat=True)) == {"The PNG.", "The BMP."}
    run("degrade")
    results = write_folder(tmp_path / "results", "a.png", start=5)  # of which photograph, nobody can know
    assert "several photographs have this name" in run("restore", "--from-folder", f"mine={results}")[0]


def test_split_that_cannot_be_honoured_is_refused(tmp_path):
    first = write_folder(tmp_path / "set", "alice/1.png", "bert/1.png")
    ingest(first, "--identity-from", "folder", "--split", "train")
    printed, error = ingest(first, "--identity-from", "folder", "--split", "test")
    assert "other_split (2)" in printed and "face 1 is in split train already, and test was requested" in re.sub(
        r"face \d+", "face 1", printed
    )
    write_noise(first / "alice" / "2.png", 7)
    printed, error = ingest(first, "--identity-from", "folder", "--split", "gold=.5,test=.5")
    assert f"{first}/alice/2.png: the person is in split train already, and gold or test was requested" in printed
    assert error and Face.objects.count() == 2
    assert "done 1, already there 2" in ingest(first, "--identity-from", "folder")[0]  # train is among the shares
    assert set(Face.objects.values_list("split", flat=True)) == {"train"}


def test_data_set_for_evaluation_is_never_trained_on(tmp_path):
    folder = write_folder(tmp_path / "LFW Test", "1.png")
    words = ("--dataset-kind", "evaluation", "--licence", "research only")
    assert "Use --split test or gold" in ingest(folder, *words, "--split", "train")[1]
    assert ingest(folder, *words)[1] == ""
    assert Dataset.objects.values_list("name", "kind", "licence").get() == ("lfw-test", "evaluation", "research only")
    assert Face.objects.get().split == "test"
    assert "is of kind evaluation, not training" in ingest(folder, "--dataset-kind", "training")[1]
    other = write_folder(tmp_path / "elsewhere" / "lfw test", "2.png", start=9)
    assert "There is a data set lfw-test already" in ingest(other)[1]
    assert ingest(other, "--dataset", "lfw-test")[1] == ""
    for name in ("LFW Test", "", "lfw/test"):
        assert "use at most 60 small letters" in ingest(other, "--dataset", name)[1]
    write_noise(tmp_path / "small" / "1.png", 3, size=8)
    assert "too_small (1)" in ingest(tmp_path / "small")[0]
    assert list(Dataset.objects.values_list("name", flat=True)) == ["lfw-test"]  # none without a face


def test_photograph_in_two_sets_and_replaced_photograph(tmp_path):
    first = write_folder(tmp_path / "first", "1.png", "2.png")
    ingest(first, "--split", "train")
    second = tmp_path / "second"
    second.mkdir()
    shutil.copy(first / "1.png", second / "x.png")
    Image.open(first / "2.png").save(second / "y.bmp")
    printed, _ = ingest(second)
    assert printed.count("in split train of data set first") == 2 and "duplicate (2)" in printed
    write_noise(first / "1.png", 99)
    printed, _ = ingest(first)
    assert "other_content (1)" in printed and "from this path, but the photograph was another" in printed


FORMATS = {"a.jfif": "JPEG", "b.jpe": "JPEG", "c.gif": "GIF", "d.avif": "AVIF", "e.jp2": "JPEG2000", "f.ppm": "PPM"}


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    root.mkdir()
    for number, (name, kind) in enumerate((FORMATS | {"no_suffix": "PNG"}).items()):
        Image.open(write_noise(tmp_path / "noise.png", number)).save(root / name, kind)
    for number, place in enumerate((elsewhere, root / "part"), start=50):
        write_noise(place / "linked.png", number)
    (root / "folder").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (root / "part" / "cycle").symlink_to(root)
    (root / "dangling.png").symlink_to("nothing")
    os.mkfifo(root / "pipe.png")
    (root / ".hidden.png").write_bytes(b"")
    (root / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (root / "raw.NEF").write_bytes((root / "a.jfif").read_bytes()[:-1])
    (root / "a.txt").write_text("A caption.")
    (root / "README.txt").write_text("About this set.")
    (root / "notes.json").write_text("{}")
    (root / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    printed, _ = ingest(root)
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (done|skipped|left out|caption files)", printed)}
    assert counts == {"done": 9, "skipped": 4, "left out": 6, "caption files": 1}
    assert f"set: {sum(counts.values())} files" in printed
    for line in (
        "dangling.png: the link points to nothing",
        "photo.heic: HEIF (HEIC) images need a package: pip install pillow-heif",
        "raw.NEF: .NEF files are not supported; save it as PNG, JPEG or TIFF",
        r"caf\xe9.png: its name is not valid UTF-8",
        "pipe.png: a device, a socket or a pipe",
        ".hidden.png: its name begins with a dot",
        "folder: the folder is already read under another path",  # after `again`, in sorted order
        "cycle: the folder is already read under another path",
        "README.txt: a text, and no photograph beside it has this name",
        "notes.json: its content is not a known image format",
    ):
        assert line in printed
    again, _ = ingest(root)
    assert "already there 9, skipped 4, left out 6" in again
    assert "done 0, already there 2, skipped 2, left out 15" in ingest(root, "--limit", 2)[0]


def test_folder_named_after_a_person_or_without_latin_letters(tmp_path):
    folder = write_folder(tmp_path / "Ada", "1.png")
    assert "names a person here" in ingest(folder, "--identity-from", "folder")[1]
    assert "No name can be derived" in ingest(write_folder(tmp_path / "顔", "1.png"))[1]
    assert not Dataset.objects.exists()


@pytest.mark.skipif(not assets.is_available("demo-faces"), reason="requirements-demo.txt is not installed")
def test_lying_photographs_are_stored_upright(tmp_path):
    portrait = Image.open(sorted(assets.find("demo-faces").glob("*.jpg"))[0])
    folder = tmp_path / "lying"
    folder.mkdir()
    for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270):
        portrait.transpose(turn).save(folder / f"{turn}.png")
    portrait.convert("RGB").resize((640, 4)).resize((4000, 50)).save(folder / "thin.png")
    printed, _ = run("ingest", folder, "--size", 128, "--split", "train")
    # The first is stored, and the others turn out to be the same photograph.
    assert "done 1, skipped 3" in printed and "duplicate (2)" in printed and "no_face (1)" in printed
    hq = Candidate.objects.get(source="hq")
    assert hq.provenance["turned"] == 270
    Image.fromarray(np.rot90(image_store.load(hq))).save(folder / "aligned.png")
    printed, _ = run("ingest", folder / "aligned.png", "--aligned", "--size", 64, "--dataset", "aligned")
    assert "not_upright (1)" in printed and "turned by 270 degrees counter-clockwise" in printed


def test_pairs_of_identical_images_are_left_out():
    faces = [make_face(), make_face()]
    lanczos = faces[0].candidates.get(source="lanczos")
    faces[0].candidates.filter(source="dat-light").update(sha256=lanczos.sha256)
    printed, error = run("build_pairs")
    assert "done 11" in printed and "left out: identical (1)" in printed and error == ""
    assert f"face {faces[0].pk}, dat-light and lanczos" in printed
    assert "done 1" in run("build_pairs", "--with-identical")[0]
    same = Pair.objects.identical().get()
    assert same.pk not in set(Selection().ids(seed=0))
    assert len(set(Selection().ids(seed=0))) == 5
