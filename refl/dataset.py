"""Faces that train and monitor a restorer: photographs and their degraded versions.

`faces.jsonl` corresponds to the reward model's manifest: training needs only this file and the images.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from refl.degradation import DegradeConfig, degrade, sample_parameters
from rewardlab import snapshot_images
from rewardlab.files import write_atomic
from rewardlab.gold_guard import Subject, refuse_gold
from rewardlab.images import Pixels, to_tensor
from rewardlab.snapshot_images import DataError
from rewardlab.training import loading, schedule

FORMAT = "diffusionreward-faces"
VERSION = 1


@dataclass(frozen=True)
class FaceRow:
    """A face. hq, lq: paths relative to the image folder, which contain the content's sha256; lq may be empty.

    dataset: the name of its data set; empty in files of versions before 0.3.
    """

    face: int
    identity: str
    split: str  # train, gold or test
    caption: str
    size: int  # side of the square images in pixels
    hq: str
    lq: str
    dataset: str = ""


def write(path: Path, rows: Iterable[FaceRow]) -> dict[str, Any]:
    """Write the file atomically and return its header."""
    rows = sorted(rows, key=lambda row: row.face)
    body = "".join(json.dumps(asdict(row), ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": len(rows),
        "counts": dict(sorted(Counter(row.split for row in rows).items())),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    write_atomic(path, json.dumps(header).encode() + b"\n" + body)
    return header


def read(path: Path) -> tuple[dict[str, Any], list[FaceRow]]:
    """Return the header and the rows. Raises `DataError` unless the content matches the header's sha256."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        is_ours = header["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of faces ({error}). Pass a faces.jsonl written by `snapshot`."
        ) from error
    if not is_ours or header["version"] != VERSION:
        raise DataError(f"{path} is not a list of faces of version {VERSION}. Take a new snapshot.")
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise DataError(f"{path} was changed or truncated after it was written. Take a new snapshot.")
    return header, [FaceRow(**json.loads(line)) for line in body.splitlines()]


