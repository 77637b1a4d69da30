"""CPU of a restorer with and without memory that is kept between layers: `python -m tests.bench.page_faults`.

Each way restores the same random images, one at a time, in its own process with one thread, in turns.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys

from tests.bench.machine import describe

WAYS = ("default", "kept")
ROUNDS = 3


def restore(name: str, size: int, images: int) -> dict[str, float]:
    """Return CPU seconds and page faults per image, and the peak memory in MB, of this process."""
    import torch

    from refl.restorers import open_restorer
    from refl.restorers.spec import Subject

    torch.set_num_threads(1)
    restorer = open_restorer(name)
    lq = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    restorer.restore(lq, [Subject(1, "")])
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(images):
        restorer.restore(lq, [Subject(1, "")])
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_s": cpu / images,
        "page_faults": (after.ru_minflt - before.ru_minflt) / images,
        "peak_mb": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restorer", default="dat-light")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        if options.way == "default":
            from refl.restorers import spandrel_restorer

            spandrel_restorer.keep_freed_memory = lambda: False
        print(json.dumps(restore(options.restorer, options.size, options.images)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            words = [sys.executable, "-m", "tests.bench.page_faults", *sys.argv[1:], "--way", way]
            found[way].append(json.loads(subprocess.run(words, capture_output=True, check=True).stdout))
    report = {
        way: {name: round(statistics.median(one[name] for one in runs), 3) for name in runs[0]}
        for way, runs in found.items()
    }
    ratio = round(report["default"]["cpu_s"] / report["kept"]["cpu_s"], 2)
    print(
        json.dumps(
            {
                "machine": describe("torch"),
                "restorer": options.restorer,
                "size": options.size,
                **report,
                "ratio": ratio,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
