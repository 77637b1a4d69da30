"""Checkpoints in the layouts of the public ones, filled with seeded random numbers: tiny, or of the published sizes.

`stable_diffusion` writes a folder like SD-2.1-base's; `osediff`, `controlnet` and `swinir` write files like
`osediff_face.pkl`, `v1_face.pth` and `face_swinir_v1.ckpt` that fit it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

# What SD-2.1-base's configurations say, and the same shrunken.
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
VAE = {
    "sample_size": 768,
    "block_out_channels": (128, 256, 512, 512),
    "latent_channels": 4,
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": 0.18215,
}
TINY_UNET = UNET | {
    "sample_size": 8,
    "block_out_channels": (16, 32, 48, 48),
    "cross_attention_dim": 24,
    "attention_head_dim": (1, 2, 3, 3),
    "norm_num_groups": 8,
}
TINY_VAE = VAE | {"sample_size": 64, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
SWINIR = {"embed_dim": 180, "depths": (6,) * 8, "num_heads": (6,) * 8, "img_size": 64}
TINY_SWINIR = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2), "img_size": 16}
MERGES = ["f a", "fa c", "fac e</w>"]


@dataclass(frozen=True)
class Sizes:
    """Of Stable Diffusion. text: arguments of the text encoder. tokens: in the vocabulary."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, int]
    tokens: int


