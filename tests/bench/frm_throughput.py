"""Pairs per second of a training step, faces with shared encodings against the pairwise loader, in one run.

`python -m tests.bench.frm_throughput [--backbone compact|hpsv2] [--device cuda] [--checkpointing] [--faces N]`

The pairwise loader is the paper's and HPSv2's: every pair brings its own two images and its own caption. Both read
the same files, train the same layers and have the same number of images in memory at once. `hpsv2` has its full size
and random weights: the time does not depend on them.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from rewardlab import backbones, data, frm, losses, manifest
from rewardlab.configs import PRESETS
from rewardlab.frm import FaceRewardModel, Preprocess, make_tokenizer, open_clip
from rewardlab.train import PairTask
from tests.bench.machine import describe
from tests.preferences import write_preferences


def open_backbone(name: str, device: str) -> FaceRewardModel:
    if name == "compact":
        model = backbones.open_compact(seed=0)
    else:
        config = open_clip.get_model_config("ViT-H-14")
        model = FaceRewardModel(frm.build(config), make_tokenizer(config), Preprocess(), config)
    preset = PRESETS[name]
    backbones.lock(model, image_layers=preset.image_layers, text_layers=preset.text_layers)
    return model.to(device)


class Steps:
    """Optimizer steps over whole faces, by one of the two loaders."""

    def __init__(self, model, groups, folder, *, at_once: int, device: str, optimizer) -> None:
        tokens = model.tokenize([group.caption for group in groups])
        self.dataset = data.FaceDataset(groups, folder, model.preprocess, tokens)
        self.task, self.at_once, self.device, self.optimizer = PairTask(model), at_once, device, optimizer
        self.pairs = sum(len(group.pairs) for group in groups)

    def __call__(self) -> float:
        """Seconds of one step over all groups, `at_once` of them at a time."""
        started = time.perf_counter()
        items = [data.Item(index) for index in range(len(self.dataset))]
        for start in range(0, len(items), self.at_once):
            batch = data.collate(self.dataset.__getitems__(items[start : start + self.at_once])).to(
                torch.device(self.device)
            )
            with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                logits = self.task(batch).float()
                (losses.preference_losses(logits, batch.p_first).sum() / self.pairs).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def matrix_peak(device: str) -> float:
    """FLOP/s of a large product in the precision of training, the best of ten."""
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    size = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=["compact", "hpsv2"], default="compact")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--faces", type=int, default=None, help="a step; default 4 (hpsv2 on a CPU: 1)")
    parser.add_argument("--rounds", type=int, default=None, help="of both loaders in turn")
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    slow = options.backbone == "hpsv2" and options.device == "cpu"
    faces, rounds = options.faces or (1 if slow else 4), options.rounds or (2 if slow else 7)
    packages = ("torch", "open_clip_torch", "timm", "transformers")
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(describe(*packages) | {"device": name})

    folder = Path(tempfile.mkdtemp())
    write_preferences(folder, train=faces, gold=0)
    groups = data.group_by_face(manifest.read(folder / "manifest.jsonl")[1])
    model = open_backbone(options.backbone, options.device)
    if options.checkpointing:
        model.clip.set_grad_checkpointing(True)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.0)
    at_once = 1 if slow else faces  # faces in memory; two pairs hold as many images
    shared, pairwise = (
        Steps(model, wanted, folder / "images", at_once=count, device=options.device, optimizer=optimizer)
        for wanted, count in ((groups, at_once), (data.pairwise(groups), 2 * at_once))
    )
    with FlopCounterMode(display=False) as counter:
        shared()
    flops = counter.get_total_flops()
    seconds: dict[str, list[float]] = {"shared": [], "pairwise": []}
    memory = {}
    for number in range(rounds + 1):
        for loader, steps in (("shared", shared), ("pairwise", pairwise)):
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            taken = steps()
            if number:  # the first round warms up
                seconds[loader].append(taken)
            if options.device == "cuda":
                memory[loader] = torch.cuda.max_memory_allocated() / 2**30
    rates = {loader: shared.pairs / statistics.median(taken) for loader, taken in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["pairwise"], seconds["shared"], strict=True)]
    for loader, rate in rates.items():
        peak = f", peak memory {memory[loader]:.1f} GiB" if memory else ""
        print(f"{options.backbone}, {loader}: {rate:.2f} pairs/s (median of {rounds}){peak}")
    print(
        f"shared against pairwise: {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    if options.backbone == "hpsv2":  # the counter takes depthwise convolutions for whole ones
        achieved = flops / statistics.median(seconds["shared"])
        best = matrix_peak(options.device)
        print(f"a step: {flops / 1e12:.2f} TFLOP, {achieved / best:.0%} of the matrix peak, {best / 1e12:.2f} TFLOP/s")


if __name__ == "__main__":
    main()
