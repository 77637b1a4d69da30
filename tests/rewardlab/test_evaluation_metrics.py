"""Metrics of restored faces: known values on real faces, and random networks in the published layouts."""

import socket
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from rewardlab import assets, face_alignment, images, metrics
from rewardlab.errors import ModelError
from rewardlab.metrics import (
    arcface,
    clip_images,
    feature_networks,
    fid,
    fid_statistics,
    landmarks,
    pyiqa_networks,
    registry,
)
from rewardlab.torchvision_stub import ensure_torchvision

needs_demo = pytest.mark.skipif(
    not all(assets.is_available(name) for name in ("demo-faces", "sface", "dlib-68", "efficientnet-lite0")),
    reason="requirements-demo.txt is not installed",
)
needs_pyiqa = pytest.mark.skipif(
    any(find_spec(module) is None for module in ("pyiqa", "requests", "clip", "facexlib")),
    reason="requirements-pyiqa.txt is not installed",
)
SIZE = 256


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    return tmp_path


@cache
def crop(index: int) -> np.ndarray:
    file = sorted(assets.find("demo-faces").glob("*.jpg"))[index]
    return face_alignment.align(images.read(file), SIZE, allow_upscale=True).image


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def moved(image: np.ndarray, right: int, down: int) -> np.ndarray:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)


def measure(name: str, pictures: list[np.ndarray], references: list[np.ndarray]) -> list[float]:
    return metrics.load(name)(images.to_tensor(pictures), images.to_tensor(references)).tolist()


def randomised(network: nn.Module) -> nn.Module:
    """Randomise all tensors, including batch statistics, in ranges that keep the outputs finite."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if name.endswith("var") else 0.05 * torch.randn_like(tensor))
    return network.eval()


def save_as_published(network: nn.Module, file: Path, prefix: str = "module.") -> dict:
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save(state, file)
    return state


def test_evaluation_metrics_have_direction_reference_and_assets():
    new = {name: metric for name, metric in metrics.METRICS.items() if name not in metrics.PAPER_METRICS}
    rises = {"maniqa", "clipscore", "clipscore_text", "aesthetic", "aesthetic_v1", "psnr_corrected", "ssim_corrected"}
    assert {name for name, metric in new.items() if metric.higher_is_better} == rises
    without_reference = {"maniqa", "clipscore_text", "aesthetic", "aesthetic_v1", "niqe_pyiqa"}
    assert {name for name, metric in new.items() if not metric.needs_reference} == without_reference
    for metric in new.values():
        assert set(metric.assets) <= set(assets.ASSETS)


@needs_pyiqa
@pytest.mark.parametrize("name", ["arcface", "landmarks98", "maniqa", "clipscore", "aesthetic", "inception"])
def test_missing_weights_error_names_file_source_and_folder(name, weights):
    table, availability, load = (
        (fid.FEATURES, fid.availability, fid.open_features)
        if name == "inception"
        else (metrics.METRICS, metrics.availability, metrics.load)
    )
    asset = assets.ASSETS[table[name].assets[0]]
    remedy = availability(name)
    assert asset.file in remedy and asset.source in remedy and str(weights) in remedy
    with pytest.raises(metrics.MetricUnavailable, match="is missing"):
        load(name)


@needs_demo
def test_sface_angle_rises_with_blur_and_separates_people():
    people = [crop(0), crop(10), crop(20)]
    assert measure("sface", people, people) == pytest.approx([0, 0, 0], abs=0.05)
    by_blur = np.array([measure("sface", [blurred(face, s) for face in people], people) for s in (2, 4, 8)])
    assert (np.diff(by_blur, axis=0) > 0).all() and by_blur[0].min() > 1
    others = measure("sface", [people[1], people[2], people[0]], people)
    assert min(others) > 60 and min(others) > by_blur[1].max()


@needs_demo
def test_landmark_distance_of_shifted_face_is_the_shift():
    people = [crop(index) for index in (0, 10, 20, 30)]
    assert measure("landmarks68", people, people) == [0, 0, 0, 0]
    for right, down in [(6, 0), (0, -6), (9, 12)]:
        distances = measure("landmarks68", [moved(face, right, down) for face in people], people)
        assert distances == pytest.approx([np.hypot(right, down)] * 4, abs=1.5)
    slight, strong = (np.mean(measure("landmarks68", [blurred(f, s) for f in people], people)) for s in (1, 8))
    assert 0 < slight < 1.5 < strong


@needs_demo
@pytest.mark.parametrize("name", ["sface", "landmarks68"])
def test_only_a_reference_without_face_is_undefined(name):
    nothing = np.full((SIZE, SIZE, 3), 128, np.uint8)
    with pytest.raises(metrics.UndefinedMetric, match="no face was found in the reference of image 1"):
        measure(name, [crop(0), crop(0)], [crop(0), nothing])
    assert measure(name, [nothing], [crop(0)])[0] > 5


def test_wrong_landmark_weights_are_rejected_by_name(weights):
    pytest.importorskip("dlib")
    file = weights / assets.ASSETS["dlib-68"].file
    file.write_bytes(b"not a predictor")
    with pytest.raises(ValueError, match=f"{file.name} is not dlib's"):
        landmarks.build_landmarks68("cpu")


@needs_pyiqa
def test_heatmap_peaks_equal_reference_implementation(monkeypatch):
    """Compare away from the border, where facexlib's code wraps into the next row."""
    ensure_torchvision()
    from facexlib.alignment.awing_arch import calculate_points

    monkeypatch.setattr(np, "float", float, raising=False)  # facexlib's code uses this removed name
    heatmaps = torch.randn(2, 98, 64, 64)
    heatmaps[..., 8:56, 8:56] += 10
    assert np.array_equal(landmarks.peaks(heatmaps).numpy(), calculate_points(heatmaps.numpy()))
    corner = torch.zeros(1, 1, 4, 4)
    corner[0, 0, 3, 0] = 1
    assert landmarks.peaks(corner).tolist() == [[[0.25, 3.75]]]


