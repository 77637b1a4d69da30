"""Synthetic degradation of a face photograph: Eq. 9 of the paper (App. B).

    LQ = { [ (HQ * k_sigma) down r + n_delta ] JPEG_q } up r

Operation order, the mix of isotropic and anisotropic kernels, bilinear resampling, and unrounded values
between the operations follow DiffBIR (stage 2), the source of the paper's ranges. NumPy and OpenCV only.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]
PARAMETER_STREAM, NOISE_STREAM = 0, 1  # independent random streams of one stored seed


@dataclass(frozen=True)
class DegradeConfig:
    """Ranges from which an image's degradation is drawn. Defaults are the paper's (App. B).

    size: side of the square images in pixels (512).
    kernel_size: side of the blur kernel, odd (41, DiffBIR's value; the paper states none).
    isotropic_probability: share of isotropic kernels; the rest are rotated ellipses (.5, DiffBIR's value).
    sigma: standard deviation of the blur in pixels, [.1, 12].
    downsample: factor r, [1, 12].
    noise: standard deviation delta of the Gaussian noise in grey levels (0 to 255), [0, 15].
    jpeg: quality q, integers in [30, 100].
    """

    size: int = 512
    kernel_size: int = 41
    isotropic_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 12.0)
    downsample: tuple[float, float] = (1.0, 12.0)
    noise: tuple[float, float] = (0.0, 15.0)
    jpeg: tuple[int, int] = (30, 100)

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, not {self.kernel_size}")
        if not 0 <= self.isotropic_probability <= 1:
            raise ValueError(f"isotropic_probability must be in [0, 1], not {self.isotropic_probability}")
        limits: dict[str, tuple[float, float]] = {
            "sigma": (1e-6, math.inf),
            "downsample": (1, self.size),
            "noise": (0, math.inf),
            "jpeg": (1, 100),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(f"{name} must be an ordered range in [{lowest}, {highest}], not ({low}, {high})")

    def scaled_to(self, size: int) -> "DegradeConfig":
        """Return ranges of the same severity for another image size.

        The kernel size and the upper bounds of sigma and downsampling scale with the image. Noise and JPEG quality
        apply to the downsampled image and do not change.
        """
        ratio = size / self.size
        return replace(
            self,
            size=size,
            kernel_size=2 * round((self.kernel_size * ratio - 1) / 2) + 1,
            sigma=(self.sigma[0], max(self.sigma[0], self.sigma[1] * ratio)),
            downsample=(self.downsample[0], max(self.downsample[0], self.downsample[1] * ratio)),
        )


# At 256 px the paper's severity leaves a face of about 20 px, which only a face restoration network can recover. The
# demo uses general networks, so the upper bounds of sigma and r are halved again.
DEMO = replace(DegradeConfig().scaled_to(256), sigma=(0.1, 3.0), downsample=(1.0, 4.0))
# Light enough that a general network keeps more detail than interpolation does.
DEMO_LIGHT = replace(DEMO, sigma=(0.1, 1.0), downsample=(1.0, 2.0), noise=(0.0, 4.0), jpeg=(70, 100))
PRESETS = {"paper": DegradeConfig(), "demo": DEMO, "demo-light": DEMO_LIGHT}


@dataclass(frozen=True)
class DegradeParameters:
    """The degradation of one image. With the config's sizes it reproduces the image byte for byte.

    sigma_x, sigma_y: blur in pixels along the kernel's axes; theta: rotation of the axes in radians, [-pi, pi];
    downsample: r; noise: delta in grey levels; jpeg: q; seed: of the parameters and the noise.
    """

    sigma_x: float
    sigma_y: float
    theta: float
    downsample: float
    noise: float
    jpeg: int
    seed: int

    def __post_init__(self) -> None:
        valid = {
            "sigma_x": self.sigma_x > 0,
            "sigma_y": self.sigma_y > 0,
            "downsample": self.downsample >= 1,
            "noise": self.noise >= 0,
            "jpeg": 1 <= self.jpeg <= 100,
            "seed": self.seed >= 0,
        }
        for name, is_valid in valid.items():
            if not is_valid:
                raise ValueError(f"degradation parameter {name} is out of range: {getattr(self, name)}")


def sample_parameters(config: DegradeConfig, seed: int) -> DegradeParameters:
    """Draw the degradation of one image. The same (config, seed) gives the same result on every machine."""
    random = np.random.default_rng([seed, PARAMETER_STREAM])
    is_isotropic = random.random() < config.isotropic_probability
    sigma_x, sigma_y = random.uniform(*config.sigma, size=2)
    theta = random.uniform(-math.pi, math.pi)
    return DegradeParameters(
        sigma_x=float(sigma_x),
        sigma_y=float(sigma_x if is_isotropic else sigma_y),
        theta=0.0 if is_isotropic else float(theta),
        downsample=float(random.uniform(*config.downsample)),
        noise=float(random.uniform(*config.noise)),
        jpeg=int(random.integers(config.jpeg[0], config.jpeg[1], endpoint=True)),
        seed=seed,
    )


def degrade(image: Array, parameters: DegradeParameters, config: DegradeConfig) -> Array:
    """Degrade one photograph (Eq. 9).

    image: uint8 RGB (S, S, 3) with S = config.size. Returns the same shape and dtype. The same parameters give the
    same bytes in every process (with the same OpenCV and NumPy). Raises ValueError for other inputs, as the ranges
    hold only for this size.
    """
    if image.dtype != np.uint8 or image.shape != (config.size, config.size, 3):
        raise ValueError(
            f"degrade expects uint8 RGB of {config.size}x{config.size}x3, not {image.dtype} {image.shape}: "
            f"resize the image or use config.scaled_to(side)"
        )
    kernel = gaussian_kernel(config.kernel_size, parameters.sigma_x, parameters.sigma_y, parameters.theta)
    blurred = cv2.filter2D(image.astype(np.float32) / 255, -1, kernel)
    small_side = int(config.size // parameters.downsample)
    noisy = add_noise(resize(blurred, small_side), parameters.noise, parameters.seed)
    return to_uint8(resize(jpeg(noisy, parameters.jpeg), config.size))


def resize(image: np.ndarray, side: int) -> Floats:
    """Resize float32 (H, W, 3) to (side, side, 3) bilinearly, as in Eq. 9; the value range is kept."""
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def gaussian_kernel(size: int, sigma_x: float, sigma_y: float, theta: float) -> Floats:
    """Return a bivariate normal density on the pixel grid (size, size), rotated by theta, with sum 1."""
    offsets = np.arange(size) - size // 2
    across, down = np.meshgrid(offsets, offsets)
    along_x = across * math.cos(theta) + down * math.sin(theta)
    along_y = down * math.cos(theta) - across * math.sin(theta)
    density = np.exp(-0.5 * ((along_x / sigma_x) ** 2 + (along_y / sigma_y) ** 2))
    kernel: Floats = (density / density.sum()).astype(np.float32)
    return kernel


def add_noise(image: Floats, delta: float, seed: int) -> Floats:
    """Add Gaussian noise to (H, W, 3) in [0, 1] and clip. delta: its standard deviation on the scale 0 to 255."""
    noise = np.random.default_rng([seed, NOISE_STREAM]).standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(delta / 255) * noise, 0, 1)


def jpeg(image: Floats, quality: int) -> Floats:
    """Compress RGB (H, W, 3) in [0, 1] as JPEG with quality 1 to 100, and decode it."""
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if is_encoded else None
    if decoded is None:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape} as JPEG with quality {quality}")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.float32) / np.float32(255)


def to_uint8(image: Floats) -> Array:
    """Clip [0, 1] and round to 0 to 255."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
