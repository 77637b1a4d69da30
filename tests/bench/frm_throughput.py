"""Pairs per second of a training step, with shared encodings of whole faces and with a pairwise loader.

`python -m tests.bench.frm_throughput [--backbone compact|hpsv2] [--checkpointing] [--faces N]`, on a CPU. A GPU:
`python -m tests.gpu`.

The pairwise loader is the paper's and HPSv2's: every pair has its own two images and its own caption. Both loaders read
the same files, train the same layers and have the same number of images in memory. `hpsv2` has its full size and random
weights, which do not affect the time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from rewardlab import manifest
from rewardlab.reward_model import backbones, batches, losses
from rewardlab.reward_model.configs import PRESETS
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.train import PairTask
from rewardlab.training import schedule
from tests.bench.machine import describe, matrix_peak
from tests.support import random_networks
from tests.support.preferences import write_preferences


def open_backbone(name: str) -> FaceRewardModel:
    model = backbones.open_compact(seed=0) if name == "compact" else random_networks.reward_model("cpu", tiny=False)
    preset = PRESETS[name]
    backbones.lock(model, image_layers=preset.image_layers, text_layers=preset.text_layers)
    return model


class Steps:
    """Optimizer steps over whole faces with one of the loaders."""

    def __init__(self, model, groups, folder, *, at_once: int, optimizer) -> None:
        tokens = model.tokenize([group.caption for group in groups])
        self.dataset = batches.FaceDataset(groups, folder, model.preprocess, tokens)
        self.task, self.at_once, self.optimizer = PairTask(model), at_once, optimizer
        self.pairs = sum(len(group.pairs) for group in groups)

    def __call__(self) -> float:
        """Take one step over all groups, `at_once` at a time. Return its seconds."""
        started = time.perf_counter()
        items = [schedule.Item(index) for index in range(len(self.dataset))]
        for start in range(0, len(items), self.at_once):
            batch = batches.collate(self.dataset.__getitems__(items[start : start + self.at_once]))
            (losses.preference_losses(self.task(batch), batch.p_first).sum() / self.pairs).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=["compact", "hpsv2"], default="compact")
    parser.add_argument("--faces", type=int, default=None, help="faces per step; default 4 (hpsv2: 1)")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of both loaders")
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    slow = options.backbone == "hpsv2"
    faces, rounds = options.faces or (1 if slow else 4), options.rounds or (2 if slow else 7)
    packages = ("torch", "open_clip_torch", "timm", "transformers")
    print(describe(*packages) | {"device": f"{torch.get_num_threads()} threads"})

    folder = Path(tempfile.mkdtemp())
    write_preferences(folder, train=faces, gold=0)
    groups = batches.group_by_face(manifest.read(folder / "manifest.jsonl")[1])
    model = open_backbone(options.backbone)
    if options.checkpointing:
        model.clip.set_grad_checkpointing(True)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.0)
    at_once = 1 if slow else faces  # faces in memory; two pairs have as many images
    shared, pairwise = (
        Steps(model, wanted, folder / "images", at_once=count, optimizer=optimizer)
        for wanted, count in ((groups, at_once), (batches.pairwise(groups), 2 * at_once))
    )
    with FlopCounterMode(display=False) as counter:
        shared()
    flops = counter.get_total_flops()
    seconds: dict[str, list[float]] = {"shared": [], "pairwise": []}
    for number in range(rounds + 1):
        for loader, steps in (("shared", shared), ("pairwise", pairwise)):
            taken = steps()
            if number:  # the first round warms up
                seconds[loader].append(taken)
    rates = {loader: shared.pairs / statistics.median(taken) for loader, taken in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["pairwise"], seconds["shared"], strict=True)]
    for loader, rate in rates.items():
        print(f"{options.backbone}, {loader}: {rate:.2f} pairs/s (median of {rounds})")
    print(
        f"shared is {statistics.median(ratios):.2f} times as fast as pairwise ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    if options.backbone == "hpsv2":  # for compact the counter counts depthwise convolutions as full ones
        achieved = flops / statistics.median(seconds["shared"])
        best = matrix_peak("cpu")
        print(f"a step: {flops / 1e12:.2f} TFLOP, {achieved / best:.0%} of the matrix peak, {best / 1e12:.2f} TFLOP/s")


if __name__ == "__main__":
    main()