@needs_pyiqa
def test_fan_loads_published_layout_and_names_mismatches(weights):
    from facexlib.alignment.awing_arch import FAN

    file = weights / assets.ASSETS["awing-fan-98"].file
    torch.manual_seed(0)
    state = FAN(num_modules=4, num_landmarks=98, device="cpu").state_dict()
    torch.save({"state_dict": state, "epoch": 1}, file)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 128, 192, 3), dtype=np.uint8)
    points = landmarks.fan_points(landmarks.load_fan(), images.to_tensor([pictures[0]]))
    assert points.shape == (1, 98, 2) and points.min() >= 0 and (points.amax((0, 1)) <= torch.tensor([192, 128])).all()
    same, other = metrics.load("landmarks98")(images.to_tensor([*pictures]), images.to_tensor([pictures[0]] * 2))
    assert same == 0 and other > 0

    del state["conv1.conv.weight"]
    torch.save({"state_dict": state | {"extra": torch.zeros(1)}}, file)
    with pytest.raises(ValueError, match=r"4HG\.pth does not fit FAN: missing: conv1\.conv\.weight; unexpected: extra"):
        metrics.load("landmarks98")


def test_arcface_loads_published_layout_and_names_mismatches(weights):
    network = randomised(arcface.ArcFaceResNet18())
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_627_081
    file = weights / assets.ASSETS["arcface-resnet18"].file
    state = save_as_published(network, file)
    assert {"module.layer2.0.downsample.0.weight", "module.layer4.1.prelu.weight", "module.bn5.weight"} <= set(state)
    assert "module.layer1.0.downsample.0.weight" not in state and state["module.prelu.weight"].shape == (1,)
    loaded = arcface.load_network().state_dict()
    assert all(torch.equal(loaded[name.removeprefix("module.")], tensor) for name, tensor in state.items())

    pictures = [np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8) for seed in (0, 1)]
    same, other = measure("arcface", pictures, [pictures[0]] * 2)
    assert same == pytest.approx(0, abs=1e-3) and 0 < other < 180

    without_counters = {name: value for name, value in state.items() if "num_batches" not in name}
    torch.save(without_counters, file)  # as torch 0.4.0 wrote it
    arcface.load_network()
    weight = without_counters.pop("module.layer3.1.bn0.weight")
    torch.save(without_counters | {"module.se.weight": weight, "module.bn4.bias": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match=f"{file.name} does not fit ArcFaceResNet18") as raised:
        metrics.load("arcface")
    faults = "missing: layer3.1.bn0.weight; unexpected: se.weight; wrong shape: bn4.bias (3,) instead of (512,)"
    assert str(raised.value).endswith(faults)
    file.write_bytes(b"cut")
    with pytest.raises(ValueError, match=f"{file.name} is not a checkpoint"):
        metrics.load("arcface")


def test_arcface_input_equals_opencv_grey_png():
    picture = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    read = cv2.imdecode(cv2.imencode(".png", picture[..., ::-1])[1], cv2.IMREAD_GRAYSCALE)
    expected = (cv2.resize(read, (128, 128)).astype(np.float32) - 127.5) / 127.5
    assert np.array_equal(arcface.grey(images.to_tensor([picture]))[0, 0].numpy(), expected)


@needs_pyiqa
def test_maniqa_loads_vit_from_its_own_checkpoint(weights):
    file = weights / assets.ASSETS["maniqa"].file
    state = pyiqa_networks.maniqa_without_weights().state_dict()
    assert {"vit.blocks.11.mlp.fc2.weight", "tablock2.1.c_v.bias", "fc_weight.3.weight"} <= set(state)
    torch.save(small(state), file)
    network = pyiqa_networks.load_maniqa().eval()
    network.test_sample = 1
    assert network(torch.rand(1, 3, 256, 256)).shape == (1, 1)


def small(state: dict) -> dict:
    """Expand one number per tensor to the layout's shapes: torch.save stores only the underlying storage."""
    return {name: torch.full((1,), 0.01).expand(tensor.shape) for name, tensor in state.items()}


@needs_pyiqa
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning:torch")
def test_clip_tower_equals_openai_model_from_its_archive(tmp_path):
    ensure_torchvision()
    from pyiqa.archs.clip_imports import clip

    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "transformer_width": 64, "transformer_heads": 1}
    theirs = clip.model.CLIP(
        embed_dim=32, image_resolution=64, vision_layers=2, vision_width=64, vision_patch_size=16,
        transformer_layers=1, **text,
    ).eval()  # fmt: skip
    example = (torch.rand(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.long))
    file = tmp_path / "clip.pt"
    torch.jit.trace(theirs, example, check_trace=False).save(str(file))
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}
    config = {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": vision,
        "text_cfg": {"vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    tower = clip_images.load_tower(file, config)
    batch = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = nn.functional.normalize(theirs.encode_image((batch - tower.mean) / tower.std), dim=-1)
        assert torch.allclose(tower(batch), expected, atol=1e-5)
        assert tower(torch.rand(1, 3, 100, 80)).norm().item() == pytest.approx(1)
    with torch.no_grad():
        captions = ["a face", "an old face"]
        tokens = clip_images.make_tokenizer({"text_cfg": {}})([clip_images.HESSEL_PREFIX + text for text in captions])
        cosines = (expected * nn.functional.normalize(theirs.encode_text(tokens), dim=-1)).sum(dim=1)
        score = clip_images.caption_score(clip_images.load_clip(file, config), "cpu")
        assert torch.allclose(score(batch, captions), 2.5 * cosines.clamp(min=0), atol=1e-5)
        assert cosines.abs().max() > 0.01

    with pytest.raises(ValueError, match=r"clip\.pt does not fit .*: missing: transformer\.resblocks\.2"):
        clip_images.load_tower(file, config | {"vision_cfg": vision | {"layers": 3}})
    file.write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"clip\.pt is not the TorchScript archive"):
        clip_images.load_tower(file, config)


def test_aesthetic_head_is_five_linear_layers_as_published(weights):
    file = weights / assets.ASSETS["laion-aesthetic-v2"].file
    state = save_as_published(randomised(clip_images.AestheticHead()), file, prefix="")
    numbers = (0, 2, 4, 6, 7)
    assert set(state) == {f"layers.{number}.{kind}" for number in numbers for kind in ("weight", "bias")}
    embeddings = expected = torch.rand(2, 768)
    for number in numbers:
        expected = expected @ state[f"layers.{number}.weight"].T + state[f"layers.{number}.bias"]
    assert torch.allclose(clip_images.load_aesthetic_head()(embeddings), expected, atol=1e-5)


def test_first_aesthetic_head_is_one_linear_layer_as_published(weights):
    state = {"weight": torch.rand(1, 768), "bias": torch.rand(1)}
    torch.save(state, weights / assets.ASSETS["laion-aesthetic-v1"].file)
    embeddings = torch.rand(2, 768)
    expected = embeddings @ state["weight"].T + state["bias"]
    assert torch.allclose(clip_images.load_linear_head()(embeddings), expected)


def test_corrected_metrics_ignore_brightness_and_contrast():
    photograph = images.to_tensor([np.random.default_rng(0).integers(60, 180, (64, 64, 3), dtype=np.uint8)])
    duller = 0.6 * photograph + torch.tensor([0.1, 0.0, 0.2]).view(1, 3, 1, 1)
    assert metrics.load("psnr")(duller, photograph) < 25
    assert metrics.load("psnr_corrected")(duller, photograph) > 90
    assert metrics.load("ssim_corrected")(duller, photograph) > 0.999
    flat = torch.full_like(photograph, 0.5)
    assert metrics.load("psnr_corrected")(flat, photograph).isfinite().all()


def test_caption_metric_refuses_images_without_captions():
    measure = registry._checked(
        metrics.METRICS["clipscore_text"], lambda pictures, captions: pictures[:, 0, 0, 0], "cpu"
    )
    assert measure(torch.ones(2, 3, 8, 8), None, ["a", "b"]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="needs a caption for each image"):
        measure(torch.ones(2, 3, 8, 8))


@pytest.mark.parametrize("count", [500, 5])
def test_frechet_distance_of_gaussians_is_closed_form(count):
    """Use features with exactly known moments; with 5 samples in 12 dimensions the covariances are singular."""
    rng = np.random.default_rng(0)
    centred = rng.normal(size=(count, 12))
    centred -= centred.mean(axis=0)
    if count > 12:  # covariance I, so that scaled axes have diagonal covariances: |shift|^2 + sum (s1 - s2)^2
        white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False))).T
        first, second, shift = rng.uniform(0.5, 2, 12), rng.uniform(0.5, 2, 12), rng.normal(size=12)
        expected = shift @ shift + ((first - second) ** 2).sum()
        assert fid.frechet_distance(white * first + shift, white * second) == pytest.approx(expected, rel=1e-9)
    trace = np.trace(np.cov(centred, rowvar=False))
    assert fid.frechet_distance(centred, 3 * centred + 1) == pytest.approx(4 * trace + 12, rel=1e-9)
    apart = np.concatenate([centred, 0 * centred], axis=1), np.concatenate([0 * centred, centred], axis=1)
    assert fid.frechet_distance(*apart) == pytest.approx(2 * trace, rel=1e-9)
    assert fid.frechet_distance(centred, centred[::-1]) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_equals_textbook_formula():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(count, 20)) @ rng.normal(size=(20, 20)) for count in (300, 200))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert fid.frechet_distance(a, b) == pytest.approx(fid.frechet_distance(b, a), rel=1e-12)
    for wrong, message in [((a, b[:, :3]), "same D"), ((a[:1], b), "two images"), ((a, b * np.inf), "not finite")]:
        with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
            fid.frechet_distance(*wrong)
    with pytest.raises(ValueError, match="use one of inception, efficientnet-lite0"):
        fid.open_features("resnet")


