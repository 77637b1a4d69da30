"""`rewardlab-score --model FOLDER --text "..." IMAGE ...`: the reward of each image, best first."""

import argparse
import sys
from pathlib import Path

import torch

import rewardlab
from rewardlab.devices import default_device
from rewardlab.errors import ModelError
from rewardlab.images import ImageError, read, to_tensor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rewardlab-score", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder written by train_frm")
    parser.add_argument("--text", default="", help="description of the face, worded like the training captions")
    parser.add_argument("--device", default=default_device(), help="default here: %(default)s")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    options = parser.parse_args(arguments)
    try:
        model = rewardlab.load(options.model, options.device)
    except ModelError as error:
        parser.exit(2, f"{error}\n")
    except (RuntimeError, AssertionError) as error:
        parser.exit(2, f"--device {options.device} cannot be used here: {str(error).splitlines()[0]}\n")
    scores, failed = [], 0
    for path in options.images:
        try:
            with torch.inference_mode():
                scores.append((model.score(to_tensor([read(path)]), options.text).item(), path))
        except (ImageError, OSError) as error:
            failed += 1
            print(error, file=sys.stderr)
    for score, path in sorted(scores, reverse=True):
        print(f"{score:+.4f}  {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
