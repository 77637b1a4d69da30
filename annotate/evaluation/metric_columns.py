"""Columns of an evaluation: which values are measured for which images, and where they are stored.

Metrics of the registry are stored as scores. Rewards and FID features are used by neither the SVM nor the manifest, so
they are cached in the evaluation's folder, from which an interrupted evaluation resumes.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from django.db.models import QuerySet
from numpy.typing import NDArray
from torch import Tensor

from annotate.common.batches import batches
from annotate.common.image_store import StoredImage, stored_image
from annotate.engine.interface import Engine, Opened, Rejected, Task
from annotate.models import Candidate, Face, Score
from annotate.pipeline import scoring
from annotate.pipeline.computing import load_or_reject, rejected
from annotate.pipeline.stage import Step
from rewardlab import images
from rewardlab.errors import ModelError
from rewardlab.files import write_atomic
from rewardlab.metrics import fid
from rewardlab.reward_model.model import weights_file
from rewardlab.reward_model.reward_sources import RewardSource

Values = NDArray[np.float64]

BATCH_SIZE = 8


@dataclass(frozen=True)
class Subjects:
    """Faces in the order of their ids, with one candidate per face and source."""

    sources: tuple[str, ...]
    faces: tuple[Face, ...]
    candidates: dict[tuple[str, int], Candidate]  # by source and face

    def of(self, source: str) -> list[Candidate]:
        return [self.candidates[source, face.pk] for face in self.faces]

    @property
    def by_size(self) -> list[Candidate]:
        """All candidates, grouped by size."""
        return sorted(self.candidates.values(), key=lambda candidate: (candidate.face.size, candidate.pk))


class Cache:
    """Float32 vectors by key, one JSON line each. A partial last line, left by an interruption, is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.vectors: dict[str, NDArray[np.float32]] = {}
        data = path.read_bytes() if path.exists() else b""
        complete, newline, rest = data.rpartition(b"\n")
        if rest:
            write_atomic(path, complete + newline)
        for line in complete.splitlines():
            try:
                row = json.loads(line)
                self.vectors[row["key"]] = np.frombuffer(base64.b64decode(row["vector"]), np.float32)
            except (ValueError, KeyError, TypeError, binascii.Error) as error:
                raise ValueError(f"{path} is damaged ({error}): delete it to compute its values again") from error

    def add(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Append vectors to the file, then to memory."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        encoded = {key: base64.b64encode(vector.tobytes()).decode() for key, vector in vectors.items()}
        with self.path.open("a") as file:
            file.write("".join(json.dumps({"key": key, "vector": text}) + "\n" for key, text in encoded.items()))
        self.vectors |= vectors


class ScoreColumn:
    """Column of a registry metric, stored as `Score` rows."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device

    def total(self, subjects: Subjects) -> int:
        return len(subjects.candidates)

    def todo(self, subjects: Subjects) -> list[Candidate]:
        """Return candidates without a value."""
        scored = set(self._rows(subjects).values_list("candidate_id", flat=True))
        return [candidate for candidate in subjects.by_size if candidate.pk not in scored]

    def measure(self, engine: Engine, todo: Sequence[Candidate]) -> Iterator[Step]:
        if todo:
            faults = engine.open(scoring.ScoreTask((self.name,), self.device))
            if faults:
                raise ModelError(faults[self.name])
            yield from scoring.score_batches(_batches(todo), engine, [self.name])

    def values(self, subjects: Subjects) -> dict[str, Values]:
        """Return source -> (F,), NaN for missing values."""
        stored = dict(self._rows(subjects).values_list("candidate_id", "value"))
        return {
            source: np.array([stored.get(candidate.pk, np.nan) for candidate in subjects.of(source)], np.float64)
            for source in subjects.sources
        }

    def _rows(self, subjects: Subjects) -> QuerySet[Score]:
        return Score.objects.filter(metric=self.name, candidate__source__in=subjects.sources)


class DegreesColumn(ScoreColumn):
    """Deg. without values below `least` degrees, which the field's script leaves out of the mean."""

    def __init__(self, name: str, device: str, *, least: float) -> None:
        super().__init__(name, device)
        self.least = least

    def values(self, subjects: Subjects) -> dict[str, Values]:
        """Return source -> (F,), NaN for values that are missing or below the least."""
        return {source: np.where(of < self.least, np.nan, of) for source, of in super().values(subjects).items()}


@dataclass(frozen=True)
class Captioned:
    """A row of `RewardTask` and `FeatureTask`: an image and the caption of its face. key: of its value in the cache."""

    key: str
    image: StoredImage
    caption: str


@dataclass(frozen=True)
class RewardTask:
    """A reward model. A result is the reward: float32 (1,)."""

    source: RewardSource
    device: str

    def open(self) -> Opened:
        model = self.source.open(self.device)
        return _vectors_by(lambda batch, captions: model.score(batch, captions)[:, None], self.device)


@dataclass(frozen=True)
class FeatureTask:
    """The network of FID's features. A result is float32 (D,)."""

    features: str
    device: str

    def open(self) -> Opened:
        extract = fid.open_features(self.features, self.device)
        return _vectors_by(lambda batch, captions: extract(batch), self.device)


def _vectors_by(function: Callable[[Tensor, list[str]], Tensor], device: str) -> Opened:
    """Return a task by its function: images (B, 3, H, W) in [0, 1] and their captions to vectors (B, D)."""

    def compute(rows: Sequence[Captioned]) -> list[NDArray[np.float32] | Rejected]:
        loaded = [load_or_reject(row.image) for row in rows]
        usable = [(row, image) for row, image in zip(rows, loaded, strict=True) if not isinstance(image, Rejected)]
        if not usable:
            return [image for image in loaded if isinstance(image, Rejected)]
        pixels = images.to_tensor([image for _, image in usable]).to(device)
        with torch.inference_mode():
            vectors = iter(function(pixels, [row.caption for row, _ in usable]).float().cpu().numpy())
        return [image if isinstance(image, Rejected) else next(vectors) for image in loaded]

    return Opened(compute)


class CachedColumn:
    """Column of one vector per image, cached in the evaluation's folder. Subclasses define the key and the task."""

    task: Task

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def key(self, candidate: Candidate) -> str:
        return candidate.sha256

    def caption(self, candidate: Candidate) -> str:
        return ""

    def total(self, subjects: Subjects) -> int:
        return len({self.key(candidate) for candidate in subjects.by_size})

    def todo(self, subjects: Subjects) -> list[Candidate]:
        """Return one candidate for each image content that is not in the cache."""
        wanted = {self.key(candidate): candidate for candidate in subjects.by_size}
        return [candidate for key, candidate in wanted.items() if key not in self.cache.vectors]

    def measure(self, engine: Engine, todo: Sequence[Candidate]) -> Iterator[Step]:
        if not todo:
            return
        engine.open(self.task)
        for rows, results in engine.map(map(self._rows, _batches(todo))):
            scored = list(zip(rows, results, strict=True))
            self.cache.add({row.key: vector for row, vector in scored if not isinstance(vector, Rejected)})
            for row, vector in scored:
                yield rejected(row.image.name, vector) if isinstance(vector, Rejected) else Step(done=1)

    def _rows(self, batch: Sequence[Candidate]) -> list[Captioned]:
        return [Captioned(self.key(each), stored_image(each), self.caption(each)) for each in batch]

    def vectors(self, subjects: Subjects) -> dict[str, Values]:
        """Return source -> (F, D). All values must have been measured."""
        return {
            source: np.array([self.cache.vectors[self.key(each)] for each in subjects.of(source)], np.float64)
            for source in subjects.sources
        }


class RewardColumn(CachedColumn):
    """Column of rewards: each image with its face's caption, scored by a reward model."""

    def __init__(self, source: RewardSource, *, folder: Path, device: str) -> None:
        self.source, self.is_null_text = source, source.null_text
        if source.kind != "released":
            weights_file(source.weights.parent)
        state = source.weights.stat()  # so that rewards of other weights are not reused
        version = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
        self.task = RewardTask(source, device)
        super().__init__(Cache(folder / f"frm-{source.name}-{version}.jsonl"))

    def caption(self, candidate: Candidate) -> str:
        return "" if self.is_null_text else candidate.face.caption

    def key(self, candidate: Candidate) -> str:
        return f"{candidate.sha256} {hashlib.sha256(self.caption(candidate).encode()).hexdigest()[:16]}"

    def values(self, subjects: Subjects) -> dict[str, Values]:
        """Return source -> (F,)."""
        return {source: vectors[:, 0] for source, vectors in self.vectors(subjects).items()}


class FeatureColumn(CachedColumn):
    """Column of FID features: (D,) for each image."""

    def __init__(self, features: str, *, folder: Path, device: str) -> None:
        self.features, self.task = features, FeatureTask(features, device)
        super().__init__(Cache(folder / f"fid-{features}.jsonl"))


def _batches(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Split candidates, sorted by size, into batches of one size."""
    for _, same in groupby(candidates, key=lambda candidate: candidate.face.size):
        yield from batches(same, BATCH_SIZE)
