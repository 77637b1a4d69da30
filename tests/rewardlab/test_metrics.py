"""Every metric against a closed form, its definition or another implementation."""

import os
import pickle
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rewardlab import assets, face_alignment, images, metrics
from rewardlab.metrics import niqe
from rewardlab.metrics.numpy_pickle import load_arrays
from rewardlab.metrics.perceptual import load_network
from rewardlab.torchvision_stub import ensure_torchvision

needs_demo = pytest.mark.skipif(
    not (assets.is_available("demo-faces") and assets.is_available("lpips-alex")),
    reason="requirements-demo.txt is not installed",
)
needs_pyiqa = pytest.mark.skipif(
    any(find_spec(module) is None for module in metrics.METRICS["clipiqa"].modules),
    reason="requirements-pyiqa.txt is not installed",
)


@cache
def crop(index: int, size: int = 192) -> np.ndarray:
    file = sorted(assets.find("demo-faces").glob("*.jpg"))[index]
    return face_alignment.align(images.read(file), size, allow_upscale=True).image


def blurred(image: np.ndarray, sigma: float = 2) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def compressed(image: np.ndarray, quality: int = 10) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def grainy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image * 0.8 + 25 + noise, 0, 255).round().astype(np.uint8)


def measure(name: str, pictures: list[np.ndarray], references: list[np.ndarray] | None = None) -> list[float]:
    reference = images.to_tensor(references) if references else None
    return metrics.load(name)(images.to_tensor(pictures), reference).tolist()


def test_paper_metrics_are_six_in_feature_order():
    assert metrics.PAPER_METRICS == ("ssim", "psnr", "lpips", "musiq", "niqe", "clipiqa")
    rises = {name for name in metrics.PAPER_METRICS if metrics.METRICS[name].higher_is_better}
    assert rises == {"ssim", "psnr", "musiq", "clipiqa"}
    compared = {name for name in metrics.PAPER_METRICS if metrics.METRICS[name].needs_reference}
    assert compared == {"ssim", "psnr", "lpips"}
    for metric in metrics.METRICS.values():
        assert set(metric.assets) <= set(assets.ASSETS)
        assert ("PolyForm" in metric.licence) == (metric.requirement == "pyiqa")


