"""The cache of decoded crops: the same crops, read again, up to a limit."""

import logging
import shutil

import pytest
import torch

from rewardlab import clip, manifest
from rewardlab.reward_model import batches, prepare, train
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.crop_cache import CropCache
from rewardlab.reward_model.model import Preprocess
from rewardlab.snapshot_images import DataError
from rewardlab.training import runs, schedule
from rewardlab.training.run_schema import FrmPoint
from tests.support.preferences import TINY, write_preferences
from tests.support.random_networks import write_tiny_checkpoint

SIZE = 24
PREPROCESS = Preprocess(size=SIZE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    write_preferences(folder, train=4, gold=0)
    return folder


@pytest.fixture
def groups(place):
    return batches.group_by_face(manifest.read(place / "manifest.jsonl")[1])


def names(groups) -> list[str]:
    return [path for group in groups for path in group.images]


def loaded(groups, images, cache) -> torch.Tensor:
    tokens = torch.zeros(len(groups), 1, dtype=torch.long)
    dataset = batches.FaceDataset(groups, images, PREPROCESS, tokens, cache)
    items = [schedule.Item(number, mirrored=number == 1) for number in range(len(groups))]
    return torch.cat([prepared for _, prepared, _ in dataset.__getitems__(items)])


def test_cached_crops_are_decoded_once_and_rounded_to_8_bits(place, groups, tmp_path):
    images = shutil.copytree(place / "images", tmp_path / "images")

    def cache() -> CropCache:
        return CropCache(tmp_path / "cache", names(groups), size=SIZE, variant="", limit=2**30)

    plain, first = loaded(groups, images, None), loaded(groups, images, cache())
    half_a_step = 0.5 / 255 / min(PREPROCESS.std) + 1e-5
    low, high = (
        PREPROCESS.normalise(torch.full((1, 3, 1, 1), value)) for value in (0.0, 1.0)
    )  # bicubic resizing leaves the range, 8 bits do not
    assert (first - plain.clamp(low, high)).abs().max() <= half_a_step
    assert not torch.equal(first, plain)

    damaged = sorted(set(names(groups)))[2]
    with cache().file.open("r+b") as file:
        file.seek(cache().numbers[damaged] * cache().record + 100)
        file.write(b"\x00\xff\x00")
    for path in set(names(groups)) - {damaged}:
        (images / path).unlink()
    assert torch.equal(loaded(groups, images, cache()), first)
    (images / damaged).unlink()
    assert torch.equal(loaded(groups, images, cache()), first), "the damaged record was not written again"


def test_cache_keeps_what_the_limit_allows_and_names_a_broken_file(place, groups, tmp_path):
    record = 4 + 3 * SIZE**2
    cache = CropCache(tmp_path, names(groups), size=SIZE, variant="", limit=3 * record + 1)
    assert (len(cache.numbers), cache.total, cache.needed) == (3, len(set(names(groups))), cache.total * record)
    loaded(groups, place / "images", cache)
    assert cache.file.stat().st_size == 3 * record
    other = CropCache(tmp_path, names(groups), size=SIZE, variant="other", limit=2 * record)
    assert list(tmp_path.iterdir()) == [other.file]
    other.file.unlink()
    with pytest.raises(DataError, match=r"cannot be used \(No such file.*--cache-gib 0"):
        other.get(next(iter(other.numbers)))


def test_training_with_a_cache_says_its_size_and_removes_it(place, tmp_path, caplog):
    checkpoint, architecture = write_tiny_checkpoint(tmp_path)
    config = TrainConfig(
        architecture=architecture, iterations=4, learning_rate=1e-3, image_layers=1, text_layers=1, faces_per_step=2,
        log_every=1, evaluate_every=4, save_every=4, workers=0, cache_gib=1e-5,
    )  # fmt: skip
    losses = []
    for name in ("cached", "again"):
        run = runs.open_run(tmp_path, name)
        prepare.prepare_run(run, config, place / "manifest.jsonl", images=place / "images", checkpoint_file=checkpoint)
        with caplog.at_level(logging.WARNING):
            train.train(run, images=place / "images", device="cpu")
        losses.append([point.loss for point in run.points_of(FrmPoint)])
        assert not (run.folder / "cache").exists()
    side = clip.build(TINY).visual.image_size[0]
    assert losses[0] == losses[1]
    assert f"keeps {int(1e-5 * 2**30) // (4 + 3 * side**2)} of 16 images" in caplog.text
