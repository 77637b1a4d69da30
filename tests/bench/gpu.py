"""What trainings save on a GPU, as far as a CPU can tell: counts and ratios, old way against new way in one run.

    OMP_NUM_THREADS=1 python -m tests.bench.gpu [--rounds 3]

Networks are tiny, with the layout of DiffBIR. `python -m tests.gpu` measures a GPU.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from refl import losses
from refl.policies.noise import Noise
from refl.window import Window
from rewardlab import manifest
from rewardlab.reward_model import batches
from rewardlab.reward_model.crop_cache import CropCache
from rewardlab.reward_model.model import Preprocess
from rewardlab.training import checkpoint, schedule
from tests.bench.machine import describe
from tests.bench.refl_parts import Bench
from tests.support import preferences, random_networks
from tests.support.dispatched import Dispatched, SavedBytes

STEPS = 20  # denoising steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, in turn (default: %(default)s)")
    rounds = parser.parse_args().rounds
    print(describe("torch", "diffusers", "safetensors"))
    with tempfile.TemporaryDirectory() as place:
        conversions()
        activations()
        decoding(Path(place), rounds)
        saving(Path(place), rounds)


def row(what: str, old: float, new: float, unit: str) -> None:
    print(f"{what:<66} {old:10.4g} {new:10.4g} {unit:<4} {new / old:.3f} times", flush=True)


def conversions() -> None:
    found = []
    for lowered in (False, True):
        policy = random_networks.policy("diffbir", "cpu", tiny=True)
        policy.steps = STEPS
        if lowered:
            policy.lower(torch.bfloat16)
        with Dispatched() as dispatched, torch.autocast("cpu", torch.bfloat16):
            policy.trajectory(torch.rand(1, 3, 64, 64), [""], Noise([1]))
        found.append(dispatched)
    old, new = found
    row(f"conversions of {STEPS} denoising steps: autocast, stored in bf16", old.conversions, new.conversions, "")
    row(f"operators of {STEPS} denoising steps: autocast, stored in bf16", old.operators, new.operators, "")


def activations() -> None:
    config = random_networks.refl_config("diffbir", tiny=True, batch_size=2, accumulation=1, wavelet="haar")
    policy, reward_model = (
        random_networks.policy("diffbir", "cpu", tiny=True),
        random_networks.reward_model("cpu", tiny=True),
    )
    bench = Bench(policy, reward_model, random_networks.lpips("cpu"), config, "cpu")
    whole, parts = SavedBytes(), SavedBytes()
    with whole.counting():
        trajectory = policy.trajectory(bench.batch.lq, ["", ""], Noise(bench.batch.seeds))
        images = policy.decode(trajectory.latents)
        terms = [
            losses.reward_loss(reward_model.score(images, bench.batch.captions)),
            losses.perceptual_loss(bench.lpips, images, bench.batch.hq),
            losses.structure_loss(images, bench.batch.hq, config.wavelet, config.wavelet_levels),
            bench.regularisation(trajectory),
        ]
    with parts.counting():
        bench.step(Window(), with_norms=True)
    row("kept for the backward pass: whole graph, part by part", whole.most / 2**20, parts.most / 2**20, "MiB")
    del terms


def decoding(place: Path, rounds: int) -> None:
    preferences.write_preferences(place, train=8, gold=0, pictures=random_networks.pictures(8, 512), size=512)
    groups = batches.group_by_face(manifest.read(place / "manifest.jsonl")[1])
    names, preprocess = [path for group in groups for path in group.images], Preprocess()
    cache = CropCache(place / "cache", names, size=preprocess.size, variant="", limit=2**30)
    tokens, items = torch.zeros(len(groups), 1, dtype=torch.long), [schedule.Item(n) for n in range(len(groups))]
    decoded, cached = (
        batches.FaceDataset(groups, place / "images", preprocess, tokens, each) for each in (None, cache)
    )
    cached.__getitems__(items)
    old, new = in_turn(rounds, lambda: decoded.__getitems__(items), lambda: cached.__getitems__(items))
    row("image of 512 px for the reward model: decoded, cached", 1e3 * old / len(names), 1e3 * new / len(names), "ms")


def saving(place: Path, rounds: int) -> None:
    model = torch.nn.Linear(4000, 4000)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(1, 4000)).sum().backward()
    optimizer.step()
    parts = {"": (model, optimizer)}
    old, new = in_turn(
        rounds,
        lambda: checkpoint.save(place / "state.safetensors", parts, step=1),
        lambda: checkpoint.copied(parts),
        cpu=False,
    )
    row("time that a step waits for a state of 183 MiB: written, copied", 1e3 * old, 1e3 * new, "ms")
    shutil.rmtree(place / "cache", ignore_errors=True)


def in_turn(rounds: int, *works: Callable[[], object], cpu: bool = True) -> list[float]:
    """Return the median seconds of each, measured in turn. cpu: of this process's processor time."""
    clock = time.process_time if cpu else time.perf_counter
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, seconds in zip(works, taken, strict=True):
            started = clock()
            work()
            seconds.append(clock() - started)
    return [statistics.median(seconds) for seconds in taken]


if __name__ == "__main__":
    main()