TINY = Sizes(
    TINY_UNET, TINY_VAE, {"intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}, 514 + len(MERGES)
)
# As SD-2.1-base says. Of its text encoder, the file holds the layers that are used.
FULL = Sizes(UNET, VAE, {"intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}, tokens=49408)
SIZE = 64  # of the tiny models' images


def stable_diffusion(folder: Path, seed: int = 0, sizes: Sizes = TINY) -> Path:
    vocabulary = _vocabulary(_merges(sizes.tokens))
    with seeded(seed):
        UNet2DConditionModel(**sizes.unet).save_pretrained(folder / "unet")
        _save_vae(AutoencoderKL(**sizes.vae), folder / "vae")
        _save_tokenizer(folder / "tokenizer", vocabulary)
        _save_text_encoder(folder / "text_encoder", vocabulary, sizes)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def osediff(file: Path, folder: Path, seed: int = 1) -> Path:
    torch.save(osediff_content(folder, seed), file)
    return file


def osediff_content(folder: Path, seed: int = 1) -> dict[str, Any]:
    """Return what OSEDiff's training stores: lists of modules, ranks, tensors of the LoRA and of the UNet's conv_in."""
    with seeded(seed):
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        content = {"rank_unet": 4, "rank_vae": 4, **osediff_modules(unet, vae)}
        for part in ("encoder", "decoder", "others"):
            modules = content[f"unet_lora_{part}_modules"]
            unet.add_adapter(LoraConfig(r=4, target_modules=modules), f"default_{part}")
        vae.add_adapter(LoraConfig(r=4, target_modules=content["vae_lora_encoder_modules"]), "default_encoder")
        _draw(value for name, value in unet.named_parameters() if "lora" in name or "conv_in" in name)
        _draw(value for name, value in vae.named_parameters() if "lora" in name)
    content["state_dict_unet"] = {k: v for k, v in unet.state_dict().items() if "lora" in k or "conv_in" in k}
    content["state_dict_vae"] = {k: v for k, v in vae.state_dict().items() if "lora" in k}
    return content


def osediff_modules(unet: nn.Module, vae: nn.Module) -> dict[str, list[str]]:
    """List the layers with a LoRA in OSEDiff: convolutions, attention, feed-forward; not time embeddings and norms."""
    attention = ("to_k", "to_q", "to_v", "to_out.0")
    taken = {
        "unet": (*attention, "conv", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
        "vae": ("conv", *attention),
    }
    found: dict[str, list[str]] = {"unet": [], "vae": []}
    for network, module in (("unet", unet), ("vae", vae)):
        for name in (name.removesuffix(".weight") for name, _ in module.named_parameters() if name.endswith(".weight")):
            if "norm" not in name and any(pattern in name for pattern in taken[network]):
                found[network].append(name)
    encoder = [name for name in found["unet"] if "down_blocks" in name or "conv_in" in name]
    decoder = [name for name in found["unet"] if "up_blocks" in name or "conv_out" in name]
    return {
        "unet_lora_encoder_modules": encoder,
        "unet_lora_decoder_modules": decoder,
        "unet_lora_others_modules": [name for name in found["unet"] if name not in {*encoder, *decoder}],
        "vae_lora_encoder_modules": [
            name for name in found["vae"] if name.startswith("encoder.") or name == "quant_conv"
        ],
    }


def controlnet(file: Path, folder: Path, seed: int = 2) -> Path:
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    torch.save(ldm_layout(plain_controlnet(unet, seed)), file)
    return file


def plain_controlnet(unet: UNet2DConditionModel, seed: int = 2) -> ControlNetModel:
    """Change diffusers' class to DiffBIR's network: the first convolution takes cat(z_t, c_LQ); no hint image."""
    with seeded(seed):
        network = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        network.conv_in = nn.Conv2d(8, network.config.block_out_channels[0], kernel_size=3, padding=1)
        network.controlnet_cond_embedding = None
        _draw([*network.controlnet_down_blocks.parameters(), *network.controlnet_mid_block.parameters()])
    return network.eval()


def ldm_layout(network: ControlNetModel) -> dict[str, torch.Tensor]:
    layers = network.config.layers_per_block
    return {ldm_name(name, layers): value for name, value in network.state_dict().items()}


def ldm_name(name: str, layers: int) -> str:
    """Return the name of a ControlNet's tensor in the latent-diffusion code, where blocks are numbered throughout."""
    head, *rest = name.split(".")
    if head == "time_embedding":
        return ".".join(["time_embed", {"linear_1": "0", "linear_2": "2"}[rest[0]], *rest[1:]])
    if head == "conv_in":
        return ".".join(["input_blocks.0.0", *rest])
    if head in ("controlnet_down_blocks", "controlnet_mid_block"):
        return ".".join([f"zero_convs.{rest.pop(0)}" if head.endswith("blocks") else "middle_block_out", "0", *rest])
    if head == "mid_block":
        kind, number, *rest = rest
        return ".".join([f"middle_block.{2 * int(number) + (kind == 'attentions')}", *_inside(kind, rest)])
    block, kind, number, *rest = rest
    if kind == "downsamplers":
        return ".".join([f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op", *rest[1:]])
    place = int(block) * (layers + 1) + int(number) + 1
    return ".".join([f"input_blocks.{place}.{int(kind == 'attentions')}", *_inside(kind, rest)])


def _inside(kind: str, rest: list[str]) -> list[str]:
    names = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    return [names[rest[0]], *rest[1:]] if kind == "resnets" else rest


def swinir(file: Path, seed: int = 3, **sizes: Any) -> Path:
    """Write it like the checkpoint of a training: under `state_dict`, with the unshuffling first in a sequence."""
    from spandrel.architectures.SwinIR import SwinIR

    with seeded(seed):
        network = SwinIR(
            window_size=8, mlp_ratio=2, upscale=8, upsampler="nearest+conv", start_unshuffle=8, **(sizes or TINY_SWINIR)
        )
    state = {name.replace("conv_first.", "conv_first.1."): value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, file)
    return file


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers as a function of the seed, without changing the generator outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _draw(parameters: Iterable[torch.Tensor]) -> None:
    for parameter in parameters:
        nn.init.normal_(parameter, std=0.05)


def _save_vae(vae: AutoencoderKL, folder: Path) -> None:
    """Write the VAE with the names that attention layers had when SD-2.1-base was published."""
    vae.save_pretrained(folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(file)
    for new, name in old.items():
        state = {key.replace(f".{new}.", f".{name}."): value for key, value in state.items()}
    save_file(state, file)


def _merges(tokens: int) -> list[str]:
    """Return the merges of a vocabulary of so many tokens: a few of English, and of pairs of signs."""
    signs = [chr(code) for code in range(192, 256)]
    pairs = (f"{first} {second}" for first in signs for second in signs)
    longer = (f"{first}{second} {third}" for first in signs for second in signs for third in signs)
    return [*MERGES, *islice(chain(pairs, longer), tokens - 514 - len(MERGES))]


def _vocabulary(merges: Sequence[str]) -> list[str]:
    """List the tokens in CLIP's order: bytes, printable ones first; the same at a word's end; merges; two marks."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    signs = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
    merged = [merge.replace(" ", "") for merge in merges]
    return [*signs, *(f"{sign}</w>" for sign in signs), *merged, "<|startoftext|>", "<|endoftext|>"]


def _save_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    """Write it as in SD-2.1-base, where two files disagree about the padding token; the right one is "!", with id 0."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *_merges(len(vocabulary)), ""]))
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps({**marks, "pad_token": "!"}))
    config = {**marks, "pad_token": "<|endoftext|>", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _save_text_encoder(folder: Path, vocabulary: list[str], sizes: Sizes) -> None:
    """Write it with the names in SD-2.1-base's file, which differ from those of the current class."""
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=sizes.unet["cross_attention_dim"],
        hidden_act="gelu",
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
        architectures=["CLIPTextModel"],
        **sizes.text,
    )
    encoder = CLIPTextModel(config)
    encoder.save_pretrained(folder)
    state = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in encoder.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def assert_same(found, expected, tolerance=1e-5):
    """Check that two dictionaries of tensors agree within `tolerance` of the largest value."""
    assert found.keys() == expected.keys()
    scale = max(value.abs().max() for value in expected.values())
    assert scale > 0
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= tolerance * scale, name
