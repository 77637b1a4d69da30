"""Export the preferences in a format that other tools load. Output is streamed and written atomically."""

from collections.abc import Callable
from pathlib import Path

from annotate.exchange import json_and_csv, parquet, webdataset
from annotate.exchange.output_files import Exported, Tally
from annotate.exchange.preference_rows import (
    RowFilter,
    consistent_read,
    find_source,
    refuse_leaks,
    require_folder,
)
from annotate.exchange.snapshot import copying, snapshot

FORMATS: dict[str, tuple[Callable[..., Exported], list[str]]] = {  # format -> writer, files
    "parquet": (parquet.write_parquet, ["preferences.parquet"]),
    "datasets": (parquet.write_datasets, ["data", "README.md"]),
    "webdataset": (webdataset.write_webdataset, ["webdataset", "webdataset.meta.json"]),
    "hpdv2": (json_and_csv.write_hpdv2, ["hpdv2.json", "hpdv2.meta.json"]),
    "imagereward": (json_and_csv.write_imagereward, ["imagereward.json", "imagereward.meta.json"]),
    "dpo": (json_and_csv.write_dpo, ["dpo.jsonl", "dpo.meta.json"]),
    "csv": (json_and_csv.write_csv, ["preferences.csv", "preferences.meta.json"]),
    "answers-csv": (json_and_csv.write_answers_csv, ["answers.csv", "answers.meta.json"]),
    "answers-jsonl": (json_and_csv.write_answers_jsonl, ["answers.jsonl", "answers.meta.json"]),
    "answers-parquet": (parquet.write_answers_parquet, ["answers.parquet"]),
    "label-studio": (json_and_csv.write_label_studio, ["label-studio.json", "label-studio.meta.json"]),
}
WITH_IMAGES_INSIDE = ("datasets", "webdataset")
MANIFEST = "jsonl"
NAMES = (MANIFEST, *FORMATS)


def export(
    folder: Path,
    form: str,
    *,
    splits: list[str] | None = None,
    origins: list[str] | None = None,
    consensus: str = "majority",
    with_images: bool = False,
    overwrite: bool = False,
    progress: RowFilter = iter,
) -> Exported:
    """Write the preferences to `folder` in one of the formats in `NAMES`.

    `jsonl` is the manifest that `snapshot` writes. with_images: also copy the images that the rows name to
        `folder/images`; `datasets` stores them inside its files, and `webdataset` always does.
    progress: wraps the iterator of rows, for a progress bar.
    Memory does not grow with the number of rows, except for the ids of their faces, and for a consensus other than
    the majority, which holds all votes.
    Raises before anything is written: `NothingToFreeze`, `GoldLeak`, `NotADirectoryError`, or `FileExistsError` if
    the output exists and `overwrite` is not set.
    """
    if form == MANIFEST:
        frozen = snapshot(
            folder, splits=splits, origins=origins, consensus=consensus, with_images=with_images, overwrite=overwrite,
            progress=progress,
        )  # fmt: skip
        header = frozen.header
        return Exported(Path(frozen.path), header["rows"], header["faces"], header["counts"], {}, frozen.sha256)
    require_folder(folder)
    refuse_leaks(splits)
    write, files = FORMATS[form]
    existing = next((folder / name for name in files if (folder / name).exists()), None)
    if existing and not overwrite:
        raise FileExistsError(f"{existing} already exists: choose another folder, or use --overwrite.")
    with consistent_read():
        source = find_source(splits=splits, origins=origins, consensus=consensus)
        rows = progress(source.nonempty_rows())
        folder.mkdir(parents=True, exist_ok=True)
        if with_images and form not in WITH_IMAGES_INSIDE:
            rows = copying(rows, folder / "images")
        return write(folder / files[0], rows, Tally(form, source, with_images))
