"""OSEDiff and DiffBIR as policies, on tiny checkpoints with the same layers as the real ones."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from refl.policies.diffbir import low_band, open_diffbir, open_swinir
from refl.policies.diffusion import one_step_x0, sd_schedule
from refl.policies.noise import Noise
from refl.policies.osediff import ADAPTERS, open_osediff
from refl.policies.policy import ALL_STEPS
from tests.refl.conftest import SEEDS, STEPS
from tests.support.diffusion import SIZE, AutoencoderKL, assert_same

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:torch.meshgrid"),
]

both = pytest.mark.parametrize("name", ["osediff", "diffbir"])


def gradients(policy, loss):
    values = policy.trainable()
    found = torch.autograd.grad(loss, list(values.values()))
    return dict(zip(values, found, strict=True))


def test_fused_and_unfused_lora_agree(files, lq):
    policy = open_osediff(files.sd, files.osediff)
    before = policy.restore(lq, [""] * 3, SEEDS)
    policy.unet.disable_adapters()
    without = policy.restore(lq, [""] * 3, SEEDS)
    policy.unet.enable_adapters()
    policy.unet.fuse_lora(adapter_names=list(ADAPTERS))
    policy.unet.delete_adapters(list(ADAPTERS))
    assert not any("lora" in name for name, _ in policy.unet.named_parameters())
    torch.testing.assert_close(policy.restore(lq, [""] * 3, SEEDS), before, atol=1e-5, rtol=0)
    assert (before - without).abs().max() > 1e-2


def test_one_step_matches_the_closed_form(one_step, lq, monkeypatch):
    generator = np.random.default_rng(0)
    z_hq, noise = generator.standard_normal((2, 2, 4, 8, 8))
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha_bar = np.cumprod(1 - betas)[999]
    z = np.sqrt(alpha_bar) * z_hq + np.sqrt(1 - alpha_bar) * noise
    latents, epsilon = torch.tensor(z), torch.tensor(noise)
    found = one_step_x0(latents, epsilon, torch.tensor(alpha_bar))
    np.testing.assert_allclose(found, (z - np.sqrt(1 - alpha_bar) * noise) / np.sqrt(alpha_bar), rtol=1e-12)
    torch.testing.assert_close(one_step.alpha_bar.double(), torch.tensor(alpha_bar), rtol=1e-4, atol=0)

    seen = []
    monkeypatch.setattr(one_step.codec, "encode", lambda images, noise: latents.float())
    monkeypatch.setattr(one_step.unet, "forward", lambda **inputs: seen.append(inputs) or (epsilon.float(),))
    recovered = one_step.trajectory(lq[:2], ["", ""], Noise(SEEDS[:2])).latents
    torch.testing.assert_close(recovered, torch.tensor(z_hq).float(), atol=1e-3, rtol=0)
    assert seen[0]["timestep"] == 999


def test_x0_of_bf16_networks_is_computed_in_float32():
    """Rounding epsilon and z to bf16 adds an error of .025 to unit latents; computing x0 in bf16 would add .06."""
    drawn = torch.Generator().manual_seed(0)
    clean, epsilon = (torch.randn(4, 4, 64, 64, generator=drawn) for _ in range(2))
    alpha_bar = sd_schedule().alphas_cumprod[999]
    latents = (alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * epsilon).bfloat16()
    rounded = latents.float() - (1 - alpha_bar).sqrt() * epsilon.bfloat16().float()
    found = one_step_x0(latents, epsilon.bfloat16(), alpha_bar)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rounded / alpha_bar.sqrt())


def test_timesteps_match_diffbir(files):
    policy = open_diffbir(files.sd, files.controlnet, files.swinir)
    assert policy.timesteps() == list(range(981, 0, -20))
    assert len(policy.timesteps()) == 50 and policy.eta == 1


def test_condition_is_the_posterior_mode_of_swinirs_output(multi_step, files, lq):
    found = multi_step.trajectory(lq, [""] * 3, Noise(SEEDS))
    assert not found.clean.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(found.clean, open_swinir(files.swinir)(lq))
    vae = AutoencoderKL.from_pretrained(files.sd / "vae")
    with torch.no_grad():
        mode = vae.encode(2 * found.clean - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(found.calls[0].inputs["controlnet_cond"], mode)
    assert (found.clean.mean() - lq.mean()).abs() < 0.5  # SwinIR keeps the range [0, 1]


def test_colour_fix_keeps_high_bands_and_takes_the_low_one(multi_step, lq):
    images, clean = torch.rand(2, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16

    def bands(picture):
        high = 0
        for level in range(5):
            a = 2**level
            padded = F.pad(picture, (a, a, a, a), mode="replicate")
            low = sum(
                kernel[i, j] * padded[..., i * a : i * a + SIZE, j * a : j * a + SIZE]
                for i in range(3)
                for j in range(3)
            )
            high, picture = high + picture - low, low
        return high, picture

    expected = bands(images)[0] + bands(clean)[1]
    torch.testing.assert_close(multi_step.finish(images, clean), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(low_band(images), bands(images)[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(multi_step.finish(clean + 0.3, clean), clean, atol=1e-5, rtol=0)


def reference_ddim(policy, lq, prompts, seeds, detach_before):
    """Compute Eq. 12 of Song et al. with noise in the policy's order and gradients from step `detach_before` on."""
    alphas = sd_schedule().alphas_cumprod
    times, noise = policy.timesteps(), Noise(seeds)
    with torch.no_grad():
        condition = policy.codec.encode(policy.cleaner(lq))
        text = policy.texts(prompts, condition)
    z = noise.like(condition)
    for number, (time, following) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        if number == detach_before:
            z = z.detach()
        down, middle = policy.controlnet(z, time, text, condition, return_dict=False)
        epsilon = policy.unet(
            z, time, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        now, then = alphas[time], alphas[following]
        sigma = policy.eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        x0 = (z - (1 - now).sqrt() * epsilon) / now.sqrt()
        z = then.sqrt() * x0 + (1 - then - sigma**2).sqrt() * epsilon + sigma * noise.like(z)
    return z


@pytest.mark.parametrize("kept", [1, 2, ALL_STEPS])
def test_gradient_of_the_last_steps_matches_plain_ddim(kept, multi_step, lq):
    weights = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    prompts = ["face", "", "a face"]
    found = multi_step.trajectory(lq, prompts, Noise(SEEDS), backprop_steps=kept)
    expected = reference_ddim(multi_step, lq, prompts, SEEDS, STEPS - kept if kept else None)
    torch.testing.assert_close(found.latents, expected, atol=1e-4, rtol=1e-4)
    assert len(found.calls) == (kept or STEPS)
    assert_same(
        gradients(multi_step, (weights * found.latents).sum()),
        gradients(multi_step, (weights * expected).sum()),
        tolerance=1e-4,
    )


def test_gradient_depends_on_the_number_of_steps(multi_step, lq):
    found = {
        kept: gradients(
            multi_step, multi_step.trajectory(lq, [""] * 3, Noise(SEEDS), backprop_steps=kept).latents.square().sum()
        )
        for kept in (1, 2, ALL_STEPS, STEPS, 99)
    }
    name = "conv_in.weight"
    assert not torch.allclose(found[1][name], found[2][name], rtol=0.05)
    assert_same(found[STEPS], found[ALL_STEPS])
    assert_same(found[99], found[ALL_STEPS])


@both
def test_restoration_does_not_depend_on_the_batch(name, policies, lq):
    policy = policies[name]
    together = policy.restore(lq, ["", "face", ""], SEEDS)
    assert together.shape == lq.shape and together.min() >= 0 and together.max() <= 1
    assert not together.requires_grad
    alone = policy.restore(lq[1:2], ["face"], SEEDS[1:2])
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)
    assert not torch.allclose(policy.restore(lq[1:2], [""], SEEDS[1:2]), alone, atol=1e-5)  # the text has an effect
    assert not torch.allclose(policy.restore(lq[1:2], ["face"], SEEDS[:1]), alone, atol=1e-4)  # so has the seed