def test_distance_from_statistics_equals_distance_of_sets(tmp_path):
    rng = np.random.default_rng(2)
    ours, theirs = (rng.normal(size=(count, 12)) @ rng.normal(size=(12, 12)) for count in (30, 200))
    expected = fid.frechet_distance(ours, theirs)
    gathered = fid_statistics.gather(np.split(theirs, [1, 7, 90]))
    fid_statistics.write(tmp_path / "a.npz", gathered, "inception")
    found = fid_statistics.read(tmp_path / "a.npz")
    assert (found.features, found.images) == ("inception", 200)
    assert fid_statistics.distance(ours, found) == pytest.approx(expected, rel=1e-8)
    assert fid_statistics.distance(ours[:5], found) == pytest.approx(fid.frechet_distance(ours[:5], theirs), rel=1e-8)

    published = {"name": "FFHQ", "size": 512, "mean": theirs.mean(0), "cov": np.cov(theirs, rowvar=False)}
    torch.save(published, tmp_path / "inception_FFHQ_512.pth", _use_new_zipfile_serialization=False)
    found = fid_statistics.read(tmp_path / "inception_FFHQ_512.pth")
    assert fid_statistics.distance(ours, found) == pytest.approx(expected, rel=1e-8)


def test_files_without_usable_statistics_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.eye(2))
    np.savez(tmp_path / "nan.npz", mu=np.zeros(2), sigma=np.full((2, 2), np.nan))
    np.savez(tmp_path / "skew.npz", mu=np.zeros(2), sigma=np.array([[1.0, 2.0], [0.0, 1.0]]))
    torch.save({"mean": Path("code")}, tmp_path / "code.pth")
    (tmp_path / "cut.npz").write_bytes(b"PK")
    cases = {
        "other.npz": "has no statistics for FID", "shapes.npz": "do not fit", "nan.npz": "not finite",
        "skew.npz": "not symmetric", "code.pth": "has no statistics", "cut.npz": "has no statistics",
        "gone.npz": "does not exist",
    }  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(ModelError, match=f"{name}.*{message}"):
            fid_statistics.read(tmp_path / name)


