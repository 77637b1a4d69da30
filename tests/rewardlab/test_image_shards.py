"""Snapshots whose images are in tar files: the same batches as from files, and damage that is named."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from refl.dataset import FaceRow, TrainingFaces
from refl.degradation import DegradeConfig
from rewardlab import snapshot_images
from rewardlab.errors import DataError
from rewardlab.image_shards import ShardWriter, read_index
from rewardlab.reward_model import batches
from rewardlab.reward_model.model import Preprocess
from rewardlab.training import loading
from rewardlab.training.schedule import Item
from tests.support.preferences import write_preferences

SIZE = 40
CPU = torch.device("cpu")


@pytest.fixture
def packed(tmp_path):
    """Rows of three faces whose images are in `files` and in `shards`, two images in a shard."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(3)]
    rows = write_preferences(tmp_path, train=3, gold=0, pictures=pictures, size=SIZE)
    (tmp_path / "images").rename(tmp_path / "files")
    named = sorted({path for row in rows for path in (row.first, row.second)})
    append(tmp_path, named)
    return rows


def append(folder: Path, paths: list[str]) -> None:
    with ShardWriter(folder / "shards", shard_bytes=10_000) as shards:
        for path in paths:
            if path not in shards:
                shards.add(path, (folder / "files" / path).read_bytes())


def batches_of(rows, folder: Path) -> list[torch.Tensor]:
    """Return the images that two trainings read: of a reward model, with two worker processes, and of a restorer."""
    groups = batches.group_by_face(rows)
    batches.require_images(groups, folder)
    dataset = batches.FaceDataset(groups, folder, Preprocess(size=SIZE), torch.zeros(len(groups), 4, dtype=torch.int64))
    plan = [[Item(0), Item(2, mirrored=True)], [Item(1)]]
    loaded = [batch.images for batch in loading.load(dataset, plan, batches.collate, workers=2, device=CPU)]
    faces = [
        FaceRow(face, f"person{face}", "train", "", SIZE, hq, "")
        for face, hq in sorted({(row.face, row.first) for row in rows if row.first_source == "hq"})
    ]
    training = TrainingFaces(faces, folder, SIZE, DegradeConfig(), seed=1, mirror=True).batches(2)
    return [*loaded, *(image for _, batch in zip(range(2), training, strict=False) for image in (batch.hq, batch.lq))]


def test_batches_from_shards_equal_those_from_files(packed, tmp_path):
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names[:2] == ["images-00000.tar", "images-00001.tar"] and names[-1] == "shards.json" and len(names) > 3
    for one, other in zip(batches_of(packed, tmp_path / "shards"), batches_of(packed, tmp_path / "files"), strict=True):
        assert torch.equal(one, other)
    with tarfile.open(tmp_path / "shards" / names[0]) as shard:
        member = shard.getmembers()[0]
        content = shard.extractfile(member).read()
    assert content == (tmp_path / "files" / member.name[:2] / member.name).read_bytes()


def test_interrupted_shards_are_completed(packed, tmp_path):
    whole = read_index(tmp_path / "shards")
    shutil.rmtree(tmp_path / "shards")
    with pytest.raises(FileNotFoundError):
        append(tmp_path, [*list(whole)[:4], "00/missing.png"])
    listed = read_index(tmp_path / "shards")
    assert 0 < len(listed) <= 4 and all((tmp_path / "shards" / place.shard).is_file() for place in listed.values())
    append(tmp_path, list(whole))
    assert read_index(tmp_path / "shards").keys() == whole.keys()
    assert not list((tmp_path / "shards").glob("*.part"))
    for path in whole:
        snapshot_images.read_image(tmp_path / "shards", path)


def test_damaged_and_missing_shards_are_named(packed, tmp_path):
    folder = tmp_path / "shards"
    path, place = next(iter(read_index(folder).items()))
    content = bytearray((folder / place.shard).read_bytes())
    content[place.offset + 50] ^= 1
    (folder / place.shard).write_bytes(content)
    with pytest.raises(DataError, match=f"{place.shard}: {path} was changed after the snapshot"):
        snapshot_images.read_image(folder, path)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / place.shard).unlink()
    with pytest.raises(DataError, match=f"images are not in {copy}"):
        batches.require_images(batches.group_by_face(packed), copy)
    (copy / "shards.json").write_text("{}")
    with pytest.raises(DataError, match="is not an index of image shards"):
        batches.require_images(batches.group_by_face(packed), copy)