@both
def test_checkpointing_leaves_gradients_unchanged(name, policies, lq):
    policy = policies[name]
    networks = [policy.unet, policy.codec.vae, *([policy.controlnet] if name == "diffbir" else [])]
    observed = [policy.unet.up_blocks[0], policy.codec.vae.decoder.up_blocks[0], policy.tuned.down_blocks[0]]
    calls = Counter()
    hooks = [
        block.resnets[0].conv1.register_forward_hook(lambda *ignored, number=number: calls.update([number]))
        for number, block in enumerate(observed)
    ]

    def found():
        calls.clear()
        latents = policy.trajectory(lq[:2], ["", ""], Noise(SEEDS[:2]), backprop_steps=2).latents
        return gradients(policy, policy.decode(latents).square().mean())

    plain, once = found(), dict(calls)
    policy.use_checkpointing()
    try:
        again = found()
    finally:
        for network in networks:
            network.disable_gradient_checkpointing()
        for hook in hooks:
            hook.remove()
    assert all(calls[number] > once[number] for number in once)  # every network was checkpointed
    assert_same(again, plain)


@both
def test_pixels_out_of_range_keep_their_gradient(name, policies, lq):
    policy = policies[name]
    bias = policy.codec.vae.decoder.conv_out.bias
    with torch.no_grad():
        bias += 4
    try:
        images = policy.decode(policy.trajectory(lq, [""] * 3, Noise(SEEDS)).latents)
        outside = images[images > 1]
        assert outside.numel() == images.numel()
        assert max(value.abs().max() for value in gradients(policy, outside.sum()).values()) > 0
    finally:
        with torch.no_grad():
            bias -= 4


@pytest.mark.parametrize("name", ["osediff", "diffbir"])
def test_only_trainable_weights_change_and_the_base_is_kept(name, files, lq):
    if name == "osediff":
        policy = open_osediff(files.sd, files.osediff)
    else:
        policy = open_diffbir(files.sd, files.controlnet, files.swinir, steps=1)
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    optimizer = torch.optim.Adam(policy.trainable().values(), lr=1e-2)
    prefix = "unet." if name == "osediff" else "controlnet."
    for _ in range(2):
        found = policy.trajectory(lq[:1], ["face"], Noise(SEEDS[:1]))
        optimizer.zero_grad()
        policy.decode(found.latents).square().mean().backward()
        optimizer.step()
    trained = {prefix + key for key in policy.trainable()}
    moved = {key for key, value in policy.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == trained

    call = policy.trajectory(lq[:1], ["face"], Noise(SEEDS[:1])).calls[0]
    frozen = policy.frozen_epsilon(call)
    assert (frozen - call.epsilon).abs().max() > 1e-3
    policy.interpolate(0)
    assert all(torch.equal(value, before[key]) for key, value in policy.state_dict().items())
    torch.testing.assert_close(policy.trajectory(lq[:1], ["face"], Noise(SEEDS[:1])).calls[0].epsilon, frozen)
