"""Checks of the stored data. Each yields an item for everything that it has examined: a finding, or None."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from annotate.common import image_store
from annotate.common.batches import in_chunks
from annotate.models import Candidate, Dataset, Face, Item, Pair, Trial
from annotate.pipeline.ground_truth import without_original
from rewardlab import face_alignment, images
from rewardlab.assets import MissingAsset
from rewardlab.errors import ModelError

SETTLED_SECONDS = 3600  # a stage writes an image before the row that refers to it: newer files may be in use
SHOWN = 8  # faces in a finding


@dataclass(frozen=True)
class Finding:
    """Something suspicious. reason: a slug by which findings are grouped. fix: repairs it; None if a person must."""

    reason: str
    what: str
    detail: str
    fix: Callable[[], object] | None = None


@dataclass(frozen=True)
class Check:
    """title: what is examined. total: number of items, if it is known beforehand."""

    title: str
    run: Callable[[], Iterator[Finding | None]]
    total: Callable[[], int | None] = lambda: None


def checks(*, with_faces: bool = True) -> list[Check]:
    """Return the checks in order. with_faces: whether the detector looks for the face in every photograph."""
    return [
        Check("keys of files", shared_keys),
        Check("photographs", missing_photographs),
        Check("pairs", identical_pairs),
        Check("restorations", copies),
        Check("images", lambda: stored_images(with_faces=with_faces), Candidate.objects.count),
        Check("files", unreferenced_files),
    ]


def shared_keys() -> Iterator[Finding | None]:
    """Find faces whose files cannot be told apart by name."""
    yield from _sharing(
        Face.objects.exclude(path_key=""),
        "name_key",
        "their files differ in the suffix only: a restoration named after one of them is refused as ambiguous. Export "
        "the degraded images with degrade --export, and use these names",
    )
    yield from _sharing(
        Face.objects.filter(path_key=""),
        "source_key",
        "an earlier version knew their files by the name alone, and may have mixed up captions and results of other "
        "software: compare them. To store the paths, ingest the folder again with --dataset {dataset}",
    )


def _sharing(faces: QuerySet[Face], field: str, detail: str) -> Iterator[Finding | None]:
    shared = faces.values("dataset__name", field).annotate(faces=Count("pk")).filter(faces__gt=1).order_by(field)
    for row in list(shared):
        dataset, key = row["dataset__name"], row[field]
        found = list(faces.filter(dataset__name=dataset, **{field: key}).order_by("pk").values_list("pk", flat=True))
        named = ", ".join(map(str, found[:SHOWN])) + (" ..." if len(found) > SHOWN else "")
        what = f"faces {named} of data set {dataset}"
        yield Finding("several_files_under_one_key", what, detail.format(dataset=dataset))


def missing_photographs() -> Iterator[Finding | None]:
    """Find faces without a photograph in data sets that consist of photographs."""
    lacking = without_original(Face.objects.filter(dataset__has_ground_truth=True)).select_related("dataset")
    for face in in_chunks(lacking.order_by("pk")):
        what = f"{face} of data set {face.dataset}"
        yield Finding("no_photograph", what, "its photograph is not stored: delete the face, and ingest it again")


def of_low_quality() -> list[str]:
    """Say which data sets have no photographs: nothing is wrong with them, but whatever needs one leaves them out."""
    sets = Dataset.objects.filter(has_ground_truth=False).annotate(number=Count("faces")).order_by("name")
    return [
        f"data set {dataset}: low-quality pictures without photographs ({dataset.number} "
        f"face{'' if dataset.number == 1 else 's'}); no metric that needs the photograph, no training of restorers"
        for dataset in sets
    ]


def identical_pairs() -> Iterator[Finding | None]:
    """Find pairs of two identical images. Those that nobody was ever asked about can be removed."""
    pairs = Pair.objects.identical().select_related("first", "second").order_by("pk")
    asked = Exists(Item.objects.filter(pair=OuterRef("pk"))) | Exists(Trial.objects.filter(pair=OuterRef("pk")))
    for pair in list(pairs.annotate(asked=asked)):  # a list, since the repair deletes rows meanwhile
        what = f"{pair} of face {pair.face_id}: {pair.first.source} and {pair.second.source}"
        if pair.asked:
            yield Finding("identical_pair", what, "people were asked about it: its answers say nothing")
        else:
            yield Finding("identical_pair", what, "nobody was asked about it", fix=pair.delete)


def copies() -> Iterator[Finding | None]:
    """Find restorations that are the degraded input or the photograph itself."""
    for source, what in ((Candidate.LQ, "degraded input"), (Candidate.HQ, "photograph")):
        same = Q(sha256=OuterRef("sha256")) | Q(pixels_sha256=OuterRef("pixels_sha256"))
        original = Candidate.objects.filter(same, face=OuterRef("face"), source=source)
        copied = Candidate.objects.filter(Exists(original), restorer__isnull=False)
        for candidate in in_chunks(copied.order_by("pk")):
            detail = f"its image is the {what} itself: was a wrong folder imported?"
            yield Finding(f"identical_to_{source}", str(candidate), detail)


def stored_images(*, with_faces: bool) -> Iterator[Finding | None]:
    """Read every image, and look for the face in every photograph."""
    detects = with_faces
    for candidate in in_chunks(Candidate.objects.order_by("pk")):
        try:
            image = image_store.load(candidate)
        except image_store.BrokenImage as error:
            reason = "damaged_image" if image_store.exists(candidate.sha256) else "missing_image"
            yield Finding(reason, str(candidate), str(error))
            continue
        except images.ImageError as error:
            yield Finding("unreadable_image", str(candidate), f"{image_store.where(candidate.relative_path)}: {error}")
            continue
        if not detects or candidate.source != Candidate.HQ:
            yield None
            continue
        try:
            yield _face_finding(candidate, image)
        except (MissingAsset, ModelError) as error:
            detects = False
            yield Finding("not_checked", "faces in the photographs", str(error))


def _face_finding(candidate: Candidate, image: images.Pixels) -> Finding | None:
    _, found, turned = face_alignment.detect_upright(image)
    if turned:
        detail = (
            f"the face is upright only if the image is turned by {turned} degrees counter-clockwise. To store it "
            "upright, ingest the photograph into another DATA_ROOT"
        )
        return Finding("lying_face", str(candidate), detail)
    if not found:
        given = candidate.provenance.get("aligned_by") == "given"
        return Finding("no_face", str(candidate), "no face is found in it" + (" (ingested --aligned)" if given else ""))
    return None


def unreferenced_files() -> Iterator[Finding | None]:
    """Find files in the media folder that no row refers to, except new ones, which a running stage may have written."""
    if not image_store.is_local():
        yield Finding("not_checked", image_store.where(), "which of its objects no row refers to: they are not listed")
        return
    known = set(Candidate.objects.order_by().values_list("sha256", flat=True).distinct().iterator())
    settled = time.time() - SETTLED_SECONDS
    for path in image_store.files():
        if image_store.sha256_of_name(path) in known or path.lstat().st_mtime > settled:
            yield None
        elif image_store.is_temporary(path):
            yield Finding("temporary_file", str(path), "an interrupted program left it", fix=path.unlink)
        elif image_store.sha256_of_name(path):
            detail = f"no row refers to it; --fix moves it to {image_store.unreferenced_folder()}"
            yield Finding("unreferenced_image", str(path), detail, fix=partial(_set_aside, path))
        else:
            yield Finding("foreign_file", str(path), "it is not an image of this project: move it elsewhere")


def _set_aside(path: Path) -> None:
    sha256 = image_store.sha256_of_name(path)
    if sha256 and not Candidate.objects.filter(sha256=sha256).exists():
        image_store.set_aside(path)
