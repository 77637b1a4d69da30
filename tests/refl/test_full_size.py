"""Checkpoints of the published sizes, on the meta device where possible."""

import pytest
import torch

from refl.policies.controlnet import IRControlNet
from refl.policies.diffbir import convert_controlnet, open_swinir
from refl.policies.osediff import ADAPTERS
from rewardlab.assets import ASSETS
from tests.support import diffusion
from tests.support.diffusion import SIZE, AutoencoderKL, LoraConfig, UNet2DConditionModel

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:torch.meshgrid")


def ldm_controlnet(width=320, multipliers=(1, 2, 4, 4), text=1024):
    """Return names and shapes of DiffBIR's ControlNet, as built by its configuration (configs/inference/cldm.yaml)."""
    shapes = {}

    def layer(name, *shape, bias=True):
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    def resnet(name, before, after):
        layer(f"{name}.in_layers.0", before)
        layer(f"{name}.in_layers.2", after, before, 3, 3)
        layer(f"{name}.emb_layers.1", after, 4 * width)
        layer(f"{name}.out_layers.0", after)
        layer(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            layer(f"{name}.skip_connection", after, before, 1, 1)

    def transformer(name, channels):
        layer(f"{name}.norm", channels)
        layer(f"{name}.proj_in", channels, channels)
        layer(f"{name}.proj_out", channels, channels)
        inner = f"{name}.transformer_blocks.0"
        for attention, read in (("attn1", channels), ("attn2", text)):
            layer(f"{inner}.{attention}.to_q", channels, channels, bias=False)
            layer(f"{inner}.{attention}.to_k", channels, read, bias=False)
            layer(f"{inner}.{attention}.to_v", channels, read, bias=False)
            layer(f"{inner}.{attention}.to_out.0", channels, channels)
        layer(f"{inner}.ff.net.0.proj", 8 * channels, channels)
        layer(f"{inner}.ff.net.2", channels, 4 * channels)
        for number in (1, 2, 3):
            layer(f"{inner}.norm{number}", channels)

    layer("time_embed.0", 4 * width, width)
    layer("time_embed.2", 4 * width, 4 * width)
    layer("input_blocks.0.0", width, 8, 3, 3)
    layer("zero_convs.0.0", width, width, 1, 1)
    block, channels = 0, width
    for level, multiplier in enumerate(multipliers):
        for _ in range(2):
            block += 1
            resnet(f"input_blocks.{block}.0", channels, multiplier * width)
            channels = multiplier * width
            if level < 3:
                transformer(f"input_blocks.{block}.1", channels)
            layer(f"zero_convs.{block}.0", channels, channels, 1, 1)
        if level < 3:
            block += 1
            layer(f"input_blocks.{block}.0.op", channels, channels, 3, 3)
            layer(f"zero_convs.{block}.0", channels, channels, 1, 1)
    resnet("middle_block.0", channels, channels)
    transformer("middle_block.1", channels)
    resnet("middle_block.2", channels, channels)
    layer("middle_block_out.0", channels, channels, 1, 1)
    return shapes


def test_full_size_controlnet_has_the_layout_of_diffbir(tmp_path):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**diffusion.UNET)
        network = IRControlNet.from_unet(unet, load_weights_from_unet=False)
        stored = {name: torch.empty(shape) for name, shape in ldm_controlnet().items()}
    assert sum(value.numel() for value in unet.parameters()) == 865_910_724  # SD-2.1's
    assert convert_controlnet(stored, network, tmp_path).keys() == network.state_dict().keys()
    assert len(network.controlnet_down_blocks) + 1 == 13
    heads = [block.attentions[0].transformer_blocks[0].attn1.heads for block in network.down_blocks[:3]]
    assert heads == [5, 10, 20]
    # The tiny network has the same layout.
    with torch.device("meta"):
        tiny = UNet2DConditionModel(**diffusion.TINY_UNET)
    written = diffusion.ldm_layout(diffusion.plain_controlnet(tiny.to_empty(device="cpu")))
    assert {name: tuple(value.shape) for name, value in written.items()} == ldm_controlnet(16, (1, 2, 3, 3), 24)


def test_full_size_osediff_has_the_size_of_the_published_file():
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**diffusion.UNET), AutoencoderKL(**diffusion.VAE)
        modules = diffusion.osediff_modules(unet, vae)
        for adapter, listed in ADAPTERS.items():
            unet.add_adapter(LoraConfig(r=4, target_modules=modules[listed]), adapter)
        vae.add_adapter(LoraConfig(r=4, target_modules=modules["vae_lora_encoder_modules"]), "default_encoder")
    lora = [value.numel() for part in (unet, vae) for name, value in part.named_parameters() if "lora_" in name]
    assert len(lora) == 2 * sum(map(len, modules.values()))
    assert 17.5e6 < 4 * sum(lora) < 18e6  # bytes; the file has 18 MB


def test_full_size_swinir_is_recognised(tmp_path):
    network = open_swinir(diffusion.swinir(tmp_path / "face_swinir_v1.ckpt", **diffusion.SWINIR))
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 1) == 15.8
    with torch.no_grad():
        assert network(torch.rand(1, 3, SIZE, SIZE)).shape == (1, 3, SIZE, SIZE)


def test_restorers_state_their_licences():
    assert "Open RAIL" in ASSETS["sd-2.1-base"].licence
    assert "non-commercial" in ASSETS["diffbir-swinir-face"].licence
