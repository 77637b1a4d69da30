"""Face detection, alignment to the FFHQ layout, and identity embeddings.

YuNet detects and SFace embeds; both run on OpenCV. Points are (x, y) in pixels, in the order of the template: left
eye, right eye, tip of the nose, left and right corner of the mouth, as seen in the image.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rewardlab import assets
from rewardlab.errors import ModelError
from rewardlab.images import Pixels, require_rgb

Floats = NDArray[np.float32]

TEMPLATE_SIZE = 512
TEMPLATE = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ],
    np.float64,
)

SCORE_THRESHOLD = 0.6
NMS_THRESHOLD = 0.3
MAX_DETECTIONS = 5000
DETECTION_SIDE = 640  # YuNet is trained on faces of 10 to 300 px and misses larger ones

MIN_FACE_SIDE = 8  # in the searched image; on thin images the detector returns boxes without area, at infinity
MAX_ASPECT = 2.5  # of a box; upright faces have about 1.3
TURNS = (0, 1, 2, 3)  # quarter turns counter-clockwise
# By which another turn's score must exceed the upright one: the smallest excess of 609 turned portraits is .020, and of
# faces tilted by 40 degrees most are below .01.
TURN_MARGIN = 0.01

Reason = Literal["no_face", "too_small", "not_square", "not_upright"]

# OpenCV's detector and recogniser keep state during a call: one of each per thread.
_networks = threading.local()


class FaceError(ValueError):
    """No usable face. `reason` is a fixed code for programs; the message is for users."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Detection:
    """A detected face, in pixels of the photograph. score: the detector's confidence, 0 to 1."""

    box: tuple[float, float, float, float]  # left, top, width, height
    landmarks: Floats  # (5, 2)
    score: float

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]


@dataclass(frozen=True)
class AlignedFace:
    """A face cropped to the FFHQ layout."""

    image: Pixels  # (size, size, 3)
    landmarks: Floats | None  # (5, 2) in pixels of `image`; None if no face is found (`align_prealigned` only)
    scale: float  # pixels of `image` per pixel of the photograph
    turned: int = 0  # degrees counter-clockwise by which the photograph was turned to make the face upright


def detect(array: Pixels) -> list[Detection]:
    """Detect the faces of a uint8 (H, W, 3) photograph, ordered by box area, largest first.

    Photographs with a side above `DETECTION_SIDE` are downscaled for detection; points refer to the original size.
    Detections that are not finite, have no area, lie outside the photograph or are too long are dropped.
    """
    require_rgb(array)
    shrink = min(1.0, DETECTION_SIDE / max(array.shape[:2]))
    searched = _shrunk(array, shrink) if shrink < 1 else array
    height, width = searched.shape[:2]
    to_photograph = np.array([array.shape[1] / width, array.shape[0] / height])

    detector = _detector()
    detector.setInputSize((width, height))
    _, rows = detector.detect(_bgr(searched))
    found = [_detection(row, to_photograph) for row in (() if rows is None else rows) if _plausible(row, width, height)]
    return sorted(found, key=lambda detection: detection.area, reverse=True)


def detect_upright(array: Pixels) -> tuple[Pixels, list[Detection], int]:
    """Detect the faces of a photograph that may lie on its side or upside down.

    Returns the turned photograph, its faces as `detect` does, and the turn in degrees counter-clockwise. Of the four
    turns that one counts in which the largest face has the highest score, with `TURN_MARGIN` in favour of no turn. A
    sideways face is often detected, but with the points of an upright one and a lower score.
    """
    detections = [detect(_turned(array, turn)) for turn in TURNS]
    scores = [found[0].score if found else 0.0 for found in detections]
    best = 0 if scores[0] + TURN_MARGIN >= max(scores) else scores.index(max(scores))
    return _turned(array, best), detections[best], 90 * best


def _turned(array: Pixels, quarters: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(array, quarters))


def align(array: Pixels, size: int, allow_upscale: bool = False) -> AlignedFace:
    """Crop the largest face of a uint8 (H, W, 3) photograph to size x size pixels in the FFHQ layout.

    The photograph is turned by 90, 180 or 270 degrees if its face is upright then (`detect_upright`).
    A least-squares similarity transform maps the five points to the 512-pixel template, scaled by size / 512.
    Downscaling is antialiased. Areas outside the photograph are filled with the median colour of its border.

    Raises `FaceError`: `no_face`, or `too_small` if the crop would have to be upscaled and `allow_upscale` is not set.
    """
    array, detections, turned = detect_upright(array)
    if not detections:
        raise FaceError("no_face", "no face was found; use a photograph with a visible face")
    points = detections[0].landmarks.astype(np.float64)
    matrix = _similarity(points, TEMPLATE * (size / TEMPLATE_SIZE))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale > 1 and not allow_upscale:
        raise _too_small("the face crop", size / scale, size)
    landmarks = points @ matrix[:, :2].T + matrix[:, 2]
    return AlignedFace(_warp(array, matrix, scale, size), landmarks.astype(np.float32), scale, turned)


def align_prealigned(array: Pixels, size: int, allow_upscale: bool = False) -> AlignedFace:
    """Resize an image that already has the FFHQ layout (square, one face), without moving or rotating it.

    The landmarks are detected in the result; None if no face is found.

    Raises `FaceError`: `not_square`, `too_small` as in `align`, or `not_upright` if the face lies on its side or upside
    down.
    """
    image = fit_square(array, size, allow_upscale)
    _, detections, turned = detect_upright(image)
    if turned:
        raise FaceError(
            "not_upright",
            f"the face is upright only if the image is turned by {turned} degrees counter-clockwise; an aligned image "
            "must be upright: turn it, or ingest it without --aligned",
        )
    return AlignedFace(image, detections[0].landmarks if detections else None, size / array.shape[1])


