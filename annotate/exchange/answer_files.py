"""Read answers from tables (CSV, JSON, JSON lines, Parquet) and from HPDv2's JSON, this project's exports included.

An export that holds no single answers is refused with the name of one that does.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from annotate.common.sides import CANT_TELL, FIRST, SECOND
from annotate.exchange.foreign_answers import AnswerTable, ForeignAnswer
from rewardlab.table_reader import SUFFIXES, BadRow, Row, TableError, read_entries
from rewardlab.text_files import printable

PARQUET_ROWS = 5000
IMAGES = (("first", "second"), ("pair",))
CHOICE_OF_RANK = {(1, 2): FIRST, (2, 1): SECOND, (1, 1): CANT_TELL}
# Keys and columns by which a file without single answers is recognised -> what it is, and what to do.
ANSWERS = "It holds no single answers, so they cannot be imported. Export these with --format answers-csv."
OTHER_FILES = {
    "annotations": "It is an export of Label Studio: import it with --format label-studio.",
    "raw_annotations": "It is in the format of HPDv2: import it with --format hpdv2.",
    "votes_first": f"It is an export of preferences (csv, parquet or datasets), which counts votes. {ANSWERS}",
    "generations": f"It is an export of preferences (imagereward). {ANSWERS}",
    "chosen": f"It is an export of preferences (dpo). {ANSWERS}",
    "filters": f"It is a manifest of preferences (jsonl), which counts votes. {ANSWERS}",
    "data": f"It is a list of tasks for Label Studio. {ANSWERS}",
}


def read_table(path: Path, table: AnswerTable) -> Iterator[ForeignAnswer | BadRow]:
    """Read the answers of a table. Required: annotator, choice, and first and second, or pair. Raises `TableError`."""
    if path.is_dir():
        raise TableError(f"{printable(path)} is a folder. If it is an export for Hugging Face datasets: {ANSWERS}")
    if path.suffix.lower() == ".parquet":
        rows = _read_parquet(path, table)
    elif path.suffix.lower() in SUFFIXES:
        rows = table.read(path, any_of=IMAGES)
    else:
        raise TableError(f"{printable(path)} is not a table: its name must end in {', '.join(SUFFIXES)} or .parquet.")
    try:
        for row in rows:
            _refuse_other_file(path, table)
            yield table.answer(row)
    except TableError:
        _refuse_other_file(path, table)
        raise


def _refuse_other_file(path: Path, table: AnswerTable) -> None:
    if "annotator" in table.found:
        return
    for key, advice in OTHER_FILES.items():
        if key in table.found:
            raise TableError(f"{printable(path)}: {advice}")


def _read_parquet(path: Path, table: AnswerTable) -> Iterator[Row | BadRow]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            table.require_columns(path, file.schema_arrow.names, any_of=IMAGES)
            for batch in file.iter_batches(PARQUET_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield table.row(f"{printable(path.name)}, row {number}", values)
    except (ArrowException, OSError) as error:
        raise TableError(f"{printable(path)} cannot be read as Parquet after row {number}: {error}") from error


def read_hpdv2(path: Path, table: AnswerTable) -> Iterator[ForeignAnswer | BadRow]:
    """Read the raw annotations of HPDv2's JSON. Raises `TableError`."""
    any_record = False
    for place, record in read_entries(path):
        if isinstance(record, BadRow):
            yield record
            continue
        annotations = record.get("raw_annotations") if isinstance(record, dict) else None
        images = record.get("image_path") if isinstance(record, dict) else None
        if not isinstance(annotations, list) or not isinstance(images, list) or len(images) != 2:
            yield BadRow(place, "no_record", "it has no raw_annotations, or not two images in image_path")
            continue
        any_record = True
        for number, annotation in enumerate(annotations, start=1):
            yield _hpdv2_answer(f"{place}, annotation {number}", images, annotation, table)
    if not any_record:
        raise TableError(f"{printable(path)} has no record in the format of HPDv2.")


def _hpdv2_answer(where: str, images: list, annotation: Any, table: AnswerTable) -> ForeignAnswer | BadRow:
    if not isinstance(annotation, Mapping):
        return BadRow(where, "no_answer", "it is not an object with rank and user_hash")
    rank = annotation.get("rank")
    choice = CHOICE_OF_RANK.get(tuple(rank)) if isinstance(rank, list) and set(map(type, rank)) == {int} else None
    if choice is None:
        return BadRow(where, "unknown_choice", f"its rank is {json.dumps(rank)[:40]}, not [1, 2], [2, 1] or [1, 1]")
    found = {"annotator": annotation.get("user_hash"), "choice": choice, "first": images[0], "second": images[1]}
    return table.answer(table.row(where, {**annotation, **found}))
