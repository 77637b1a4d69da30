"""Write the manifest of preferences and the list of faces, from which models are trained."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.exchange.preference_rows import (
    NothingToFreeze,
    RowFilter,
    consistent_read,
    find_source,
    refuse_leaks,
    require_folder,
)
from annotate.labels.gold_guard import refuse_gold_in_training
from annotate.models import Candidate, Face, Snapshot
from annotate.models.faces import image_path
from annotate.pipeline.ground_truth import refusal
from rewardlab import manifest
from rewardlab.manifest import PreferenceRow

ROWS_AT_ONCE = 200  # whose images are copied together


def snapshot(
    folder: Path,
    *,
    splits: list[str] | None = None,
    origins: list[str] | None = None,
    datasets: list[str] | None = None,
    consensus: str = "majority",
    with_images: bool = False,
    as_shards: bool = False,
    overwrite: bool = False,
    progress: RowFilter = iter,
) -> Snapshot:
    """Freeze the preferences to `folder/manifest.jsonl`, and record the snapshot.

    datasets: names of the data sets whose preferences are frozen; None or empty: all.
    consensus: how the answers to a judged pair become p_first (`annotate.labels.consensus.METHODS`), computed for each
        split separately.
    with_images: copy the images that the manifest names to `folder/images`; as_shards: to tar files there.
    progress: wraps the iterator of rows, for a progress bar.
    Raises `NothingToFreeze`, `GoldLeak` or `NotADirectoryError` before anything is written, and `FileExistsError` if
    the folder holds another snapshot and `overwrite` is not set.
    """
    require_folder(folder)
    refuse_leaks(splits)
    path, fresh = folder / "manifest.jsonl", folder / "manifest.jsonl.new"
    with consistent_read():
        source = find_source(splits=splits, origins=origins, consensus=consensus, datasets=datasets)
        header = manifest.write(
            fresh,
            progress(source.nonempty_rows()),
            filters=source.filters,
            consensus=source.consensus_result.details,
            predictor=source.predictor,
        )
    if path.exists() and not overwrite and manifest.read_header(path)["sha256"] != header["sha256"]:
        fresh.unlink()
        raise FileExistsError(f"{path} is another snapshot: choose another folder, or use --overwrite.")
    if with_images:
        named = (image for row in manifest.read_rows(fresh) for image in (row.first, row.second))
        _copy(folder / "images", named, as_shards=as_shards)
    fresh.replace(path)
    row, _ = Snapshot.objects.update_or_create(
        sha256=header["sha256"], defaults={"path": str(path.resolve()), "header": header}
    )
    return row


def _copy(folder: Path, paths: Iterable[str], *, as_shards: bool) -> None:
    copy = image_store.append_to_shards if as_shards else image_store.copy_to
    copy(folder, paths)


def freeze_faces(
    path: Path, *, datasets: Sequence[str] = (), with_images: bool = False, as_shards: bool = False
) -> dict:
    """List every face's photograph and degraded image in `path` for the training of restorers; return the header.

    Faces without an original are left out: a restorer learns from photographs. datasets: names of the data sets; empty:
    all. with_images: copy the images to the folder `images` next to the file; as_shards: to tar files there.
    Raises `NothingToFreeze` if there are no faces, or `GoldLeak`.
    """
    from refl import dataset

    refuse_gold_in_training()
    images: dict[int, dict[str, str]] = {}
    faces = Face.objects.filter(dataset__name__in=datasets) if datasets else Face.objects.all()
    candidates = Candidate.objects.filter(face__in=faces, source__in=(Candidate.HQ, Candidate.LQ))
    for face, source, sha256 in candidates.values_list("face_id", "source", "sha256").iterator():
        images.setdefault(face, {})[source] = image_path(sha256)
    found = [
        dataset.FaceRow(
            face=face.pk,
            identity=face.identity,
            split=face.split,
            caption=face.caption,
            size=face.size,
            hq=images[face.pk][Candidate.HQ],
            lq=images[face.pk].get(Candidate.LQ, ""),
            dataset=face.dataset.name,
        )
        for face in faces.select_related("dataset").iterator()
        if Candidate.HQ in images.get(face.pk, {})
    ]
    if not found:
        if wild := faces.select_related("dataset").first():
            raise NothingToFreeze(f"{refusal(wild, 'the training of a restorer')}. Choose another data set.")
        of_sets = f" of data set {', '.join(datasets)}" if datasets else ""
        raise NothingToFreeze(f"There are no faces{of_sets} yet: run ingest first.")
    if with_images:
        named = sorted({image for face in found for image in (face.hq, face.lq) if image})
        _copy(path.parent / "images", named, as_shards=as_shards)
    return dataset.write(path, found)


def copying(rows: Iterable[PreferenceRow], folder: Path) -> Iterator[PreferenceRow]:
    """Yield the rows, each once its two images are in `folder`."""
    for batch in batches(rows, ROWS_AT_ONCE):
        image_store.copy_to(folder, (image for row in batch for image in (row.first, row.second)))
        yield from batch
