"""Restorers on real faces with real networks, and invalid weights files."""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from refl import weights
from refl.degradation import PRESETS, degrade, sample_parameters
from refl.errors import UnknownRestorerError, WeightsError
from refl.ncnn_weights import read_rrdbnet
from refl.restorers import RESTORERS, open_restorer
from rewardlab import assets, images
from rewardlab.torchvision_stub import ensure_torchvision

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 128


@pytest.fixture(scope="module")
def photographs():
    arrays = [images.read(path) for path in sorted(assets.find("demo-faces").glob("*.jpg"))[:3]]
    squares = [array[: min(array.shape[:2]), : min(array.shape[:2])] for array in arrays]
    return [cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for square in squares]


@pytest.fixture(scope="module")
def clean(photographs):
    return images.to_tensor(photographs)


@pytest.fixture(scope="module")
def degraded(photographs):
    config = PRESETS["demo"].scaled_to(SIZE)
    return images.to_tensor(
        [degrade(image, sample_parameters(config, seed), config) for seed, image in enumerate(photographs)]
    )


def psnr(first, second):
    return -10 * torch.log10((first - second).square().mean(dim=(1, 2, 3)))


def test_listing_restorers_imports_no_torch():
    program = "import sys, refl.restorers as r; assert r.RESTORERS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize("name", RESTORERS)
