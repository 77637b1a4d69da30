"""Options that make a training faster. `python -m tests.gpu` compares their results."""

import logging

import pytest
import torch
from torch import nn

from rewardlab.reward_model.configs import TrainConfig
from rewardlab.training import acceleration
from tests.support import random_networks


@pytest.fixture(autouse=True)
def default_tf32():
    yield
    acceleration.allow_tf32(False)


def test_options_apply_to_the_process_and_its_networks():
    model = random_networks.reward_model("cpu", tiny=True)
    acceleration.apply(TrainConfig(tf32=True, channels_last=True), model)
    assert torch.backends.cuda.matmul.allow_tf32
    patches = model.clip.visual.conv1.weight
    assert patches.is_contiguous(memory_format=torch.channels_last)
    acceleration.apply(TrainConfig(), model)
    assert not torch.backends.cuda.matmul.allow_tf32


def test_compiled_blocks_score_as_before_and_their_absence_is_said(caplog):
    model = random_networks.reward_model("cpu", tiny=True)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model.score(images, "a face")
    names = list(model.state_dict())
    layers = sum(type(module).__name__ == "ResidualAttentionBlock" for module in model.modules())
    assert acceleration.compile_blocks(model, backend="eager") == layers > 1
    torch.testing.assert_close(model.score(images, "a face"), before)
    assert list(model.state_dict()) == names
    with caplog.at_level(logging.WARNING):
        acceleration.apply(TrainConfig(compile=True), nn.Linear(2, 2))
    assert "no transformer blocks" in caplog.text
