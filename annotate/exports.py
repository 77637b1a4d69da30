"""From the database to a manifest: the only bridge to training."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from annotate.models import Preference, Snapshot
from rewardlab import manifest
from rewardlab.manifest import PreferenceRow

FIELDS = (
    "pair_id", "pair__face_id", "pair__face__split", "pair__face__caption",
    "pair__first__sha256", "pair__first__source", "pair__second__sha256", "pair__second__source",
    "p_first", "origin", "weight",
)  # fmt: skip


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
    for values in preferences.order_by("pair_id").values_list(*FIELDS).iterator(chunk_size=5000):
        pair, face, split, caption, first, first_source, second, second_source, p_first, origin, weight = values
        yield PreferenceRow(
            pair=pair,
            face=face,
            split=split,
            caption=caption,
            first=image_path(first),
            first_source=first_source,
            second=image_path(second),
            second_source=second_source,
            p_first=p_first,
            origin=origin,
            weight=weight,
        )


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
        _copy_images(path, folder / "images")
    row, _ = Snapshot.objects.update_or_create(
        sha256=header["sha256"], defaults={"path": str(path.resolve()), "header": header}
    )
    return row


def _copy_images(path: Path, folder: Path) -> None:
    _, rows = manifest.read(path)
    for image in sorted({image for row in rows for image in (row.first, row.second)}):
        target = folder / image
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            shutil.copyfile(Path(settings.MEDIA_ROOT) / image, partial)
            partial.replace(target)