def test_restorers_keep_size_and_range_in_any_batch(name, degraded):
    restorer = open_restorer(name)
    restored = restorer.restore(degraded)
    assert restored.shape == degraded.shape
    assert restored.dtype == torch.float32
    assert restored.min() >= 0 and restored.max() <= 1
    assert not restored.requires_grad and not restored.is_inference()
    torch.testing.assert_close(restorer.restore(degraded[1:2]), restored[1:2], atol=1e-4, rtol=0)
    provenance = json.loads(json.dumps(restorer.provenance))
    assert (provenance["name"], provenance["scale"]) == (name, 4)
    if provenance["weights_file"]:
        content = assets.find(RESTORERS[name].assets[0]).read_bytes()
        assert provenance["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_dat_beats_bicubic_on_clean_enlargement(clean):
    small = F.interpolate(clean, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    bicubic = F.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1)
    lanczos = open_restorer("lanczos").restore(clean)  # downscales to `small` internally, as DAT does
    dat = open_restorer("dat-light").restore(clean)
    assert (psnr(dat, clean) - psnr(bicubic, clean)).min() > 1.5
    assert abs(psnr(lanczos, clean) - psnr(bicubic, clean)).max() < 0.5


def test_realesrgan_beats_lanczos_on_degraded_faces(clean, degraded):
    def gradient_energy(batch):
        return torch.stack([d.square().mean() for d in (batch.diff(dim=-1), batch.diff(dim=-2))]).sum()

    lanczos = open_restorer("lanczos").restore(degraded)
    realesrgan = open_restorer("realesrgan-x4plus").restore(degraded)
    assert psnr(realesrgan, clean).mean() > psnr(lanczos, clean).mean()
    missing = {
        name: abs(torch.log(gradient_energy(batch) / gradient_energy(clean)))
        for name, batch in {"lanczos": lanczos, "realesrgan": realesrgan}.items()
    }
    assert missing["realesrgan"] < 0.5 * missing["lanczos"]


@pytest.mark.parametrize("name", ["lanczos", "dat-light"])
def test_size_that_the_scale_does_not_divide_is_padded(name, degraded):
    restorer, side = open_restorer(name), SIZE - 2
    restored = restorer.restore(degraded[:1, :, :side, :side])
    assert restored.shape == (1, 3, side, side)
    whole = restorer.restore(degraded[:1])[:, :, :side, :side]
    assert psnr(restored[..., :96, :96], whole[..., :96, :96]).min() > 35  # padding affects pixels near the edge only


def tiny_network(architecture):
    ensure_torchvision()
    from spandrel.architectures.DAT import DAT
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    transformer = {"img_size": 16, "embed_dim": 32, "num_heads": (2,), "upscale": 2}
    builders = {
        "ESRGAN": lambda: ESRGAN(num_filters=8, num_blocks=1, scale=2),
        "SwinIR": lambda: SwinIR(**transformer, depths=(2,), window_size=8, mlp_ratio=2, upsampler="pixelshuffle"),
        "DAT": lambda: DAT(
            **transformer, depth=(2,), split_size=(4, 8), expansion_factor=2, upsampler="pixelshuffledirect"
        ),
    }
    return builders[architecture]()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("architecture", ["ESRGAN", "SwinIR", "DAT"])
def test_checkpoints_are_recognised_by_their_tensors(architecture, suffix, tmp_path, clean):
    path = tmp_path / f"mine{suffix}"
    state = tiny_network(architecture).state_dict()
    if suffix == ".pth":
        torch.save({"params_ema": state}, path)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    restorer = open_restorer("mine", weights=path)
    assert restorer.provenance["architecture"].split()[0] == architecture
    assert restorer.provenance["scale"] == 2
    crop = clean[:, :, :64, :64]
    assert restorer.restore(crop).shape == crop.shape
    half = F.interpolate(crop, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(restorer.restore(crop), restorer.network(half).clone(), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def gfpgan(tmp_path_factory):
    ensure_torchvision()
    from spandrel.architectures.GFPGAN import GFPGAN

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gfpgan") / "GFPGANv1.4.safetensors"
    save_file({key: value.contiguous() for key, value in GFPGAN().state_dict().items()}, path)
    restorer = open_restorer("any-name", weights=path)
    path.unlink()
    return restorer


def test_gfpgan_gets_512_pixels_in_minus_one_to_one(gfpgan, clean):
    seen = []

    def return_the_input(module, arguments, options, output):
        assert output[0].shape == (1, 3, 512, 512)
        seen.append((arguments[0], options))
        return arguments[0], []

    gfpgan.network.model.register_forward_hook(return_the_input, with_kwargs=True)
    restored = gfpgan.restore(clean[:1])
    (images_seen, options), *_ = seen
    assert images_seen.shape == (1, 3, 512, 512)
    assert images_seen.min() < -0.8 and images_seen.max() > 0.8
    assert options["randomize_noise"] is False  # stored noise makes results reproducible
    assert (restored - clean[:1]).abs().mean() < 0.01
    assert gfpgan.provenance["input_range"] == "[-1, 1]"
    assert gfpgan.provenance["licence"] == "Apache-2.0"


def test_codeformer_without_architecture_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    path = tmp_path / "codeformer.pth"
    keys = ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight", "encoder.blocks.0.weight")
    torch.save({"params_ema": {key: torch.zeros(2) for key in keys}}, path)
    with pytest.raises(WeightsError, match=r"codeformer\.pth.*requirements-codeformer\.txt.*non-commercial"):
        open_restorer("codeformer", weights=path, accept_licence=True)


def test_damaged_ncnn_files_are_refused(tmp_path):
    content = assets.find("realesrgan-x4plus").read_bytes()
    broken = {
        "the file ends inside layer conv_last": content[:-20],
        "4 bytes follow the last layer": content + bytes(4),
        "layer conv_first at byte 0 begins with 0xdeadbeef": b"\xef\xbe\xad\xde" + content[4:],
        "the file ends inside layer conv_first": b"",
    }
    for message, damaged in broken.items():
        path = tmp_path / "broken.bin"
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=rf"broken\.bin: {message}"):
            read_rrdbnet(path)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_checkpoint_with_code_is_refused_unopened(save, tmp_path):
    path, trace = tmp_path / "bomb.pth", tmp_path / "executed"
    save({"params": {"weight": torch.zeros(1)}, "extra": Bomb(trace)}, path)
    with pytest.raises(WeightsError, match=r"bomb\.pth.*could run code"):
        open_restorer("bomb", weights=path)
    assert not trace.exists()


def test_invalid_weights_files_are_refused(tmp_path):
    noise = tmp_path / "noise.pth"
    noise.write_bytes(b"not a checkpoint" * 100)
    short = tmp_path / "short.safetensors"
    short.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    strange = tmp_path / "strange.pth"
    torch.save({"some.weight": torch.zeros(3)}, strange)
    empty = tmp_path / "empty.pth"
    empty.touch()
    diverged = tmp_path / "diverged.pth"
    state = tiny_network("ESRGAN").state_dict()
    torch.save({"params_ema": {key: torch.full_like(value, torch.nan) for key, value in state.items()}}, diverged)
    misfit = tmp_path / "misfit.pth"
    state = tiny_network("ESRGAN").state_dict()
    torch.save({key: value for key, value in state.items() if "RDB2" not in key}, misfit)
    grey = tmp_path / "grey.pth"
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.save(ESRGAN(in_nc=1, out_nc=1, num_filters=8, num_blocks=1, scale=2).state_dict(), grey)
    for path, message in {
        noise: "damaged",
        short: "damaged",
        empty: "is empty",
        diverged: "has values that are not finite",
        strange: "does not contain a supported network.*GFPGAN",
        misfit: "tensors do not fit",
        grey: "1 channels",
    }.items():
        with pytest.raises(WeightsError, match=f"(?s){path.name}.*{message}"):
            open_restorer("mine", weights=path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        open_restorer("mine", weights=tmp_path / "missing.pth")


def test_unknown_names_and_invalid_images_are_refused(clean):
    with pytest.raises(UnknownRestorerError, match=r"lanczos, dat-light.*--weights PATH"):
        open_restorer("gfpgan-2")
    restorer = open_restorer("lanczos")
    with pytest.raises(ValueError, match=r"in \[0, 1\], not \[-1"):
        restorer.restore(2 * clean - 1)
    with pytest.raises(ValueError, match=r"\(B, 3, S, S\)"):
        restorer.restore(clean[:, :, :64])
