"""Download the wheels that a GPU machine without access to a registry needs.

    python -m tests.gpu.wheels wheels
    # on that machine: python3 -m pip install --no-index --no-deps --target site wheels/*.whl
    # on that machine: PYTHONPATH=site:. python3 -m tests.gpu

The machine must have CPython 3.12 on x86-64 Linux, torch 2.11 with torchvision, transformers, accelerate, safetensors,
scikit-learn, scipy, opencv and tensorboard. All other packages have the versions that this project pins.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

MISSING = (
    "diffusers",
    "peft",
    "open_clip_torch",
    "timm",
    "ftfy",
    "wcwidth",
    "spandrel",
    "lpips",
    "skops",
    "tabulate",
    "msgspec",
    "filelock",
)
# A dependency of skops, not pinned by a requirements file.
UNPINNED = ("prettytable",)
OPTIONAL = ("pytorch-wavelets", "PyWavelets")  # the dual-tree wavelets of Eq. 4
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
FILES = ("requirements.txt", "requirements-pyiqa.txt")


def pinned() -> list[str]:
    """Return the requirements to download, as NAME==VERSION."""
    root = Path(__file__).parents[2]
    lines = [line for file in FILES for line in (root / file).read_text().splitlines()]
    pins = {match[1].lower(): match[0] for line in lines if (match := re.match(r"([\w.-]+)==[\w.+]+", line))}
    return [*(pins[name.lower()] for name in (*MISSING, *OPTIONAL)), *UNPINNED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", "--dest", str(folder),
        *(option for platform in PLATFORMS for option in ("--platform", platform)), *pinned(),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    wheels = sorted(folder.glob("*.whl"))
    print("\n".join(wheel.name for wheel in wheels))
    print(f"{len(wheels)} wheels, {sum(wheel.stat().st_size for wheel in wheels) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