@dataclass(frozen=True)
class Batch:
    """A batch of faces. hq, lq: float (B, 3, S, S) in [0, 1]; seeds: of the noise. All in the same order."""

    faces: tuple[FaceRow, ...]
    hq: Tensor
    lq: Tensor
    seeds: tuple[int, ...]

    @property
    def captions(self) -> list[str]:
        return [face.caption for face in self.faces]

    def part(self, number: int, parts: int) -> "Batch":
        """Return part `number` (from 0) of `parts` equal parts."""
        size = len(self.faces) // parts
        where = slice(number * size, (number + 1) * size)
        return Batch(self.faces[where], self.hq[where], self.lq[where], self.seeds[where])

    def to(self, device: torch.device) -> "Batch":
        return replace(self, hq=self.hq.to(device, non_blocking=True), lq=self.lq.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        return replace(self, hq=self.hq.pin_memory(), lq=self.lq.pin_memory())


class Planned(NamedTuple):
    """A face to load. position: of the face in the whole training, which seeds its degradation and noise."""

    position: int
    item: schedule.Item


class Loaded(NamedTuple):
    row: FaceRow
    hq: Pixels
    lq: Pixels
    seed: int


class TrainingFaces(Dataset[Loaded]):
    """Photographs resized to side `size`, with a new random degradation (Eq. 9) at every use.

    The faces of a step and their degradations depend only on the seed and the step.
    """

    def __init__(
        self, rows: Sequence[FaceRow], folder: Path, size: int, degradation: DegradeConfig, *, seed: int, mirror: bool
    ) -> None:
        self.rows, self.folder, self.size, self.seed, self.mirror = list(rows), folder, size, seed, mirror
        self.degradation = degradation.scaled_to(size)

    def batches(
        self,
        count: int,
        *,
        start: int = 0,
        parts: int = 1,
        mine: Sequence[int] = (0,),
        workers: int = 0,
        device: torch.device | None = None,
    ) -> Iterator[Batch]:
        """Yield the micro-batches of this process for step `start`, `start` + 1, ...

        count: faces of a step, which are divided into `parts` micro-batches, of which those of the numbers `mine` are
        loaded. workers, device: see `loading.load`.
        """
        plan = self._plan(count // parts, count, start, mine)
        loaded: Iterator[Batch] = loading.load(
            self, plan, collate, workers=workers, device=device or torch.device("cpu")
        )
        return loaded

    def _plan(self, size: int, count: int, start: int, mine: Sequence[int]) -> Iterator[list[Planned]]:
        plan = schedule.plan(len(self.rows), faces_per_step=count, seed=self.seed, mirror=self.mirror, start=start)
        for step, items in enumerate(plan, start=start):
            planned = [Planned(step * count + number, item) for number, item in enumerate(items)]
            yield from (planned[part * size : (part + 1) * size] for part in mine)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, planned: list[Planned]) -> list[Loaded]:
        return [self._load(*each) for each in planned]

    def _load(self, position: int, item: schedule.Item) -> Loaded:
        row = self.rows[item.group]
        photograph = _resized(snapshot_images.read_image(self.folder, row.hq), self.size)
        if item.mirrored:
            photograph = np.ascontiguousarray(photograph[:, ::-1])
        seed = int(np.random.default_rng([self.seed, position]).integers(1 << 31))
        low = degrade(photograph, sample_parameters(self.degradation, seed), self.degradation)
        return Loaded(row, photograph, low, seed)


def collate(faces: Sequence[Loaded]) -> Batch:
    return Batch(
        tuple(face.row for face in faces),
        to_tensor([face.hq for face in faces]),
        to_tensor([face.lq for face in faces]),
        tuple(face.seed for face in faces),
    )


def training_rows(rows: Sequence[FaceRow]) -> list[FaceRow]:
    """Return the rows of split train. Raises `DataError` if there are none, or if one shows a person or photograph of
    the gold set."""
    training = [row for row in rows if row.split == "train"]
    if not training:
        raise DataError("There are no training faces. Ingest some with --split train.")
    gold = (subject_of(row) for row in rows if row.split == "gold")
    refuse_gold(map(subject_of, training), gold, where="among the training faces")
    return training


def require_images(rows: Sequence[FaceRow], folder: Path, *, held_out: int) -> None:
    """Raise `DataError` with all missing images of the training faces and of those that monitor the training."""
    training = [row.hq for row in rows if row.split == "train"]
    monitored = [path for row in monitored_rows(rows, held_out) for path in (row.hq, row.lq)]
    snapshot_images.require_images((*training, *monitored), folder, what="the faces'")


def subject_of(row: FaceRow) -> Subject:
    """Return the row's face, person and photograph for the gold guard."""
    return Subject(row.face, row.identity, (row.hq,))


def monitored_rows(rows: Sequence[FaceRow], count: int) -> list[FaceRow]:
    """Return the first `count` test faces with a stored lq, the same for every run. Settings may be tuned on them, so
    results on them are biased."""
    return list(islice((row for row in rows if row.split == "test" and row.lq), count))


def held_out(rows: Sequence[FaceRow], folder: Path, size: int, count: int) -> Batch:
    """Load the faces that monitor a training. Raises `DataError` if there are none."""
    chosen = monitored_rows(rows, count)
    if not chosen:
        raise DataError(
            "There are no test faces with a degraded image to monitor the training. Ingest some with --split test, run "
            "`degrade`, and repeat the command (with --faces: take a new snapshot first)."
        )
    hq, lq = (
        to_tensor([_resized(snapshot_images.read_image(folder, path), size) for path in paths])
        for paths in ([row.hq for row in chosen], [row.lq for row in chosen])
    )
    return Batch(tuple(chosen), hq, lq, seeds=tuple(row.face for row in chosen))


def _resized(image: Pixels, size: int) -> Pixels:
    if image.shape[0] == size:
        return image
    method = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), np.uint8)