def test_registry_and_availability_do_not_load_torch():
    code = (
        "import sys, rewardlab.metrics as m; [m.availability(name) for name in m.METRICS]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})


@needs_pyiqa
def test_missing_weights_error_names_file_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    for name in ("musiq", "clipiqa"):
        remedy = metrics.availability(name)
        assert assets.ASSETS[metrics.METRICS[name].assets[0]].file in remedy and str(tmp_path) in remedy
        with pytest.raises(metrics.MetricUnavailable, match="is missing"):
            metrics.load(name)


def test_wrong_name_or_images_are_refused_with_explanation():
    with pytest.raises(ValueError, match="unknown metric 'mushiq': use one of ssim, psnr"):
        metrics.load("mushiq")
    psnr, image = metrics.load("psnr"), torch.rand(1, 3, 32, 32)
    for wrong, reference, message in [
        (image[0], image, r"\(B, 3, H, W\)"),
        (image.mul(255).byte(), image, "float"),
        (image * 255, image, r"\[0, 1\]"),
        (image, None, "needs a reference"),
        (image, image[..., :16], "differ in shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            psnr(wrong, reference)


def test_psnr_of_constant_offset_is_closed_form():
    image = torch.full((3, 3, 20, 30), 0.5)
    offsets = torch.tensor([0.1, 0.01, 0.0]).reshape(3, 1, 1, 1)
    assert metrics.load("psnr")(image + offsets, image).tolist() == pytest.approx([20, 40, 100], abs=1e-4)


@needs_demo
def test_ssim_equals_scikit_image():
    from skimage.metrics import structural_similarity

    clean = [crop(0), crop(10), crop(20)]
    pictures = [blurred(clean[0]), compressed(clean[1]), clean[2]]
    expected = [
        structural_similarity(
            a,
            b,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
        for a, b in zip(pictures, clean, strict=True)
    ]
    assert measure("ssim", pictures, clean) == pytest.approx(expected, abs=1e-6)
    assert expected[2] == 1


@needs_demo
def test_lpips_equals_its_definition_on_the_raw_weights():
    """Compute it: unit features of every layer, squared differences weighted by the head, averaged."""
    weights = load_arrays(assets.find("lpips-alex"))
    layout = [(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]  # stride, padding of AlexNet's convolutions
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def layers(image):
        x = ((2 * image - 1).permute(0, 2, 3, 1) - shift).div(scale).permute(0, 3, 1, 2)
        for index, (stride, padding) in enumerate(layout):
            if index in (1, 2):
                x = torch.nn.functional.max_pool2d(x, 3, 2)
            layer = weights["AlexNet_0"][f"Conv_{index}"]
            kernel = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1)
            x = torch.nn.functional.conv2d(x, kernel, torch.from_numpy(layer["bias"]), stride, padding).relu()
            head = torch.from_numpy(weights[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]).reshape(1, -1, 1, 1)
            yield x / (x.norm(dim=1, keepdim=True) + 1e-10), head

    clean, picture = images.to_tensor([crop(0)]), images.to_tensor([blurred(crop(0))])
    expected = sum(
        ((a - b).square() * head).sum(1).mean().item()
        for (a, head), (b, _) in zip(layers(picture), layers(clean), strict=True)
    )
    lpips = metrics.load("lpips")
    assert lpips(picture, clean).item() == pytest.approx(expected, rel=1e-4)
    assert lpips(clean, picture).item() == pytest.approx(expected, rel=1e-4)
    assert lpips(clean, clean).item() == 0


@needs_demo
def test_lpips_rises_with_blur_and_keeps_random_state():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    values = measure("lpips", [blurred(crop(0), sigma) for sigma in (0.5, 1, 2, 4)], [crop(0)] * 4)
    assert values == sorted(values) and 0 < values[0] < 0.05 and values[-1] > 0.3
    assert torch.equal(torch.rand(1), expected)


def test_pickle_of_other_than_arrays_is_refused(tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps({"kernel": Command()}))
    with pytest.raises(ValueError, match=r"weights\.ckpt .*system"):
        load_arrays(path)
    assert not (tmp_path / "ran").exists()

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for protocol in (3, 4):
        path.write_bytes(pickle.dumps({"layer": {"kernel": array}}, protocol))
        assert np.array_equal(load_arrays(path)["layer"]["kernel"], array)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights\.ckpt"):
        load_arrays(path)


@needs_demo
@needs_pyiqa
def test_niqe_equals_pyiqa_on_the_same_pristine_model(tmp_path):
    """Compare on photographs with grain: in flat areas pyiqa's value depends on rounding errors."""
    from scipy.io import savemat

    ensure_torchvision()
    from pyiqa.archs.niqe_arch import NIQE

    pristine = niqe.load_pristine()
    savemat(tmp_path / "p.mat", {"mu_prisparam": pristine.mean[None], "cov_prisparam": pristine.covariance})
    theirs = NIQE(pretrained_model_path=str(tmp_path / "p.mat"), color_space="ycbcr")
    for size in (256, 400):
        pictures = [grainy(crop(index, size)) for index in (0, 10, 20)]
        expected = theirs(images.to_tensor(pictures).double()).tolist()
        assert measure("niqe", pictures) == pytest.approx(expected, abs=0.01)


@needs_demo
@needs_demo
@needs_pyiqa
def test_niqe_conventions_differ_on_flat_backgrounds():
    """Portraits have plain backgrounds. pyiqa's luma and its rounding errors there change the value."""
    pictures = images.to_tensor([crop(index) for index in range(4)])
    ours, theirs = (metrics.load(name)(pictures) for name in ("niqe", "niqe_pyiqa"))
    assert 0.01 < (ours - theirs).abs().max() < 1
    with pytest.raises(metrics.UndefinedMetric, match="at least 96 x 96"):
        metrics.load("niqe_pyiqa")(pictures[..., :64, :64])


def test_niqe_rises_with_damage_and_rejects_small_or_flat_images():
    for index in (0, 10, 20):
        clean = crop(index, 256)
        photograph, blur, blocks = measure("niqe", [clean, blurred(clean), compressed(clean)])
        assert 2 < photograph < 8 and blur > photograph + 1 and blocks > photograph + 1
    assert 0 < measure("niqe", [crop(0, 96)])[0] < 50  # one block
    with pytest.raises(metrics.UndefinedMetric, match="at least 96 x 96"):
        measure("niqe", [crop(0, 64)])
    with pytest.raises(metrics.UndefinedMetric, match="contrast"):
        measure("niqe", [np.full((192, 192, 3), 200, np.uint8)])


@needs_pyiqa
def test_musiq_loads_published_layout(tmp_path, monkeypatch):
    ensure_torchvision()
    from pyiqa.archs.musiq_arch import MUSIQ

    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    network = MUSIQ(pretrained=False).eval()
    file = tmp_path / assets.ASSETS["musiq"].file
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, file)
    batch = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        expected = network(batch).flatten().tolist()
    assert metrics.availability("musiq") is None
    assert metrics.load("musiq")(batch).tolist() == pytest.approx(expected, abs=1e-5)

    torch.save({"head.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=f"{file.name} does not fit MUSIQ"):
        metrics.load("musiq")


@needs_pyiqa
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning:torch")
def test_clipiqa_loads_published_torchscript_archive(tmp_path, monkeypatch):
    ensure_torchvision()
    from pyiqa.archs.clip_imports import clip

    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    transformer = {"transformer_width": 64, "transformer_heads": 1, "transformer_layers": 1}
    vision = {"image_resolution": 64, "vision_layers": (1, 1, 1, 1), "vision_width": 16}
    small = clip.model.CLIP(
        embed_dim=32, vision_patch_size=None, context_length=77, vocab_size=49408, **vision, **transformer
    ).eval()
    example = (torch.rand(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.long))
    file = tmp_path / assets.ASSETS["clip-rn50"].file
    torch.jit.trace(small, example, check_trace=False).save(str(file))
    values = metrics.load("clipiqa")(torch.rand(2, 3, 128, 128))
    assert values.shape == (2,) and values.min() > 0 and values.max() < 1

    file.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"RN50\.pt is not the TorchScript archive"):
        metrics.load("clipiqa")


def test_torchvision_imports_with_installed_torch():
    ensure_torchvision()
    ensure_torchvision()
    import spandrel
    from torchvision import models
    from torchvision.transforms import v2

    assert spandrel.ModelLoader and models.alexnet
    resized = v2.functional.resize(torch.rand(1, 3, 8, 8), [4, 4], antialias=True)
    assert resized.shape == (1, 3, 4, 4)


@needs_demo
def test_lpips_reproduces_published_example():
    """Reproduce the VGG example of an earlier torchmetrics documentation: seed 123, ten random pairs, .3493.

    There the metric is created after seeding, and its initial weights consume random numbers before the images are
    drawn. Creating the same layers here consumes the same numbers.
    """
    import lpips
    import torchvision

    network = load_network("vgg")
    torch.manual_seed(123)
    torchvision.models.vgg16(init_weights=False)
    for channels in (64, 128, 256, 512, 512):
        lpips.lpips.NetLinLayer(channels, use_dropout=True)
    first, second = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    with torch.no_grad():
        assert network(first, second).mean().item() == pytest.approx(0.3493, abs=5e-5)
