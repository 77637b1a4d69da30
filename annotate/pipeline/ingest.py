"""Ingest of photographs as faces: decode safely, align, crop, strip names and metadata."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from annotate.common import pseudonyms
from annotate.common.image_store import store_png
from annotate.models import Candidate, Face
from annotate.pipeline.sources import Source
from annotate.pipeline.stage import Step
from rewardlab import face_alignment as detector
from rewardlab import files as rewardlab_files
from rewardlab import images

SMALLEST, LARGEST = 64, 2048
DEFAULT_SHARES = {"train": 0.8, "gold": 0.1, "test": 0.1}


@dataclass(frozen=True)
class IngestConfig:
    size: int = 512  # the paper's working size (App. A.2)
    aligned: bool = False  # already FFHQ-aligned: only resized
    shares: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"The working size must be {SMALLEST} to {LARGEST} pixels, not {self.size}.")


def ingest(sources: Iterable[Source | Step], *, config: IngestConfig) -> Iterator[Step]:
    """Store the face of each photograph. A rejected photograph is a skipped step with a reason."""
    for source in sources:
        if isinstance(source, Step):
            yield source
            continue
        try:
            yield _ingest_one(source, config)
        except (images.ImageError, detector.FaceError) as error:
            yield Step(skipped=str(source.path), reason=error.reason, detail=str(error))
        except OSError as error:
            yield Step(skipped=str(source.path), reason="unreadable", detail=str(error))


def _ingest_one(source: Source, config: IngestConfig) -> Step:
    data = source.path.read_bytes()
    source_sha256, source_key = rewardlab_files.sha256(data), pseudonyms.hashed(source.path.stem)
    known = Face.objects.filter(source_sha256=source_sha256).first()
    if known and known.source_key == source_key:
        return _ingest_again(known, source, config)
    duplicate = Step(
        skipped=str(source.path),
        reason="duplicate",
        detail="the same photograph was already ingested under another name",
    )
    if known:
        return duplicate
    array = images.decode(data)
    align = detector.align_prealigned if config.aligned else detector.align
    face = align(array, config.size)
    sha256 = store_png(face.image)
    identity = source.identity
    try:
        with transaction.atomic():
            row = Face.objects.create(
                source_sha256=source_sha256,
                source_key=source_key,
                identity=pseudonyms.hashed(identity),
                split=_split(identity, config),
                size=config.size,
                seed=int(source_sha256[:15], 16) ^ config.seed,
                landmarks=None if face.landmarks is None else face.landmarks.round(2).tolist(),
                caption=source.caption,
                caption_source=Face.CaptionSource.FILE if source.caption else Face.CaptionSource.NONE,
            )
            Candidate.objects.create(
                face=row,
                source=Candidate.HQ,
                sha256=sha256,
                provenance={
                    "aligned_by": "given" if config.aligned else "yunet",
                    "scale": round(face.scale, 4),
                },
            )
    except IntegrityError:
        return duplicate
    return Step(done=1)


def _ingest_again(face: Face, source: Source, config: IngestConfig) -> Step:
    """Handle a photograph that was ingested before: keep its size, add a missing caption."""
    if face.size != config.size:
        detail = f"already ingested at {face.size} pixels: use --size {face.size}, or another DATA_ROOT"
        return Step(skipped=str(source.path), reason="other_size", detail=detail)
    if source.caption and not face.caption:
        Face.objects.filter(pk=face.pk).update(caption=source.caption, caption_source=Face.CaptionSource.FILE)
        return Step(done=1)
    return Step(already=1)


def _split(identity: str, config: IngestConfig) -> str:
    """Return the split of an identity. A known identity keeps its split even if the shares change."""
    known = Face.objects.filter(identity=pseudonyms.hashed(identity)).values_list("split", flat=True).first()
    return known or draw_split(identity, seed=config.seed, shares=config.shares)


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
    return list(shares)[-1]
