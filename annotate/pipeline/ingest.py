"""Ingest of photographs as faces: decode safely, align, crop, strip names and metadata."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from django.db import IntegrityError, transaction

from annotate.common import image_store, pseudonyms
from annotate.common.batches import batches
from annotate.common.parallel import in_threads
from annotate.models import Candidate, Dataset, Face
from annotate.pipeline.candidates import BATCH, hash_pixels
from annotate.pipeline.sources import Source
from annotate.pipeline.stage import Step
from rewardlab import face_alignment as detector
from rewardlab import files as rewardlab_files
from rewardlab import images

ATTEMPTS = 3  # at a batch of which another command stores a photograph meanwhile
SMALLEST, LARGEST = 64, 2048
GIVEN = "given"  # degradation of a low-quality picture that was not made here
DEFAULT_SHARES = {"train": 0.8, "gold": 0.1, "test": 0.1}


@dataclass(frozen=True)
class IngestConfig:
    size: int = 512  # the paper's working size (App. A.2)
    aligned: bool = False  # already FFHQ-aligned: only resized
    shares: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    seed: int = 0
    is_low_quality: bool = False  # the pictures are the degraded input, and there are no photographs of them

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"The working size must be {SMALLEST} to {LARGEST} pixels, not {self.size}.")


@dataclass(frozen=True)
class _Photograph:
    """A photograph with its keys and the sha256 of its file."""

    source: Source
    keys: pseudonyms.FileKeys
    sha256: str


@dataclass(frozen=True)
class _Crop:
    """The face of a photograph, whose file is written."""

    face: detector.AlignedFace
    sha256: str
    pixels_sha256: str


def ingest(sources: Iterable[Source], *, dataset: Dataset, config: IngestConfig) -> Iterator[Step]:
    """Store the face of each photograph, or of each low-quality picture that has none (`is_low_quality`).

    A rejected picture is a skipped step with a reason. `BATCH` photographs are read, encoded and stored together.
    """
    hash_pixels(Candidate.objects.filter(source=Candidate.HQ))
    for batch in batches(sources, BATCH):
        yield from _ingest_batch(list(in_threads(_read, batch)), dataset, config)


def _read(source: Source) -> _Photograph | Step:
    try:
        return _Photograph(source, source.keys, rewardlab_files.sha256_of(source.path))
    except OSError as error:
        return Step(skipped=str(source.path), reason="unreadable", detail=str(error))


def _ingest_batch(read: list[_Photograph | Step], dataset: Dataset, config: IngestConfig) -> list[Step]:
    """Store the new faces of a batch in one transaction, after their files. Return a step for each photograph."""
    batch = [one for one in read if isinstance(one, _Photograph)]
    known = _Known(dataset, batch)
    new = [one for one in batch if not known.is_stored(one) and config.shares.get(known.split_of(one, config))]
    with image_store.Batch() as files:
        cropped = list(in_threads(partial(_crop, config=config, files=files), new))
        files.finish()
    crops = {one.source.path: crop for one, crop in zip(new, cropped, strict=True)}
    for attempt in range(ATTEMPTS):
        try:
            steps = iter(_store(batch, crops, dataset, config))
            break
        except IntegrityError:
            if attempt == ATTEMPTS - 1:
                raise
    return [one if isinstance(one, Step) else next(steps) for one in read]


def _crop(one: _Photograph, *, config: IngestConfig, files: image_store.Batch) -> _Crop | Step:
    """Decode a photograph, crop its face, and write the file; or say why it cannot be used."""
    path = one.source.path
    try:
        data = path.read_bytes()
        if rewardlab_files.sha256(data) != one.sha256:
            detail = "its content changed while it was read: run the same command again"
            return Step(skipped=str(path), reason="unreadable", detail=detail)
        array = images.decode_file(path, data)
        align = detector.align_prealigned if config.aligned else detector.align
        face = align(array, config.size, config.is_low_quality)  # only these may be smaller than the face
    except OSError as error:
        return Step(skipped=str(path), reason="unreadable", detail=str(error))
    except (images.ImageError, detector.FaceError) as error:
        return Step(skipped=str(path), reason=error.reason, detail=str(error))
    return _Crop(face, files.add_png(face.image), images.pixels_sha256(face.image))


@transaction.atomic
def _store(
    batch: Sequence[_Photograph], crops: dict[Path, _Crop | Step], dataset: Dataset, config: IngestConfig
) -> list[Step]:
    """Create the rows of the new faces, and complete those of known ones. Raises `IntegrityError` if another command
    stored one of them meanwhile."""
    known = _Known(dataset, batch, [crop for crop in crops.values() if isinstance(crop, _Crop)])
    faces, candidates, steps = list[Face](), list[Candidate](), list[Callable[[], Step]]()
    for one in batch:
        crop, split = crops.get(one.source.path), known.split_of(one, config)
        if face := known.by_content.get(one.sha256):
            steps.append(partial(known.seen_again, face, one, config))
        elif face := known.by_path.get(one.keys.path):
            steps.append(partial(_other_content, one, face))
        elif not config.shares.get(split):
            steps.append(partial(_other_split, one, config, f"the person is in split {split} already"))
        elif not isinstance(crop, _Crop):
            steps.append(partial(replace, crop or _gone(one)))
        elif not config.is_low_quality and (face := known.by_pixels.get(crop.pixels_sha256)):
            steps.append(partial(_duplicate, one, face))
        else:
            face = _new_face(one, crop, identity=known.identity_of(one), split=split, dataset=dataset, config=config)
            known.add(face, crop)
            faces.append(face)
            candidates.append(_new_candidate(face, crop, config))
            steps.append(partial(Step, done=1))
    Face.objects.bulk_create(faces)
    Candidate.objects.bulk_create(candidates)
    done = [step() for step in steps]  # now that the faces have numbers, which messages state
    known.write_changes()
    return done


def _new_face(
    one: _Photograph, crop: _Crop, *, identity: str, split: str, dataset: Dataset, config: IngestConfig
) -> Face:
    landmarks, caption = crop.face.landmarks, one.source.caption
    return Face(
        dataset=dataset,
        source_sha256=one.sha256,
        path_key=one.keys.path,
        name_key=one.keys.name,
        source_key=one.keys.stem,
        identity=identity,
        split=split,
        size=config.size,
        seed=int(one.sha256[:15], 16) ^ config.seed,
        landmarks=None if landmarks is None else landmarks.round(2).tolist(),
        caption=caption,
        caption_source=Face.CaptionSource.FILE if caption else Face.CaptionSource.NONE,
    )


def _new_candidate(face: Face, crop: _Crop, config: IngestConfig) -> Candidate:
    origin = {
        "aligned_by": "given" if config.aligned else "yunet",
        "scale": round(crop.face.scale, 4),
        "turned": crop.face.turned,
    }
    return Candidate(
        face=face,
        source=Candidate.LQ if config.is_low_quality else Candidate.HQ,
        sha256=crop.sha256,
        pixels_sha256=crop.pixels_sha256,
        provenance=({"degradation": GIVEN} if config.is_low_quality else {}) | origin,
    )


class _Known:
    """What is stored of the photographs of a batch, by a fixed number of queries, and what the batch adds to it."""

    def __init__(self, dataset: Dataset, batch: Sequence[_Photograph], crops: Sequence[_Crop] = ()) -> None:
        self.dataset = dataset
        faces, of_dataset = Face.objects.select_related("dataset"), Face.objects.filter(dataset=dataset)
        contents, paths = [one.sha256 for one in batch], [one.keys.path for one in batch]
        self.by_content = {face.source_sha256: face for face in faces.filter(source_sha256__in=contents)}
        self.by_path = {face.path_key: face for face in faces.filter(dataset=dataset, path_key__in=paths)}
        # Faces of versions before 0.3 have an identity without the name of the data set.
        old = {pseudonyms.hashed(one.source.identity) for one in batch}
        self.old_identities = set(of_dataset.filter(identity__in=old).values_list("identity", flat=True))
        identities = {self.identity_of(one) for one in batch}
        splits = Face.objects.filter(identity__in=identities).order_by("-pk")
        self.splits = dict(splits.values_list("identity", "split"))
        photographs = Candidate.objects.filter(source=Candidate.HQ).select_related("face__dataset")
        same_pixels = photographs.filter(pixels_sha256__in=[crop.pixels_sha256 for crop in crops])
        self.by_pixels = {candidate.pixels_sha256: candidate.face for candidate in same_pixels}
        self.captioned: list[Face] = []
        self.named: list[Face] = []

    def is_stored(self, one: _Photograph) -> bool:
        return one.sha256 in self.by_content or one.keys.path in self.by_path

    def identity_of(self, one: _Photograph) -> str:
        """Return the key of the person."""
        old = pseudonyms.hashed(one.source.identity)
        return old if old in self.old_identities else pseudonyms.identity_key(self.dataset.name, one.source.identity)

    def split_of(self, one: _Photograph, config: IngestConfig) -> str:
        """Return the split of the person. A known one keeps its split even if the shares change."""
        known = self.splits.get(self.identity_of(one))
        return known or draw_split(one.source.identity, seed=config.seed, shares=config.shares)

    def add(self, face: Face, crop: _Crop) -> None:
        self.by_content[face.source_sha256] = self.by_path[face.path_key] = self.by_pixels[crop.pixels_sha256] = face
        self.splits.setdefault(face.identity, face.split)

    def seen_again(self, face: Face, one: _Photograph, config: IngestConfig) -> Step:
        """Handle a photograph that was ingested before: keep its size and split, add a missing caption and missing
        keys."""
        if face.dataset_id != self.dataset.pk or not _is_file_of(face, one):
            return _duplicate(one, face)
        if face.size != config.size:
            detail = f"already ingested at {face.size} pixels: use --size {face.size}, or another DATA_ROOT"
            return Step(skipped=str(one.source.path), reason="other_size", detail=detail)
        if not config.shares.get(face.split):
            return _other_split(one, config, f"{face} is in split {face.split} already")
        if not face.path_key and one.keys.path not in self.by_path:
            face.path_key, face.name_key = one.keys.path, one.keys.name
            self.by_path[face.path_key] = face
            self.named.append(face)
        if one.source.caption and not face.caption:
            face.caption, face.caption_source = one.source.caption, Face.CaptionSource.FILE
            self.captioned.append(face)
            return Step(done=1)
        return Step(already=1)

    def write_changes(self) -> None:
        Face.objects.bulk_update(self.named, ["path_key", "name_key"])
        Face.objects.bulk_update(self.captioned, ["caption", "caption_source"])


def _is_file_of(face: Face, one: _Photograph) -> bool:
    """Return whether the face was ingested from this path, or from this name if only that is known."""
    if face.path_key:
        return face.path_key == one.keys.path
    return face.source_key in (one.keys.stem, pseudonyms.hashed(one.source.path.stem))


def _duplicate(one: _Photograph, face: Face) -> Step:
    detail = f"the same photograph was ingested already, as {face} in split {face.split} of data set {face.dataset}"
    return Step(skipped=str(one.source.path), reason="duplicate", detail=detail)


def _other_content(one: _Photograph, face: Face) -> Step:
    detail = (
        f"{face} of data set {face.dataset} is from this path, but the photograph was another. If this folder is "
        "another data set, name it with --dataset; if the file was replaced, give it another name"
    )
    return Step(skipped=str(one.source.path), reason="other_content", detail=detail)


def _other_split(one: _Photograph, config: IngestConfig, why: str) -> Step:
    wanted = " or ".join(split for split, share in config.shares.items() if share)
    detail = f"{why}, and {wanted} was requested. Photographs of a person stay in one split"
    return Step(skipped=str(one.source.path), reason="other_split", detail=detail)


def _gone(one: _Photograph) -> Step:
    detail = "its face was deleted while this command ran: run the same command again"
    return Step(skipped=str(one.source.path), reason="deleted", detail=detail)


def draw_split(identity: str, *, seed: int, shares: dict[str, float]) -> str:
    """Draw the split of an identity from its name and the seed alone, independent of the order of files.

    `shares` maps each split to its share; shares sum to 1.
    """
    digest = hashlib.blake2b(f"{seed}/{identity}".encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "big") / 2**64
    for split, share in shares.items():
        draw -= share
        if draw < 0:
            return split
    return [split for split, share in shares.items() if share][-1]
