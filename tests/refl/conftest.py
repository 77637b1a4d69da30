"""Fixtures: tiny checkpoints in the formats of OSEDiff and DiffBIR, and policies opened from them."""

import shutil
from collections import namedtuple

import pytest
import torch

from refl.policies.diffbir import open_diffbir
from refl.policies.osediff import open_osediff
from tests.support import diffusion
from tests.support.diffusion import SIZE
from tests.support.restorers import make_world
from tests.support.tuning import fast_config

SEEDS = [3, 4, 5]
STEPS = 4


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refl")
    make_world(folder)
    return folder


@pytest.fixture
def config():
    return fast_config()


@pytest.fixture(scope="module")
def one_thread():
    """Use one thread: several are slower on a shared machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    sd = diffusion.stable_diffusion(folder / "stable-diffusion-2-1-base")
    return namedtuple("Files", "sd osediff controlnet swinir")(
        sd,
        diffusion.osediff(folder / "osediff_face.pkl", sd),
        diffusion.controlnet(folder / "v1_face.pth", sd),
        diffusion.swinir(folder / "face_swinir_v1.ckpt"),
    )


@pytest.fixture(scope="module")
def one_step(files):
    return open_osediff(files.sd, files.osediff)


@pytest.fixture(scope="module")
def multi_step(files):
    return open_diffbir(files.sd, files.controlnet, files.swinir, steps=STEPS)


@pytest.fixture(scope="module")
def policies(one_step, multi_step):
    return {"osediff": one_step, "diffbir": multi_step}


@pytest.fixture(scope="module")
def lq():
    return torch.rand(len(SEEDS), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def copied(files, tmp_path):
    return shutil.copytree(files.sd, tmp_path / "sd")