@needs_demo
def test_efficientnet_distance_of_damaged_faces_is_larger():
    extract = fid.open_features("efficientnet-lite0")

    def features(pictures):
        return extract(images.to_tensor(pictures)).double().numpy()

    people = [crop(index) for index in range(24)]
    one, two = features(people[:12]), features(people[12:])
    damaged = features([blurred(face, 4) for face in people[:12]])
    assert one.shape == (12, 1280) and fid.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert fid.frechet_distance(damaged, two) > 1.2 * fid.frechet_distance(one, two) > 0
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        extract(2 * torch.ones(1, 3, 64, 64))


@needs_pyiqa
@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_inception_features_equal_pyiqa_wrapper(weights):
    ensure_torchvision()
    from pyiqa.archs import inception

    file = weights / assets.ASSETS["fid-inception"].file

    def save(network, url):
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.05, 0.1)
        save_as_published(network, file, prefix="")

    with pyiqa_networks.patched(inception, "load_pretrained_network", save):
        theirs = inception.InceptionV3([3]).eval()
    batch = torch.rand(2, 3, 64, 80)
    with torch.no_grad():
        expected = theirs(batch, resize_input=True, normalize_input=True)[0].flatten(1)
    features = feature_networks.build_inception("cpu")(batch)
    assert features.shape == (2, 2048) and features.std() > 1e-3
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-5)
