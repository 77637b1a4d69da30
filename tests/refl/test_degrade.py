"""The degradation (Eq. 9): known values, the paper's ranges, and reproducible bytes."""

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.filters import gaussian

from refl.degradation import PRESETS, DegradeConfig, DegradeParameters, degrade, gaussian_kernel, sample_parameters
from rewardlab import assets, images

ROOT = Path(__file__).parents[2]
DEMO = PRESETS["demo"]
IDENTITY = DegradeParameters(sigma_x=1e-3, sigma_y=1e-3, theta=0.0, downsample=1.0, noise=0.0, jpeg=100, seed=0)


def photograph(index=0, size=256):
    path = sorted(assets.find("demo-faces").glob("*.jpg"))[index]
    array = images.read(path)
    side = min(array.shape[:2])
    return cv2.resize(array[:side, :side], (size, size), interpolation=cv2.INTER_AREA)


def mean_difference(first, second):
    return np.abs(first.astype(float) - second.astype(float)).mean()


def test_config_has_paper_defaults_and_scales_severity():
    paper = PRESETS["paper"]
    assert (paper.size, paper.kernel_size, paper.sigma, paper.downsample) == (512, 41, (0.1, 12), (1, 12))
    assert (paper.noise, paper.jpeg, paper.isotropic_probability) == ((0, 15), (30, 100), 0.5)
    half = paper.scaled_to(256)
    assert (half.size, half.kernel_size, half.sigma, half.downsample) == (256, 21, (0.1, 6), (1, 6))
    assert (DEMO.size, DEMO.kernel_size, DEMO.sigma, DEMO.downsample) == (256, 21, (0.1, 3), (1, 4))
    assert (DEMO.noise, DEMO.jpeg) == (paper.noise, paper.jpeg)


def test_parameters_cover_paper_ranges_and_survive_json():
    config = DegradeConfig()
    drawn = [sample_parameters(config, seed) for seed in range(2000)]
    for name, (low, high) in {
        "sigma_x": config.sigma,
        "sigma_y": config.sigma,
        "downsample": config.downsample,
        "noise": config.noise,
        "jpeg": config.jpeg,
        "theta": (-math.pi, math.pi),
    }.items():
        values = np.array([getattr(parameters, name) for parameters in drawn])
        margin = 0.01 * (high - low)
        assert low <= values.min() < low + margin
        assert high - margin < values.max() <= high
    assert {type(parameters.jpeg) for parameters in drawn} == {int}
    assert {30, 100} <= {parameters.jpeg for parameters in drawn}
    round_kernels = np.mean([parameters.sigma_x == parameters.sigma_y for parameters in drawn])
    assert round_kernels == pytest.approx(0.5, abs=0.04)
    assert len({parameters.noise for parameters in drawn}) == len(drawn)
    assert DegradeParameters(**json.loads(json.dumps(asdict(drawn[7])))) == drawn[7]


def test_identity_parameters_return_the_photograph():
    hq = photograph()
    assert mean_difference(degrade(hq, IDENTITY, DEMO), hq) < 1


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_blur_matches_scikit_image(sigma):
    hq = photograph(1)
    wide = replace(DEMO, kernel_size=41)
    ours = degrade(hq, replace(IDENTITY, sigma_x=sigma, sigma_y=sigma), wide)
    reference = gaussian(hq, sigma, mode="mirror", truncate=20 / sigma, channel_axis=2, preserve_range=True)
    assert mean_difference(ours, reference) < 1


def test_kernel_has_the_requested_covariance():
    sigma_x, sigma_y, theta = 3.0, 1.2, 0.7
    kernel = gaussian_kernel(41, sigma_x, sigma_y, theta).astype(float)
    offsets = np.arange(41) - 20
    x, y = np.meshgrid(offsets, offsets)
    covariance = [[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)]
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(covariance, rotation @ np.diag([sigma_x**2, sigma_y**2]) @ rotation.T, atol=0.01)


def test_degradation_grows_with_each_parameter():
    hq = photograph(2)
    steps = {
        "downsample": (1.0, 2.0, 4.0, 6.0),
        "noise": (0.0, 5.0, 10.0, 15.0),
        "jpeg": (100, 80, 50, 30),
    }
    for name, values in steps.items():
        differences = [mean_difference(degrade(hq, replace(IDENTITY, **{name: v}), DEMO), hq) for v in values]
        assert differences == sorted(differences), name
        assert differences[-1] > differences[0] + 1, name
    sharpness = [
        cv2.Laplacian(degrade(hq, replace(IDENTITY, sigma_x=s, sigma_y=s), DEMO), cv2.CV_64F).std()
        for s in (0.1, 1.0, 3.0, 6.0)
    ]
    assert sharpness == sorted(sharpness, reverse=True)


def test_noise_has_the_requested_deviation_in_grey_levels():
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = degrade(grey, replace(IDENTITY, noise=15.0), DEMO)
    luma = cv2.cvtColor(noisy, cv2.COLOR_RGB2GRAY)
    # JPEG subsamples chroma, so measure luma: its weights reduce independent noise by sqrt(.299^2+.587^2+.114^2).
    assert luma.std() == pytest.approx(15 * 0.668, rel=0.05)
    assert mean_difference(noisy, degrade(grey, replace(IDENTITY, noise=15.0, seed=1), DEMO)) > 5


def test_degrade_in_another_process_gives_the_same_bytes():
    program = (
        "import hashlib, tests.refl.test_degrade as t;"
        "lq = t.degrade(t.photograph(3), t.sample_parameters(t.DEMO, 11), t.DEMO);"
        "print(hashlib.sha256(lq.tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    here = degrade(photograph(3), sample_parameters(DEMO, 11), DEMO)
    assert elsewhere.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


def test_invalid_images_and_ranges_are_refused():
    with pytest.raises(ValueError, match=r"256x256x3, not uint8 \(128, 128, 3\).*scaled_to"):
        degrade(photograph(size=128), IDENTITY, DEMO)
    with pytest.raises(ValueError, match="float32"):
        degrade(photograph().astype(np.float32), IDENTITY, DEMO)
    with pytest.raises(ValueError, match="jpeg"):
        replace(IDENTITY, jpeg=0)
    with pytest.raises(ValueError, match="sigma must be an ordered range"):
        DegradeConfig(sigma=(3, 1))
