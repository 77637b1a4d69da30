"""Write preferences as Parquet: one file, or a folder that Hugging Face `datasets` opens.

Rows are buffered and written in row groups; memory holds at most one group per split. pyarrow is imported on use.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.common import image_store
from annotate.exchange.json_and_csv import answer_records, metric_names
from annotate.exchange.output_files import Exported, HashedFile, Tally, whole_folder
from annotate.exchange.record_formats import ANSWER_COLUMNS, columns, flat
from rewardlab import cards, tables
from rewardlab.files import write_atomic
from rewardlab.manifest import RULES, PreferenceRow

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 20_000
ROWS_PER_GROUP_OF_IMAGES = 100  # two images per row
BYTES_PER_SHARD = 500_000_000
NOT_TEXT = {
    "pair": "int64", "face": "int64", "predictor": "int64", "votes_first": "int64", "votes_second": "int64",
    "votes_cant_tell": "int64", **{f"rule_{rule}": "int64" for rule in RULES},
}  # fmt: skip
TEXT = ("identity", "dataset", "split", "caption", "first", "first_source", "second", "second_source", "origin")
IMAGES = ("first", "second")


def _type_of(column: str, with_images: bool) -> "pa.DataType":
    import pyarrow as pa

    if column in IMAGES and with_images:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.string() if column in TEXT else getattr(pa, NOT_TEXT.get(column, "float64"))()


def _schema(metrics: Sequence[str], *, with_images: bool, for_datasets: bool) -> "pa.Schema":
    import pyarrow as pa

    fields = [pa.field(column, _type_of(column, with_images)) for column in columns(metrics)]
    if not for_datasets:
        return pa.schema(fields)
    features = {
        field.name: {"_type": "Image"}
        if with_images and field.name in IMAGES
        else {"dtype": {"double": "float64"}.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in fields
    }
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


class ParquetFile:
    """Writes rows in groups of `rows_per_group`, compressed with zstd."""

    def __init__(self, path: Path, schema: "pa.Schema", rows_per_group: int) -> None:
        from pyarrow import parquet

        self.schema, self.rows_per_group = schema, rows_per_group
        self.file = HashedFile(path)
        self.writer = parquet.ParquetWriter(self.file, schema, compression="zstd")
        self.buffer: list[list[Any]] = []

    def add(self, row: list[Any]) -> None:
        self.buffer.append(row)
        if len(self.buffer) >= self.rows_per_group:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa

        values = [
            _with_bytes(column) if pa.types.is_struct(field.type) else column
            for column, field in zip(zip(*self.buffer, strict=True), self.schema, strict=True)
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(values, self.schema, strict=True)]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema), row_group_size=len(self.buffer))
        self.buffer = []

    def close(self, metadata: Mapping[str, str] | None = None) -> None:
        if self.buffer:
            self._write_group()
        if metadata:
            self.writer.add_key_value_metadata(metadata)
        self.writer.close()
        self.file.close()


def _with_bytes(paths: Sequence[str]) -> list[dict[str, Any]]:
    return [{"bytes": data, "path": path} for path, data in zip(paths, image_store.read_all(paths), strict=True)]


def write_parquet(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    """Write one Parquet file. The key `diffusionreward` of its metadata holds the provenance of the rows."""
    metrics = metric_names()
    schema = _schema(metrics, with_images=False, for_datasets=False)
    return _write_file(target, schema, ((row, flat(row, metrics)) for row in rows), tally)


def write_answers_parquet(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    """Write one Parquet file with a row for each answer."""
    import pyarrow as pa

    kinds = {"pair": pa.int64(), "seconds": pa.float64(), "simulated": pa.bool_(), "revision": pa.int64()}
    schema = pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in ANSWER_COLUMNS])
    answers = ((row, list(answer.values())) for row, answer in answer_records(rows, tally))
    return _write_file(target, schema, answers, tally)


def _write_file(
    target: Path, schema: "pa.Schema", rows: Iterable[tuple[PreferenceRow, list[Any]]], tally: Tally
) -> Exported:
    file = ParquetFile(target.with_name(target.name + ".part"), schema, ROWS_PER_GROUP)
    for row, values in rows:
        file.add(values)
        tally.count(row)
    file.close({"diffusionreward": json.dumps(tally.metadata())})
    file.file.path.replace(target)
    tally.sha256 = file.file.sha256
    return tally.exported(target)


def write_datasets(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    """Write the shards of each split to the folder `target`, and the dataset card next to it."""
    with whole_folder(target) as folder:
        files = write_shards(folder, rows, tally)
    write_atomic(target.parent / "README.md", card(tally.metadata() | {"sha256": files}).encode())
    return tally.exported(target.parent)


def write_shards(
    folder: Path, rows: Iterable[PreferenceRow], tally: Tally, *, bytes_per_shard: int = BYTES_PER_SHARD
) -> dict[str, str]:
    """Write files such as SPLIT-00000-of-00003.parquet, and return file name -> sha256."""
    metrics = metric_names()
    schema = _schema(metrics, with_images=tally.with_images, for_datasets=True)
    rows_per_group = ROWS_PER_GROUP_OF_IMAGES if tally.with_images else ROWS_PER_GROUP
    shards: dict[str, list[ParquetFile]] = {}
    for row in rows:
        of_split = shards.setdefault(row.split, [])
        if not of_split or of_split[-1].file.tell() >= bytes_per_shard:
            if of_split:
                of_split[-1].close()
            path = folder / f"{row.split}-{len(of_split):05}"
            of_split.append(ParquetFile(path, schema, rows_per_group))
        of_split[-1].add(flat(row, metrics))
        tally.count(row)
    files = {}
    for of_split in shards.values():
        of_split[-1].close()
        for shard in of_split:
            name = f"{shard.file.path.name}-of-{len(of_split):05}.parquet"
            shard.file.path.replace(folder / name)
            files[name] = shard.file.sha256
    return files


def card(metadata: Mapping[str, Any]) -> str:
    """Build the dataset card: each split's files for `datasets`, and the provenance of the labels for readers."""
    names = sorted({name.split("/")[0] for name in metadata["counts"]})
    splits = [{"split": split, "path": f"data/{split}-*"} for split in names]
    simulated = sum(count for name, count in metadata["counts"].items() if name.endswith("/simulated"))
    images = (
        "`first` and `second` hold the images."
        if metadata["with_images"]
        else "`first` and `second` are image paths relative to the image folder; this dataset contains no images."
    )
    blocks = [
        "Each row is a pair of images of one face. `p_first` is the probability that the first image is better. "
        "`origin` is the source of the label: ground_truth (one image is the photograph), human, simulated, or svm "
        f"(`predictor` is its version). {images} `identity` and annotators are hashes; the files contain no names.",
        f"{simulated} labels are SIMULATED: they come from a program, not from people." if simulated else "",
        tables.markdown(["split/origin", "rows"], list(metadata["counts"].items())),
        "## Provenance of the labels",
        f"```json\n{json.dumps(metadata, indent=2)}\n```",
    ]
    header = {"configs": [{"config_name": "default", "data_files": splits}]}
    return cards.document(header, "Preferences between restored faces", blocks)
