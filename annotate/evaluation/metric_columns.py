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

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.models import Candidate, Face, Score
from annotate.pipeline import scoring
from annotate.pipeline.stage import Step
from rewardlab import images, metrics
from rewardlab.files import write_atomic
from rewardlab.images import Pixels
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

    def measure(self, todo: Sequence[Candidate]) -> Iterator[Step]:
        if todo:
            measure = metrics.load(self.name, self.device)
            for batch in _batches(todo):
                yield from scoring.score_batch(batch, {self.name: measure}, self.device)

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


class CachedColumn:
    """Column of one vector per image, cached in the evaluation's folder. Subclasses define the key and the function."""

    def __init__(self, cache: Cache, device: str) -> None:
        self.cache, self.device = cache, device

    def key(self, candidate: Candidate) -> str:
        return candidate.sha256

    def open(self) -> Callable[[Tensor, list[Candidate]], Tensor]:
        """Load the function from images (B, 3, H, W) in [0, 1] and their candidates to vectors (B, D)."""
        raise NotImplementedError

    def total(self, subjects: Subjects) -> int:
        return len({self.key(candidate) for candidate in subjects.by_size})

    def todo(self, subjects: Subjects) -> list[Candidate]:
        """Return one candidate for each image content that is not in the cache."""
        wanted = {self.key(candidate): candidate for candidate in subjects.by_size}
        return [candidate for key, candidate in wanted.items() if key not in self.cache.vectors]

    def measure(self, todo: Sequence[Candidate]) -> Iterator[Step]:
        if not todo:
            return
        compute = self.open()
        for batch in _batches(todo):
            loaded: list[tuple[Candidate, Pixels]] = []
            for candidate in batch:
                try:
                    loaded.append((candidate, image_store.load(candidate)))
                except image_store.BrokenImage as error:
                    yield Step(skipped=str(candidate), reason="broken_image", detail=str(error))
            if loaded:
                candidates, pixels = [candidate for candidate, _ in loaded], [image for _, image in loaded]
                with torch.inference_mode():
                    vectors = compute(images.to_tensor(pixels).to(self.device), candidates).float().cpu().numpy()
                self.cache.add(dict(zip(map(self.key, candidates), vectors, strict=True)))
                yield Step(done=len(loaded))

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
        super().__init__(Cache(folder / f"frm-{source.name}-{version}.jsonl"), device)

    def caption(self, candidate: Candidate) -> str:
        return "" if self.is_null_text else candidate.face.caption

    def key(self, candidate: Candidate) -> str:
        return f"{candidate.sha256} {hashlib.sha256(self.caption(candidate).encode()).hexdigest()[:16]}"

    def open(self) -> Callable[[Tensor, list[Candidate]], Tensor]:
        model = self.source.open(self.device)
        return lambda batch, candidates: model.score(batch, [self.caption(each) for each in candidates])[:, None]

    def values(self, subjects: Subjects) -> dict[str, Values]:
        """Return source -> (F,)."""
        return {source: vectors[:, 0] for source, vectors in self.vectors(subjects).items()}


class FeatureColumn(CachedColumn):
    """Column of FID features: (D,) for each image."""

    def __init__(self, features: str, *, folder: Path, device: str) -> None:
        self.features = features
        super().__init__(Cache(folder / f"fid-{features}.jsonl"), device)

    def open(self) -> Callable[[Tensor, list[Candidate]], Tensor]:
        extract = fid.open_features(self.features, self.device)
        return lambda batch, candidates: extract(batch)


def _batches(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Split candidates, sorted by size, into batches of one size."""
    for _, same in groupby(candidates, key=lambda candidate: candidate.face.size):
        yield from batches(same, BATCH_SIZE)
