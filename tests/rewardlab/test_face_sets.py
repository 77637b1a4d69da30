"""Published face data sets: a copy is compared with their folders, numbers and sizes."""

from dataclasses import replace

import pytest
from PIL import Image

from rewardlab.face_sets import FACE_SETS, FaceSetError, FolderReport, check, find_face_set, find_folders

CELEBA = replace(FACE_SETS["celeba-test"], count=4, sides=(32, 16))


def write(path, side=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side)).save(path)


def reports(known, root, **options) -> list[FolderReport]:
    return [report for report in check(known, root, **options) if report is not None]


def test_numbers_of_the_paper():
    counts = {name: known.count for name, known in FACE_SETS.items()}
    assert counts == {"ffhq": 70000, "lpff": 19590, "celeba-test": 3000, "lfw-test": 1711, "webphoto-test": 407}
    assert [name for name, known in FACE_SETS.items() if not known.has_ground_truth] == ["lfw-test", "webphoto-test"]


def test_copy_with_faults_is_described(tmp_path):
    for folder in ("celeba_512_validation", "celeba_512_validation_lq"):
        for number in range(4):
            write(tmp_path / folder / f"{number:08}.png")
    assert all(report.is_complete for report in reports(CELEBA, tmp_path))
    photographs, low_quality = (folder for _, folder in find_folders(CELEBA, tmp_path).pictures)
    (photographs / "00000003.png").unlink()
    write(photographs / "00000002.png", side=16)  # a size of the set, but not of this copy
    write(photographs / "extra.png")
    (low_quality / "00000001.png").write_bytes(b"no picture")
    whole = (low_quality / "00000000.png").read_bytes()
    (low_quality / "00000000.png").write_bytes(whole[:-20])
    first, second = reports(CELEBA, tmp_path)
    assert (first.expected, first.found, first.missing) == (4, 4, 1)
    assert first.problems["missing"] == ["00000003"]
    larger = reports(replace(CELEBA, count=9), tmp_path)[0]
    assert (larger.missing, larger.problems["missing"]) == (6, ["00000003 to 00000008"])
    assert first.problems["wrong size"] == ["00000002.png: 16x16, not 32x32"]
    assert first.problems["surplus"] == ["extra.png: CelebA-Test has no file of this name"]
    assert second.problems["without photograph"] == ["00000003.png"]
    assert len(second.problems["unreadable"]) == 1
    assert len(reports(CELEBA, tmp_path, thorough=True)[1].problems["unreadable"]) == 2


def test_folders_are_found_or_refused(tmp_path):
    write(tmp_path / "images1024x1024" / "00000" / "00000.png")
    assert find_folders(FACE_SETS["ffhq"], tmp_path).photographs == tmp_path / "images1024x1024"
    assert find_folders(FACE_SETS["lfw-test"], tmp_path).low_quality == tmp_path
    with pytest.raises(FaceSetError, match="has no folder celeba_512_validation or hq with the photographs"):
        find_folders(FACE_SETS["celeba-test"], tmp_path)
    with pytest.raises(FaceSetError, match=r"There is no preset lfw\. Known: ffhq, lpff"):
        find_face_set("lfw")
