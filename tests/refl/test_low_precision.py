"""Frozen networks in bf16, and sampling without copies between host and device."""

import copy

import pytest
import torch

from refl import losses
from refl.policies.noise import Noise
from tests.support import random_networks
from tests.support.dispatched import Dispatched

BF16 = torch.bfloat16


@pytest.fixture(scope="module", params=["osediff", "diffbir"])
def pair(request):
    """The same policy in float32 and lowered."""
    policy = random_networks.policy(request.param, "cpu", tiny=True)
    lowered = copy.deepcopy(policy)
    lowered.lower(BF16)
    return policy, lowered


@pytest.fixture
def lq():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(9))


def run(policy, lq, **options):
    return policy.trajectory(lq, [""] * len(lq), Noise([3, 4][: len(lq)]), **options)


def error(found, expected) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def test_stored_bf16_needs_a_tenth_of_autocasts_conversions(lq, one_thread):
    policy = random_networks.policy("diffbir", "cpu", tiny=True)
    policy.steps = 20
    found = []
    for lowered in (False, True):
        if lowered:
            policy.lower(BF16)
        with Dispatched() as dispatched, torch.autocast("cpu", BF16):
            run(policy, lq[:1])
        found.append(dispatched.conversions)
    assert found[0] > 20 * 400
    assert found[1] < found[0] / 10


def test_lowered_policy_is_as_exact_as_autocast(pair, lq):
    policy, lowered = pair
    with torch.no_grad():
        expected = run(policy, lq)
        found = run(lowered, lq)
        with torch.autocast("cpu", BF16):
            cast = run(policy, lq)
        images = lowered.decode(found.latents), policy.decode(expected.latents)
    assert found.latents.dtype == torch.float32
    assert 0 < error(found.latents, expected.latents) < min(0.05, 1.2 * error(cast.latents, expected.latents))
    assert error(*images) < 0.05


def test_lowered_policy_keeps_trained_weights_and_gradients_in_float32(pair, lq):
    lowered = pair[1]
    trained = lowered.trainable()
    assert {value.dtype for value in trained.values()} == {torch.float32}
    wide = {name for name, value in lowered.unet.named_parameters() if value.dtype == torch.float32}
    assert all(name in trained or name.startswith("conv_out.") for name in wide)
    gradients = []
    for each in pair:
        weights = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
        loss = (weights * each.decode(run(each, lq).latents)).mean()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(each.trainable().values()))]))
    assert gradients[1].dtype == torch.float32
    assert error(gradients[1], gradients[0]) < 0.15  # as in the parity stage of tests.gpu


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])
def test_distance_from_the_base_is_exactly_zero_at_first(pair, lq, memory_format):
    lowered = copy.deepcopy(pair[0])
    lowered.lower(BF16)
    lowered.to(memory_format=memory_format)
    with torch.autocast("cpu", BF16):
        call = run(lowered, lq).calls[0]
        assert losses.output_distance(call.outputs, lowered.frozen_outputs(call)) == 0
        assert losses.output_distance([call.noise], [lowered.frozen_epsilon(call)]) == 0


@pytest.mark.parametrize("base", ["osediff", "diffbir"])
def test_sampling_copies_nothing_to_the_device_at_a_step(base, lq):
    """The meta device has no values: reading one fails, and every copy to it is dispatched."""
    policy = random_networks.policy(base, "cpu", tiny=True).to("meta")
    copies = []
    for steps in (2, 3, 6):
        policy.steps = steps
        with Dispatched() as dispatched, torch.no_grad():
            latents = run(policy, lq.to("meta")).latents
        assert latents.is_meta
        assert dispatched.reads == 0
        copies.append(dispatched.copies)
    assert copies[1] == copies[2] > 0  # the first call also fills caches


def test_noise_drawn_ahead_is_that_of_single_draws():
    like = torch.zeros(2, 4, 3, 3)  # not a multiple of 16, which torch's generator fills at once
    drawn = Noise([1, 2]).ahead(3, like)
    alone = Noise([1, 2])
    for _ in range(3):
        assert torch.equal(drawn(like), alone.like(like))
    with pytest.raises(StopIteration):
        drawn(like)


def test_texts_encoded_ahead_replace_the_encoder(files, lq):
    from refl.policies.stable_diffusion import open_stable_diffusion

    texts = open_stable_diffusion(files.sd).texts
    prompts = ["a face", "", "a face"]
    with torch.no_grad():
        expected = texts(prompts, lq)
    assert not texts.encode_ahead(prompts, torch.float32, most=1000)
    assert texts.encoder is not None
    assert texts.encode_ahead(prompts, torch.float32)
    assert not list(texts.parameters())
    torch.testing.assert_close(texts(prompts, lq), expected)
    with pytest.raises(ValueError, match="the prompt 'other' was not encoded before"):
        texts(["other"], lq)
