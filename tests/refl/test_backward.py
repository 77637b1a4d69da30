"""Gradients of Eq. 6 part by part: the same as of the whole graph, in less memory."""

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState

from refl import losses
from refl.policies.noise import Noise
from refl.window import Window
from tests.bench.refl_parts import Bench
from tests.support import random_networks
from tests.support.dispatched import SavedBytes


@pytest.fixture(scope="module")
def bench():
    config = random_networks.refl_config(
        "diffbir", tiny=True, batch_size=2, accumulation=1, wavelet="haar", lambda_reg=0.1
    )
    policy = random_networks.policy("diffbir", "cpu", tiny=True)
    policy.steps = 3
    made = Bench(
        policy,
        random_networks.reward_model("cpu", tiny=True),
        random_networks.lpips("cpu", "alex"),
        config,
        "cpu",
    )
    with torch.no_grad():  # so that the distance from the base has a gradient
        for value in made.parameters:
            value += 0.05 * value.abs().mean() * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    yield made
    AcceleratorState._reset_state(reset_partial_state=True)


def whole_graph(bench) -> tuple[dict[str, torch.Tensor], list[torch.nn.Parameter]]:
    """Compute the weighted terms of Eq. 6 as functions of one graph."""
    batch, config = bench.batch, bench.config
    trajectory = bench.policy.trajectory(batch.lq, ["", ""], Noise(batch.seeds), backprop_steps=config.backprop_steps)
    images = bench.policy.decode(trajectory.latents)
    terms = {
        "reward": losses.reward_loss(bench.frm.score(images, batch.captions)),
        "lpips": losses.perceptual_loss(bench.lpips, images, batch.hq),
        "dwt": losses.structure_loss(images, batch.hq, config.wavelet, config.wavelet_levels),
        "reg": bench.regularisation(trajectory),
    }
    return {name: bench.weight(name) * term for name, term in terms.items()}, bench.parameters


def flat(gradients) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def test_gradient_norms_and_gradients_are_those_of_the_whole_graph(bench):
    terms, parameters = whole_graph(bench)
    norms = {
        name: float(flat(torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)).norm())
        for name, term in terms.items()
    }
    expected = flat(torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters, allow_unused=True))
    assert min(norms.values()) > 0
    found = bench.gradients(bench.batch, with_norms=True)
    assert found.norms == pytest.approx(norms, rel=1e-4)
    assert float(found.loss) == pytest.approx(float(sum(terms.values()).detach()), rel=1e-5)
    found.apply()
    gradient = flat([parameter.grad for parameter in parameters])
    assert (gradient - expected).norm() < 1e-4 * expected.norm()
    for parameter in parameters:
        parameter.grad = None


def test_norms_do_not_depend_on_the_accumulation(bench):
    norms = []
    for accumulation in (1, 2):
        bench.config = replace(bench.base_config, accumulation=accumulation)
        norms.append(bench.gradients(bench.batch, with_norms=True).norms)
    bench.config = bench.base_config
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_step_that_logs_norms_keeps_no_more_activations(bench):
    most = []
    for with_norms in (False, True):
        saved = SavedBytes()
        with saved.counting():
            bench.step(Window(), with_norms=with_norms)
        most.append(saved.most)
    saved = SavedBytes()
    with saved.counting():
        terms, _ = whole_graph(bench)
    assert most[1] == most[0] > 0
    assert most[1] < 0.9 * saved.most
    del terms
