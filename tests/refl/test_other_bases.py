"""GFPGAN, CodeFormer and DR2 as bases (Table 15): small networks of the same structure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from refl.configs import PRESETS, ReflConfig
from refl.errors import WeightsError
from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.linear_schedule import LinearSchedule
from refl.networks.sparnet import SPARNet, SPARNetConfig
from refl.policies import dr2, feed_forward, open_policy
from refl.policies.noise import Noise, content_seed
from refl.policies.policy import ALL_STEPS
from refl.restorers import open_restorer
from refl.train_refl import ReflTrainer
from rewardlab.training.run_schema import ReflPoint
from tests.support import systems
from tests.support.tuning import names_of, tuned

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:There are modules")]

UNET = UNetConfig(32, (1, 1), (1, 1), attention_levels=(1,), residual_resampling=True, head_channels=16, groups=8)
ENHANCER = SPARNetConfig(size=64, smallest=16, fewest_channels=8, most_channels=16, depth=1)


def write(network, file):
    """Store random weights, none of them zero."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    gfpgan = feed_forward.GFPGAN(out_size=64, num_style_feat=16, channel_multiplier=1, narrow=1 / 16)
    return {
        "gfpgan": {"checkpoint": write(gfpgan, folder / "GFPGANv1.4.safetensors")},
        "dr2": {
            "checkpoint": write(ADMUNet(UNET), folder / "DR2_FFHQ.safetensors"),
            "sparnet": write(SPARNet(ENHANCER), folder / "SPARNetHD_FFHQ_DR2aug.safetensors"),
        },
    }


@pytest.fixture
def small(monkeypatch):
    """Make DR2 as small as its weights here; a file does not say its structure."""
    monkeypatch.setattr(dr2, "STRUCTURE", dr2.Structure(UNET, ENHANCER, 32))


def config_of(config: ReflConfig, base: str) -> ReflConfig:
    preset = PRESETS[base]
    return replace(
        config, base=base, reg=preset.reg, steps=preset.steps, tau=0, low_pass=1, learning_rate=1e-4, wavelet_levels=1,
        iterations=2, evaluate_every=2, held_out=1,
    )  # fmt: skip


@pytest.mark.parametrize("base", ["gfpgan", "dr2"])
def test_tuning_moves_every_trained_weight_and_no_other(place, config, weights, small, base, monkeypatch):
    trainers, finish = [], ReflTrainer._finish
    monkeypatch.setattr(ReflTrainer, "_finish", lambda self: (finish(self), trainers.append(self)))
    config = replace(config_of(config, base), checkpointing=base == "dr2")
    run = tuned(place, config, f"tuned-{base}", base=None, judge=None, files=weights[base] | {"accept_licence": True})
    policy, untuned = trainers[0].policy, open_policy.open_base(weights[base], run.start, config)
    trained = names_of(policy)
    blocks = {"gfpgan": {"condition_scale", "condition_shift", "stylegan_decoder"}, "dr2": {"output_blocks", "out"}}
    assert {name.split("unet.")[-1].removeprefix("network.").split(".")[0] for name in trained} == blocks[base]
    for name, value in untuned.state_dict().items():
        assert torch.equal(value, policy.state_dict()[name]) != (name in trained), name
    first, last = (run.points_of(ReflPoint)[number] for number in (0, -1))
    assert first.terms["reg"].value == pytest.approx(0, abs=1e-9)
    assert last.terms["reg"].value > 0

    lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    restored = [open_restorer(f"{run.name}{share}", run_root=place / "runs").restore(lq) for share in ("", "@0")]
    for ours, theirs in zip(restored, (policy, untuned), strict=True):
        seed = Noise([content_seed(lq[0])])
        with torch.no_grad():
            expected = theirs.decode(theirs.trajectory(lq, [""], seed).latents).clamp(0, 1)
        assert torch.allclose(ours, expected, atol=1e-5)
    with pytest.raises(ValueError, match="does not use text"):
        policy.trajectory(lq, ["a man"], Noise([0]))