def fit_square(array: Pixels, size: int, allow_upscale: bool = False) -> Pixels:
    """Resize a square image without looking for a face in it. Raises `FaceError`: `not_square` or `too_small`."""
    require_rgb(array)
    height, width = array.shape[:2]
    if height != width:
        raise FaceError("not_square", f"an aligned image must be square; this one is {width} x {height} pixels")
    if width < size and not allow_upscale:
        raise _too_small("the image", width, size)
    return array.copy() if size == width else _resized(array, (size, size))


def identity_embedding(array: Pixels, landmarks: Floats) -> Floats:
    """Return SFace's unit vector (128,) for the face with these (5, 2) landmarks in a uint8 (H, W, 3) image.

    Use the photograph's landmarks for all of its restorations, so that only pixels are compared.
    """
    require_rgb(array)
    recogniser = _recogniser()
    face = np.zeros((1, 15), np.float32)  # box, five points, score; alignCrop reads only the points
    face[0, 4:14] = np.asarray(landmarks, np.float32).reshape(10)
    feature: Floats = recogniser.feature(recogniser.alignCrop(_bgr(array), face)).reshape(-1).astype(np.float32)
    return (feature / np.linalg.norm(feature)).astype(np.float32)


def identity_angle(first: Floats, second: Floats) -> float:
    """Return the angle in degrees between two unit embeddings; 0 is the same face. Differs from ArcFace's Deg."""
    return float(np.degrees(np.arccos(np.clip(np.dot(first, second), -1.0, 1.0))))


def _detector() -> Any:
    if not hasattr(_networks, "detector"):
        options = ("", (320, 320), SCORE_THRESHOLD, NMS_THRESHOLD, MAX_DETECTIONS)
        _networks.detector = _open(cv2.FaceDetectorYN.create, "yunet", *options)
    return _networks.detector


def _recogniser() -> Any:
    if not hasattr(_networks, "recogniser"):
        _networks.recogniser = _open(cv2.FaceRecognizerSF.create, "sface", "")
    return _networks.recogniser


def _open(create: Callable[..., Any], asset: str, *options: Any) -> Any:
    path = assets.find(asset)
    try:
        return create(str(path), *options)
    except cv2.error as error:
        raise ModelError(f"{path} is not a network in ONNX format, or is damaged: download it again") from error


def _bgr(array: Pixels) -> Pixels:
    return np.ascontiguousarray(array[..., ::-1])


def _detection(row: Floats, to_photograph: NDArray[np.float64]) -> Detection:
    left, top, width, height = (row[:4].reshape(2, 2) * to_photograph).reshape(4).tolist()
    landmarks = (row[4:14].reshape(5, 2) * to_photograph).astype(np.float32)
    return Detection((left, top, width, height), landmarks, float(row[14]))


def _plausible(row: Floats, width: int, height: int) -> bool:
    left, top, wide, high = row[:4].tolist()
    if not np.isfinite(row).all() or min(wide, high) < MIN_FACE_SIDE or max(wide, high) > MAX_ASPECT * min(wide, high):
        return False
    is_inside = 0 <= left + wide / 2 <= width and 0 <= top + high / 2 <= height
    return bool(is_inside and wide <= 2 * width and high <= 2 * height)


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2, 3) matrix of scale, rotation and translation that best maps (N, 2) source to target."""
    # With complex numbers a similarity is z -> a z + b, and least squares is one division.
    z, w = source @ (1, 1j), target @ (1, 1j)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _warp(array: Pixels, matrix: NDArray[np.float64], scale: float, size: int) -> Pixels:
    if scale < 1:
        # A cubic warp alone would alias when it downscales: average areas first.
        shrunk = _shrunk(array, scale)
        matrix = matrix @ _undo_shrink(array, shrunk)
        array = shrunk
    crop = cv2.warpAffine(array, matrix, (size, size), flags=cv2.INTER_CUBIC, borderValue=_edge_colour(array))
    return np.asarray(crop, np.uint8)


def _shrunk(array: Pixels, factor: float) -> Pixels:
    height, width = array.shape[:2]
    return _resized(array, (max(1, round(width * factor)), max(1, round(height * factor))))


def _resized(array: Pixels, size: tuple[int, int]) -> Pixels:
    method = cv2.INTER_AREA if size[0] < array.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(array, size, interpolation=method), np.uint8)


def _undo_shrink(array: Pixels, shrunk: Pixels) -> NDArray[np.float64]:
    """Return the (3, 3) matrix from the downscaled image's coordinates to the original's (centres at integers)."""
    x, y = array.shape[1] / shrunk.shape[1], array.shape[0] / shrunk.shape[0]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _too_small(what: str, width: float, needed: int) -> FaceError:
    possible = int(width) // 16 * 16
    remedy = f"use --size {possible} or smaller" if possible >= 64 else "use a larger photograph"
    return FaceError("too_small", f"{what} is {int(width)} px wide but {needed} px are needed; {remedy}")


def _edge_colour(array: Pixels) -> tuple[float, ...]:
    """Return the median colour of the border. Repeating or mirroring pixels would draw streaks or a second chin."""
    edge = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
    return tuple(np.median(edge, axis=0).tolist())
