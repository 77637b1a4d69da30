"""Distance of the face's landmarks between a restoration and its photograph, in pixels: lower is better.

`landmarks98` is LMD as in the literature (Gu et al. 2022, VQFR). `landmarks68` is a substitute on dlib's points, which
differ in position and accuracy: do not compare values of the two.
"""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import assets
from rewardlab.errors import ModelError
from rewardlab.face_alignment import Detection
from rewardlab.images import Pixels, to_arrays
from rewardlab.metrics.identity import reference_faces
from rewardlab.metrics.registry import FullReferenceMeasure
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import fill, read_tensors

Points = NDArray[np.float64]

# dlib's predictor was trained on the boxes of dlib's detector, squares from the brows to the chin. Relative to YuNet's
# box of the same face, on 51 demo portraits: side .79 +- .06 heights, centre .07 +- .02 heights lower.
DLIB_SIDE = 0.79
DLIB_LOWER = 0.07
FAN_SIDE = 256


def build_landmarks68(device: str) -> FullReferenceMeasure:
    """Build the mean distance in px of dlib's 68 points, located in the box of the reference's face; on the CPU.

    Raises `ValueError` for another kind of weights file.
    """
    import dlib

    path = assets.find("dlib-68")
    try:
        predictor = dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise ModelError(f"{path} is not dlib's 68-point shape predictor: {error}") from error

    def measure(images: Tensor, reference: Tensor) -> Tensor:
        originals = to_arrays(reference)
        boxes = [dlib.rectangle(*dlib_box(face)) for face in reference_faces(originals, "landmark distance")]
        restored = [_dlib_points(predictor, *pair) for pair in zip(to_arrays(images), boxes, strict=True)]
        truth = [_dlib_points(predictor, *pair) for pair in zip(originals, boxes, strict=True)]
        return mean_distance(torch.from_numpy(np.stack(restored)), torch.from_numpy(np.stack(truth)))

    return measure


def dlib_box(face: Detection) -> tuple[int, int, int, int]:
    """Convert YuNet's box to that of dlib's detector: left, top, right, bottom (the last two inclusive)."""
    left, top, width, height = face.box
    side = DLIB_SIDE * height
    left, top = left + (width - side) / 2, top + (height - side) / 2 + DLIB_LOWER * height
    return round(left), round(top), round(left + side) - 1, round(top + side) - 1


def _dlib_points(predictor: Any, picture: Pixels, box: Any) -> Points:
    return np.array([(point.x, point.y) for point in predictor(picture, box).parts()], np.float64)


def build_landmarks98(device: str) -> FullReferenceMeasure:
    """Build LMD: the mean distance in px of the 98 points of AWing's FAN (Wang et al. 2019), trained on WFLW.

    As in VQFR's script the image is assumed to be an aligned face and resized to 256 x 256. Points are located to a
    quarter of 1/64 of the image's side: 2 px of 512. Raises `ValueError` for a weights file of another layout.
    """
    network = load_fan().to(device)

    def measure(images: Tensor, reference: Tensor) -> Tensor:
        return mean_distance(fan_points(network, images), fan_points(network, reference))

    return measure


def load_fan() -> nn.Module:
    """Load facexlib's network of four hourglasses, frozen, on the CPU. Raises `MissingAsset` or `ValueError`."""
    ensure_torchvision()
    from facexlib.alignment.awing_arch import FAN

    path = assets.find("awing-fan-98")
    with torch.random.fork_rng(devices=[]):
        network = FAN(num_modules=4, num_landmarks=98, device="cpu")
    fill(network, read_tensors(path), path)
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


def fan_points(network: nn.Module, images: Tensor) -> Tensor:
    """Locate the points: float (B, 3, H, W) in [0, 1] -> (B, 98, 2), x and y in px of the image."""
    height, width = images.shape[-2:]
    shrunk = [cv2.resize(array, (FAN_SIDE, FAN_SIDE), interpolation=cv2.INTER_LINEAR) for array in to_arrays(images)]
    batch = torch.from_numpy(np.stack(shrunk)).to(images.device).permute(0, 3, 1, 2).float() / 255
    heatmaps = network(batch)[0][-1][:, :-1]  # of the last hourglass; the last channel is the face's boundary
    return peaks(heatmaps) * images.new_tensor([width / heatmaps.shape[-1], height / heatmaps.shape[-2]])


def peaks(heatmaps: Tensor) -> Tensor:
    """Locate the maxima: (B, N, H, W) -> (B, N, 2), x and y in cells, a quarter cell towards the larger neighbour.

    The centre of the first cell is (.5, .5).
    """
    width = heatmaps.shape[-1]
    padded = F.pad(heatmaps, (1, 1, 1, 1), mode="replicate").flatten(2)
    where = heatmaps.flatten(2).argmax(dim=2, keepdim=True)
    y, x = where // width, where % width

    def neighbour(down: int, right: int) -> Tensor:
        return padded.gather(2, (y + 1 + down) * (width + 2) + x + 1 + right)

    slope = torch.cat([neighbour(0, 1) - neighbour(0, -1), neighbour(1, 0) - neighbour(-1, 0)], dim=2)
    return torch.cat([x, y], dim=2) + 0.25 * slope.sign() + 0.5


def mean_distance(points: Tensor, truth: Tensor) -> Tensor:
    """Return the mean Euclidean distance of corresponding points: two (B, N, 2) -> (B,)."""
    distance: Tensor = (points - truth).norm(dim=2).mean(dim=1)
    return distance
