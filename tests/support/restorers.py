"""Inputs for tests of tuning: real faces at 128 px, small reward models, and small compact bases."""

import json
from collections.abc import Iterable
from itertools import islice

import cv2
import numpy as np
import torch

from refl import dataset
from refl.configs import BaseConfig
from refl.degradation import PRESETS, degrade, sample_parameters
from refl.policies import compact
from rewardlab import clip, manifest
from rewardlab.reward_model import prepare, train
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.training import runs
from tests.support.preferences import TINY, portraits, store, write_preferences

CHANNELS = (32, 48)  # with fewer than two in a group of the normalisation, time would have no effect
TRAIN, TEST = 6, 3


def write_faces(
    folder, *, train: int = TRAIN, test: int = TEST, pictures: Iterable[np.ndarray] | None = None
) -> list[dataset.FaceRow]:
    """Write `folder/faces.jsonl` and `folder/images`, of portraits (or `pictures`) that `write_preferences` does not
    use."""
    config = PRESETS["paper"].scaled_to(compact.SIZE)
    rows = []
    chosen = portraits(50, train + test) if pictures is None else islice(pictures, train + test)
    for number, whole in enumerate(chosen):
        hq = cv2.resize(whole, (compact.SIZE, compact.SIZE), interpolation=cv2.INTER_AREA)
        lq = degrade(hq, sample_parameters(config, number), config)
        split = "train" if number < train else "test"
        stored = (store(folder / "images", picture) for picture in (hq, lq))
        caption = f"The face of a person, number {number}."
        rows.append(dataset.FaceRow(100 + number, f"other{number}", split, caption, compact.SIZE, *stored))
    dataset.write(folder / "faces.jsonl", rows)
    return rows


def make_world(folder, pictures: Iterable[np.ndarray] | None = None) -> None:
    """Write faces.jsonl, manifest.jsonl, images, and in `runs` the reward models `frm` and `judge` and both bases.

    pictures: an iterator over square ones, in place of the demo's portraits."""
    write_faces(folder, pictures=pictures)
    write_preferences(folder, train=4, pictures=pictures)
    (folder / "tiny.json").write_text(json.dumps(TINY))
    for seed, name in enumerate(("frm", "judge")):
        torch.manual_seed(seed)
        torch.save({"state_dict": clip.build(TINY).state_dict()}, folder / "hps.pt")
        run = runs.open_run(folder / "runs", name)
        config = TrainConfig(
            architecture=str(folder / "tiny.json"), iterations=2, learning_rate=1e-3, image_layers=3, text_layers=2,
            faces_per_step=2, log_every=1, evaluate_every=2, save_every=2, workers=0, seed=seed,
        )  # fmt: skip
        prepare.prepare_run(
            run, config, folder / "manifest.jsonl", images=folder / "images", checkpoint_file=folder / "hps.pt"
        )
        train.train(run, images=folder / "images", device="cpu")
    for variant in ("one-step", "multi-step"):
        make_base(runs.open_run(folder / "runs", variant), variant)


def make_base(run: runs.Run, variant: compact.Variant, *, held_out: int = 1) -> None:
    """Write a finished run of train_base, with weights that are not zero."""
    torch.manual_seed(0)
    parts = compact.networks(variant, CHANNELS)
    if variant == "multi-step":
        parts["stage_1"] = compact.networks("one-step", CHANNELS)["unet"]
    for network in parts.values():
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
    compact.save(parts, variant, run.model)
    run.create(
        kind="base", config=BaseConfig(variant=variant, held_out=held_out), start={"base": "compact"}, images=run.folder
    )
    run.write_status("done", step=1, total=1)


def header(path):
    return manifest.read_header(path)
