"""The stages from ingest to score in one process, which a test kills: `python -m tests.support.chain FOLDER`."""

import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402


def run_chain(folder: str) -> None:
    call_command("ingest", folder, "--size", "128")
    call_command("caption")
    call_command("degrade")
    call_command("restore", "--restorer", "lanczos", "--restorer", "dat-light", "--batch-size", "2")
    call_command("build_pairs")
    call_command("score", "--metrics", "ssim", "psnr", "lpips", "niqe", "--batch-size", "2")


if __name__ == "__main__":
    run_chain(sys.argv[1])
