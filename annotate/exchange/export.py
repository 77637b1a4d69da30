"""`export`: the preferences in one of the formats that others load, streamed, whole or not at all."""

from collections.abc import Callable
from pathlib import Path

from annotate.exchange import json_and_csv, parquet
from annotate.exchange.output_files import Exported, Tally
from annotate.exchange.preference_rows import RowFilter, find_source, one_moment, refuse_leaks, require_folder
from annotate.exchange.snapshot import copying, snapshot

FORMATS: dict[str, tuple[Callable[..., Exported], list[str]]] = {  # what writes which files
    "parquet": (parquet.write_parquet, ["preferences.parquet"]),
    "datasets": (parquet.write_datasets, ["data", "README.md"]),
    "hpdv2": (json_and_csv.write_hpdv2, ["hpdv2.json", "hpdv2.meta.json"]),
    "imagereward": (json_and_csv.write_imagereward, ["imagereward.json", "imagereward.meta.json"]),
    "dpo": (json_and_csv.write_dpo, ["dpo.jsonl", "dpo.meta.json"]),
    "csv": (json_and_csv.write_csv, ["preferences.csv", "preferences.meta.json"]),
    "label-studio": (json_and_csv.write_label_studio, ["label-studio.json", "label-studio.meta.json"]),
}
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
    shown: RowFilter = iter,
) -> Exported:
    """Write the preferences into `folder` in a format of `NAMES`; with images, those that they name too: to
    `folder/images`, or inside for `datasets`. `jsonl` is the manifest, as `snapshot` writes it.

    The memory it needs does not grow with the rows, but for their faces' ids and for a consensus other than the
    majority, which needs all votes at once. shown: what the rows pass through on their way, for a progress bar.
    Raises `NothingToFreeze`, `GoldLeak`, or `FileExistsError` without `overwrite`, before anything is written.
    """
    if form == MANIFEST:
        frozen = snapshot(
            folder, splits=splits, origins=origins, consensus=consensus, with_images=with_images, overwrite=overwrite,
            shown=shown,
        )  # fmt: skip
        known = frozen.header
        return Exported(Path(frozen.path), known["rows"], known["faces"], known["counts"], {}, frozen.sha256)
    require_folder(folder)
    refuse_leaks(splits)
    write, files = FORMATS[form]
    there = next((folder / name for name in files if (folder / name).exists()), None)
    if there and not overwrite:
        raise FileExistsError(f"{there} is there already: choose another folder, or --overwrite.")
    with one_moment():
        source = find_source(splits=splits, origins=origins, consensus=consensus)
        rows = shown(source.some_rows())
        folder.mkdir(parents=True, exist_ok=True)
        if with_images and form != "datasets":
            rows = copying(rows, folder / "images")
        return write(folder / files[0], rows, Tally(form, source, with_images))
