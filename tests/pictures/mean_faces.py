"""Mean faces for the pictures of the documentation, so that no real person can be recognised in them.

Each is the pixel average of 30 aligned portraits of different people (`PORTRAITS_EACH`), sharpened slightly. The
portraits are those of the demo. A group holds portraits that resemble one another in colours, light and outline, so
that the mean faces differ; a portrait may be in several groups.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from rewardlab import assets, face_alignment, images
from rewardlab.metrics.landmarks import dlib_box

PORTRAITS_EACH = 30
SIZE = 256
THUMBNAIL = 16
COMPONENTS = 12
SHARPENING, SHARPENING_RADIUS = 0.8, 2.0

Floats = NDArray[np.float64]


def write_mean_faces(folder: Path, count: int) -> None:
    """Write `count` PNG files in the FFHQ layout, `SIZE` pixels wide. The same portraits give the same files."""
    portraits, points = aligned_portraits()
    for number, members in enumerate(groups(features(portraits, points), count)):
        face = sharpened(mean_face(portraits[members], points[members]))
        (folder / f"mean{number:03d}.png").write_bytes(cv2.imencode(".png", face[..., ::-1])[1].tobytes())


def aligned_portraits() -> tuple[images.Pixels, Floats]:
    """Return the demo's portraits in the FFHQ layout, and 68 landmarks of each."""
    import dlib

    predictor = dlib.shape_predictor(str(assets.find("dlib-68")))
    portraits, points = [], []
    for file in sorted(assets.find("demo-faces").glob("*.jpg")):
        face = face_alignment.align(images.decode(file.read_bytes()), SIZE, allow_upscale=True).image
        box = dlib.rectangle(*dlib_box(face_alignment.detect(face)[0]))
        portraits.append(face)
        points.append([(point.x, point.y) for point in predictor(face, box).parts()])
    return np.stack(portraits), np.array(points, np.float64)


def features(portraits: images.Pixels, points: Floats) -> Floats:
    """Describe each portrait by the principal components of its thumbnail and of its landmarks."""
    side = (THUMBNAIL, THUMBNAIL)
    thumbnails = [cv2.resize(portrait, side, interpolation=cv2.INTER_AREA).ravel() / 255 for portrait in portraits]
    return np.hstack(
        [principal_components(np.stack(thumbnails)), principal_components(points.reshape(len(points), -1))]
    )


def principal_components(rows: Floats) -> Floats:
    left, scales, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    return left[:, :COMPONENTS] * scales[:COMPONENTS] / scales[0]


def groups(described: Floats, count: int) -> list[NDArray[np.intp]]:
    """Choose `count` centres far from one another; a group is the `PORTRAITS_EACH` portraits nearest to a centre."""
    distances = ((described[:, None] - described[None]) ** 2).sum(axis=2)
    centres = [int(((described - described.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(centres) < count:
        centres.append(int(distances[centres].min(axis=0).argmax()))
    return [np.argsort(distances[centre], kind="stable")[:PORTRAITS_EACH] for centre in centres]


def mean_face(portraits: images.Pixels, points: Floats) -> Floats:
    """Average portraits whose landmarks were moved to their mean positions, piecewise linearly over triangles."""
    middle, last = SIZE // 2, SIZE - 1
    border = [(x, y) for x in (0, middle, last) for y in (0, middle, last) if (x, y) != (middle, middle)]
    triangles = Delaunay(np.vstack([points.mean(axis=0), border]))
    pixels = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2).astype(np.float64)
    found = triangles.find_simplex(pixels)
    transforms = triangles.transform[found]
    weights = np.einsum("nij,nj->ni", transforms[:, :2], pixels - transforms[:, 2])
    weights = np.hstack([weights, 1 - weights.sum(axis=1, keepdims=True)])
    total = np.zeros((SIZE, SIZE, 3))
    for portrait, own in zip(portraits, points, strict=True):
        corners = np.vstack([own, border])[triangles.simplices[found]]
        sources = (weights[..., None] * corners).sum(axis=1).astype(np.float32).reshape(SIZE, SIZE, 2)
        total += cv2.remap(portrait, sources, None, cv2.INTER_LINEAR)
    return total / len(portraits)


def sharpened(face: Floats) -> images.Pixels:
    soft = cv2.GaussianBlur(face, (0, 0), SHARPENING_RADIUS)
    return np.clip(np.rint(face + SHARPENING * (face - soft)), 0, 255).astype(np.uint8)
