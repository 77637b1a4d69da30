"""From the database to a manifest: the only bridge to training."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from annotate.models import Candidate, Face, Preference, Score, Snapshot
from annotate.stages import batches
from rewardlab import manifest
from rewardlab.manifest import PreferenceRow

FIELDS = (
    "pair_id", "pair__face_id", "pair__face__identity", "pair__face__split", "pair__face__caption",
    "pair__first_id", "pair__first__sha256", "pair__first__source",
    "pair__second_id", "pair__second__sha256", "pair__second__source",
    "p_first", "origin", "weight", "judgements", "votes_first", "votes_second",
)  # fmt: skip

ROWS_AT_ONCE = 5000


class NothingToFreeze(ValueError):
    """No preference passes the filters."""


def select(*, splits: list[str] | None = None, origins: list[str] | None = None) -> QuerySet[Preference]:
    preferences = Preference.objects.all()
    if splits:
        preferences = preferences.filter(pair__face__split__in=splits)
    if origins:
        preferences = preferences.filter(origin__in=origins)
    return preferences


def _rows(preferences: QuerySet[Preference]) -> Iterator[PreferenceRow]:
    """One query: what is read is the database at one moment, whatever is written meanwhile."""
    rows = preferences.order_by("pair_id").values(*FIELDS)
    for batch in batches(rows.iterator(chunk_size=ROWS_AT_ONCE), ROWS_AT_ONCE):
        scores = _scores({row[side] for row in batch for side in ("pair__first_id", "pair__second_id")})
        for row in batch:
            first, second = scores[row["pair__first_id"]], scores[row["pair__second_id"]]
            yield PreferenceRow(
                pair=row["pair_id"],
                face=row["pair__face_id"],
                identity=row["pair__face__identity"],
                split=row["pair__face__split"],
                caption=row["pair__face__caption"],
                first=image_path(row["pair__first__sha256"]),
                first_source=row["pair__first__source"],
                second=image_path(row["pair__second__sha256"]),
                second_source=row["pair__second__source"],
                p_first=row["p_first"],
                origin=row["origin"],
                weight=row["weight"],
                votes=(
                    row["votes_first"],
                    row["votes_second"],
                    row["judgements"] - row["votes_first"] - row["votes_second"],
                ),
                scores={metric: (first[metric], second[metric]) for metric in sorted(first.keys() & second.keys())},
            )


def _scores(candidates: set[int]) -> dict[int, dict[str, float]]:
    """Candidate -> metric -> value."""
    found: dict[int, dict[str, float]] = {candidate: {} for candidate in candidates}
    rows = Score.objects.filter(candidate__in=candidates).values_list("candidate_id", "metric", "value")
    for candidate, metric, value in rows:
        found[candidate][metric] = value
    return found


def image_path(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}.png"


def snapshot(
    folder: Path,
    *,
    splits: list[str] | None = None,
    origins: list[str] | None = None,
    with_images: bool = False,
    overwrite: bool = False,
) -> Snapshot:
    """Freeze the preferences to `folder/manifest.jsonl`; with images, copy those it names to `folder/images`.

    Raises `NothingToFreeze`, or `FileExistsError` if another snapshot is there and `overwrite` is not set.
    """
    preferences = select(splits=splits, origins=origins)
    if not preferences.exists():
        raise NothingToFreeze(f"No preference has split {splits or 'any'} and origin {origins or 'any'}.")
    path, fresh = folder / "manifest.jsonl", folder / "manifest.jsonl.new"
    header = manifest.write(fresh, _rows(preferences), filters={"splits": splits, "origins": origins})
    if path.exists() and not overwrite and manifest.read_header(path)["sha256"] != header["sha256"]:
        fresh.unlink()
        raise FileExistsError(f"{path} is another snapshot: choose another folder, or --overwrite.")
    fresh.replace(path)
    if with_images:
        rows = manifest.read(path)[1]
        _copy_images((image for row in rows for image in (row.first, row.second)), folder / "images")
    row, _ = Snapshot.objects.update_or_create(
        sha256=header["sha256"], defaults={"path": str(path.resolve()), "header": header}
    )
    return row


def freeze_faces(path: Path, *, with_images: bool = False) -> dict:
    """Write every face's photograph and degraded image for a restorer's training, and return the header; with images,
    copy them to `images` beside the file. Raises `NothingToFreeze` if there is no face.
    """
    from refl import faces

    images: dict[int, dict[str, str]] = {}
    candidates = Candidate.objects.filter(source__in=(Candidate.HQ, Candidate.LQ))
    for face, source, sha256 in candidates.values_list("face_id", "source", "sha256").iterator():
        images.setdefault(face, {})[source] = image_path(sha256)
    found = [
        faces.FaceRow(
            face=face.pk,
            identity=face.identity,
            split=face.split,
            caption=face.caption,
            size=face.size,
            hq=images[face.pk][Candidate.HQ],
            lq=images[face.pk].get(Candidate.LQ, ""),
        )
        for face in Face.objects.iterator()
        if Candidate.HQ in images.get(face.pk, {})
    ]
    if not found:
        raise NothingToFreeze("There is no face yet: run ingest first.")
    if with_images:
        _copy_images((image for face in found for image in (face.hq, face.lq) if image), path.parent / "images")
    return faces.write(path, found)


def _copy_images(images: Iterable[str], folder: Path) -> None:
    for image in sorted(set(images)):
        target = folder / image
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            shutil.copyfile(Path(settings.MEDIA_ROOT) / image, partial)
            partial.replace(target)