def test_gradient_of_dr2_passes_the_last_steps_only(weights, small):
    policy = dr2.open_dr2(**paths(weights), tau=3, low_pass=1)
    assert policy.denoising_steps == 6
    lq = torch.rand(1, 3, 64, 64)
    found = [policy.trajectory(lq, [""], Noise([0]), backprop_steps=steps) for steps in (1, 2, ALL_STEPS)]
    assert [len(trajectory.calls) for trajectory in found] == [1, 2, 6]
    assert torch.equal(found[0].latents, found[2].latents)
    policy.require_supports("eps", 6)
    with pytest.raises(ValueError, match="7 is more than this base has denoising steps: 6"):
        policy.require_supports("eps", 7)
    with pytest.raises(ValueError, match="residual needs a ControlNet, which this base does not have"):
        policy.require_supports("residual", 1)


def test_dr2_policy_without_gradient_equals_the_restorer(weights, small):
    policy = dr2.open_dr2(**paths(weights), tau=3, low_pass=1)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = policy.trajectory(images, ["", ""], Noise([1, 2])).latents
        expected, _ = policy.system.remover(2 * images - 1, Noise([1, 2]).like)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def paths(weights) -> dict:
    return {"unet": weights["dr2"]["checkpoint"], "sparnet": weights["dr2"]["sparnet"]}


def test_clamp_of_x0_passes_the_gradient_of_every_pixel():
    pixels = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    clamped = LinearSchedule([0]).clean(pixels, torch.zeros(3), 0)
    clamped.sum().backward()
    assert clamped.tolist() == pytest.approx([-1, 0.5, 1], rel=1e-4)
    assert torch.equal(pixels.grad, torch.full((3,), (1 - 1e-4) ** -0.5))


def test_unknown_blocks_and_regularisers_are_refused(weights, tmp_path):
    for changes, message in (
        ({"base": "gfpgan", "reg": "eps"}, "reg eps is not defined for gfpgan: use output or gauss_l2"),
        ({"base": "gfpgan", "reg": "output", "blocks": "fuse"}, "blocks fuse: gfpgan has modulation, generator"),
        ({"base": "diffbir", "blocks": "decoder"}, "diffbir has no blocks to choose"),
        ({"base": "dr2", "reg": "eps", "low_pass": 3}, "low_pass must be 1, 2, 4"),
    ):
        with pytest.raises(ValueError, match=message):
            ReflConfig(**changes)
    chosen = feed_forward.open_gfpgan(weights["gfpgan"]["checkpoint"], trained=("encoder",))
    assert {name.split(".")[0] for name in chosen.trainable()} == {
        "conv_body_first", "conv_body_down", "conv_body_up", "final_conv", "final_linear",
    }  # fmt: skip
    with pytest.raises(WeightsError, match="is not a checkpoint of GFPGAN"):
        feed_forward.open_gfpgan(weights["dr2"]["checkpoint"])


if systems.HAS_CODEFORMER:

    def test_codeformer_trains_what_follows_the_choice_of_codes(tmp_path):
        systems.write_codeformer(tmp_path)
        policy = feed_forward.open_codeformer(tmp_path / "codeformer.pth")
        restored = policy.trajectory(torch.rand(1, 3, 512, 512), [""], Noise([0])).latents
        found = torch.autograd.grad(restored.mean(), list(policy.trainable().values()))
        assert all(gradient.any() for gradient in found)
        assert {name.split(".")[0] for name in policy.trainable()} == {"fuse_convs_dict", "generator"}
        unfused = feed_forward.open_codeformer(tmp_path / "codeformer.pth", fidelity=0)
        assert {name.split(".")[0] for name in unfused.trainable()} == {"generator"}
        with pytest.raises(ValueError, match="--fidelity 0 leaves out"):
            feed_forward.open_codeformer(tmp_path / "codeformer.pth", fidelity=0, trained=("fuse",))
