"""Ingest of photographs as faces: decode safely, align, crop, strip names and metadata."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction
from django.db.models import Q

from annotate.common import pseudonyms
from annotate.common.image_store import store_png
from annotate.models import Candidate, Dataset, Face
from annotate.pipeline.sources import Source
from annotate.pipeline.stage import Step
from rewardlab import face_alignment as detector
from rewardlab import files as rewardlab_files
from rewardlab import images

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


def ingest(sources: Iterable[Source], *, dataset: Dataset, config: IngestConfig) -> Iterator[Step]:
    """Store the face of each photograph, or of each low-quality picture that has none (`is_low_quality`).

    A rejected picture is a skipped step with a reason.
    """
    for source in sources:
        try:
            data = source.path.read_bytes()
        except OSError as error:
            yield Step(skipped=str(source.path), reason="unreadable", detail=str(error))
            continue
        try:
            yield _ingest_one(source, data, dataset, config)
        except (images.ImageError, detector.FaceError) as error:
            yield Step(skipped=str(source.path), reason=error.reason, detail=str(error))


def _ingest_one(source: Source, data: bytes, dataset: Dataset, config: IngestConfig) -> Step:
    source_sha256, keys = rewardlab_files.sha256(data), source.keys
    if known := Face.objects.filter(source_sha256=source_sha256).select_related("dataset").first():
        is_same_file = known.dataset_id == dataset.pk and _is_file_of(known, source)
        return _ingest_again(known, source, config) if is_same_file else _duplicate(source, known)
    if at_path := Face.objects.filter(dataset=dataset, path_key=keys.path).first():
        detail = (
            f"{at_path} of data set {dataset} is from this path, but the photograph was another. If this folder is "
            "another data set, name it with --dataset; if the file was replaced, give it another name"
        )
        return Step(skipped=str(source.path), reason="other_content", detail=detail)
    identity = _identity_key(source, dataset)
    split = _split(identity, source, config)
    if not config.shares.get(split):
        return _other_split(source, config, f"the person is in split {split} already")
    array = images.decode_file(source.path, data)
    align = detector.align_prealigned if config.aligned else detector.align
    face = align(array, config.size, config.is_low_quality)  # only these may be smaller than the face
    sha256 = store_png(face.image)
    kind = Candidate.LQ if config.is_low_quality else Candidate.HQ
    try:
        with transaction.atomic():
            row = Face.objects.create(
                dataset=dataset,
                source_sha256=source_sha256,
                path_key=keys.path,
                name_key=keys.name,
                source_key=keys.stem,
                identity=identity,
                split=split,
                size=config.size,
                seed=int(source_sha256[:15], 16) ^ config.seed,
                landmarks=None if face.landmarks is None else face.landmarks.round(2).tolist(),
                caption=source.caption,
                caption_source=Face.CaptionSource.FILE if source.caption else Face.CaptionSource.NONE,
            )
            Candidate.objects.create(
                face=row,
                source=kind,
                sha256=sha256,
                provenance=({"degradation": GIVEN} if config.is_low_quality else {})
                | {
                    "aligned_by": "given" if config.aligned else "yunet",
                    "scale": round(face.scale, 4),
                    "turned": face.turned,
                },
            )
    except IntegrityError:
        same_pixels = Q(candidates__source=kind, candidates__sha256=sha256)
        at_once = Q(source_sha256=source_sha256) | Q(dataset=dataset, path_key=keys.path)
        return _duplicate(source, Face.objects.filter(same_pixels | at_once).select_related("dataset").first())
    return Step(done=1)


def _is_file_of(face: Face, source: Source) -> bool:
    """Return whether the face was ingested from this path, or from this name if only that is known."""
    if face.path_key:
        return face.path_key == source.keys.path
    return face.source_key in (source.keys.stem, pseudonyms.hashed(source.path.stem))


def _duplicate(source: Source, known: Face | None) -> Step:
    detail = "the same photograph was ingested already"
    if known:
        detail += f", as {known} in split {known.split} of data set {known.dataset}"
    return Step(skipped=str(source.path), reason="duplicate", detail=detail)


def _other_split(source: Source, config: IngestConfig, why: str) -> Step:
    wanted = " or ".join(split for split, share in config.shares.items() if share)
    detail = f"{why}, and {wanted} was requested. Photographs of a person stay in one split"
    return Step(skipped=str(source.path), reason="other_split", detail=detail)


def _ingest_again(face: Face, source: Source, config: IngestConfig) -> Step:
    """Handle a photograph that was ingested before: keep its size and split, add a missing caption and missing keys."""
    if face.size != config.size:
        detail = f"already ingested at {face.size} pixels: use --size {face.size}, or another DATA_ROOT"
        return Step(skipped=str(source.path), reason="other_size", detail=detail)
    if not config.shares.get(face.split):
        return _other_split(source, config, f"{face} is in split {face.split} already")
    if not face.path_key and not Face.objects.filter(dataset=face.dataset, path_key=source.keys.path).exists():
        Face.objects.filter(pk=face.pk).update(path_key=source.keys.path, name_key=source.keys.name)
    if source.caption and not face.caption:
        Face.objects.filter(pk=face.pk).update(caption=source.caption, caption_source=Face.CaptionSource.FILE)
        return Step(done=1)
    return Step(already=1)


def _identity_key(source: Source, dataset: Dataset) -> str:
    """Return the key of the person. Faces of versions before 0.3 have one without the name of the data set."""
    old = pseudonyms.hashed(source.identity)
    if Face.objects.filter(dataset=dataset, identity=old).exists():
        return old
    return pseudonyms.identity_key(dataset.name, source.identity)


def _split(identity: str, source: Source, config: IngestConfig) -> str:
    """Return the split of an identity. A known identity keeps its split even if the shares change."""
    known = Face.objects.filter(identity=identity).values_list("split", flat=True).first()
    return known or draw_split(source.identity, seed=config.seed, shares=config.shares)


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
