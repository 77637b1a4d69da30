"""A small manifest with real images, for tests of training: faces, three degradations of each, and labels."""

from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import numpy as np

from rewardlab import assets, images, manifest
from rewardlab.files import sha256, write_atomic
from rewardlab.manifest import PreferenceRow

SIZE = 40
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}


def spoil(picture: np.ndarray, way: str) -> np.ndarray:
    if way == "blurred":
        return cv2.GaussianBlur(picture, (0, 0), 2)
    if way == "blocky":
        return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR)
    return cv2.resize(cv2.resize(picture, None, fx=0.4, fy=0.4), picture.shape[1::-1])


WAYS = ("blocky", "blurred", "shrunk")


def portraits(start: int, count: int) -> Iterator[np.ndarray]:
    """Yield square photographs of the demo's faces."""
    for portrait in sorted(assets.find("demo-faces").glob("*.jpg"))[start : start + count]:
        whole = images.read(portrait)
        side = min(whole.shape[:2])
        yield whole[:side, :side]


def write_preferences(
    folder,
    *,
    train: int = 6,
    gold: int = 2,
    pictures: Iterable[np.ndarray] | None = None,
    size: int = SIZE,
    suffix: str = "png",
) -> list[PreferenceRow]:
    """Write `folder/manifest.jsonl` and `folder/images`. Of two degraded images that with more contrast is preferred.

    pictures: square, one a face, in place of the demo's portraits. size: the images' side. suffix: png or jpg.
    """
    rows: list[PreferenceRow] = []
    for face, whole in enumerate(portraits(0, train + gold) if pictures is None else islice(pictures, train + gold)):
        picture = cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
        candidates = {"hq": picture, **{way: spoil(picture, way) for way in WAYS}}
        names = {source: store(folder / "images", candidate, suffix) for source, candidate in candidates.items()}
        rows += _pairs(face, "gold" if face >= train else "train", candidates, names, len(rows))
    manifest.write(folder / "manifest.jsonl", rows, filters={})
    return rows


def store(folder, picture: np.ndarray, suffix: str = "png") -> str:
    if suffix == "png":
        data = images.encode_png(picture)
    else:
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    name = f"{sha256(data)[:2]}/{sha256(data)}.{suffix}"
    write_atomic(folder / name, data)
    return name


def _pairs(face: int, split: str, candidates: dict, names: dict, start: int) -> list[PreferenceRow]:
    rows = []
    sources = ["hq", *WAYS]
    restorer_pairs = [(a, b) for index, a in enumerate(sources) for b in sources[index + 1 :]]
    for number, (first, second) in enumerate(restorer_pairs):
        anchored = first == "hq"
        first_wins = anchored or candidates[first].std() > candidates[second].std()
        rows.append(
            PreferenceRow(
                pair=start + number,
                face=face,
                identity=f"person{face}",
                split=split,
                caption=f"The face of a person, number {face}.",
                first=names[first],
                first_source=first,
                second=names[second],
                second_source=second,
                p_first=(1.0 if first_wins else 0.0) if anchored else (0.75 if first_wins else 0.25),
                origin="ground_truth" if anchored else "human",
                weight=1.0,
                votes=(0, 0, 0) if anchored else ((3, 1, 0) if first_wins else (1, 3, 0)),
                scores={
                    "psnr": tuple(_psnr(candidates[source], candidates["hq"]) for source in (first, second)),
                    "ssim": tuple(float(candidates[source].std()) / 255 for source in (first, second)),
                },
            )
        )
    return rows


def _psnr(picture: np.ndarray, hq: np.ndarray) -> float:
    error = np.square(picture.astype(float) - hq).mean()
    return float(min(100.0, 10 * np.log10(255**2 / max(error, 1e-6))))
