"""Read answers from other tools' files one at a time: Label Studio's JSON of a pairwise project, and CSV.

A row or task that cannot be imported yields an `Unusable` with the reason, which contains no names. A file in the wrong
format raises `ImportFileError`. Images are identified by the sha256 in their file names, pairs by their id, as in
exports.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from annotate.common.sides import SIDES
from annotate.models.campaigns import Criterion

CHUNK = 1 << 16
SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
KEYS = (("left", "right"), ("first", "second"), ("image1", "image2"))
CSV_CHOICES = {"first": "left", "second": "right", "cant_tell": "cant_tell"}


class ImportFileError(ValueError):
    """The file does not have the requested format."""


@dataclass(frozen=True)
class ForeignAnswer:
    """One annotator's answer about two images.

    where: the line or task in the file, for messages.
    left, right: sha256, or empty if only `pair` identifies the images; then the pair's first image is the left one.
    choice: left, right or cant_tell.
    """

    where: str
    annotator: str
    pair: int | None
    left: str
    right: str
    choice: str
    criterion: str = ""
    seconds: float | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Unusable:
    """A row or annotation that cannot be imported, and why."""

    where: str
    reason: str
    detail: str


class _UnusableError(ValueError):
    """The row or annotation cannot be imported."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class LabelStudio:
    """How to read a project's tasks.

    choices: value of a Choices tag -> left, right or cant_tell.
    keys: keys of the two images in a task's data; None: the first of `KEYS` that the task has.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, str] | None = None


def read_csv(path: Path) -> Iterator[ForeignAnswer | Unusable]:
    """Read answers from a CSV file in UTF-8.

    Required columns: annotator, choice (first, second, cant_tell), and either first and second (file names or sha256)
        or pair. Optional: criterion, seconds, at (ISO 8601).
    The image in the column `first` counts as shown on the left.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = set(rows.fieldnames or ())
            if not {"annotator", "choice"} <= columns or not ({"first", "second"} <= columns or "pair" in columns):
                raise ImportFileError(
                    "The header lacks columns: annotator, choice, and either first and second or pair are required."
                )
            for row in rows:
                yield _answer_or_unusable(f"line {rows.line_num}", _csv_answer, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFileError(f"It is not a valid CSV file in UTF-8: {error}.") from error


def read_label_studio(path: Path, project: LabelStudio) -> Iterator[ForeignAnswer | Unusable]:
    """Read every annotation of every task of a JSON export: the result of a Pairwise or a Choices tag."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, task in enumerate(_json_objects(file), start=1):
                where = f"task {task.get('id', number)}"
                annotations = task.get("annotations", task.get("completions"))
                if annotations is None and "annotator" in task:
                    raise ImportFileError("The file is in the format JSON-MIN. Export the project as JSON.")
                if not isinstance(annotations, list) or not isinstance(task.get("data"), dict):
                    yield Unusable(where, "no_task", "it has no data, or no list of annotations")
                    continue
                for place, annotation in enumerate(annotations, start=1):
                    there = f"{where}, annotation {place}"
                    yield _answer_or_unusable(there, _label_studio_answer, task["data"], annotation, project)
    except UnicodeDecodeError as error:
        raise ImportFileError(f"It is not valid UTF-8: {error}.") from error


def _answer_or_unusable(where: str, read: Any, *args: Any) -> ForeignAnswer | Unusable:
    try:
        return read(where, *args)
    except _UnusableError as error:
        return Unusable(where, error.reason, str(error))


def _json_objects(file: IO[str]) -> Iterator[dict]:
    """Yield the objects of a JSON list without loading the whole list."""
    decoder, text, place, expected = json.JSONDecoder(), "", 0, "["
    while True:
        space = re.compile(r"\s*").match(text, place)
        place = space.end() if space else place
        if text[place : place + 1] == "]" and expected == ",":
            return
        try:
            if expected and text[place : place + 1] == expected:
                place, expected = place + 1, ""
                continue
            if expected:
                raise json.JSONDecodeError(f"“{expected}” is missing", text, place)
            if text[place : place + 1] == "]":
                return
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            more = file.read(max(CHUNK, len(text) - place))
            if not more:
                raise ImportFileError(
                    f"It is not a JSON list of tasks ({error}). Export the project as JSON."
                ) from error
            text, place = text[place:] + more, 0
            continue
        if not isinstance(item, dict):
            raise ImportFileError("It is not a JSON list of tasks. Export the project as JSON.")
        yield item
        expected = ","


def _csv_answer(where: str, row: dict[str, Any]) -> ForeignAnswer:
    def value(name: str) -> str:
        return (row.get(name) or "").strip()

    if not value("annotator"):
        raise _UnusableError("no_annotator", "the column annotator is empty")
    if value("choice") not in CSV_CHOICES:
        raise _UnusableError("unknown_choice", f"its choice is not one of {', '.join(CSV_CHOICES)}")
    pair, left, right = _images(value("pair"), value("first"), value("second"))
    choice = CSV_CHOICES[value("choice")]
    more = (_criterion(value("criterion")), _seconds(value("seconds")), _time(value("at")))
    return ForeignAnswer(where, value("annotator"), pair, left, right, choice, *more)


def _label_studio_answer(where: str, data: dict, annotation: Any, project: LabelStudio) -> ForeignAnswer:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise _UnusableError("no_answer", "it has no result")
    if annotation.get("was_cancelled"):
        raise _UnusableError("skipped_there", "the annotator skipped this task")
    annotator = annotation.get("completed_by")
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("id")
    if annotator in (None, ""):
        raise _UnusableError("no_annotator", "its completed_by is empty")
    keys = [project.keys] if project.keys else KEYS
    left_key, right_key = next((pair for pair in keys if all(key in data for key in pair)), ("", ""))
    pair, left, right = _images(data.get("pair", ""), data.get(left_key, ""), data.get(right_key, ""))
    choice, criterion = _selection(annotation["result"], project.choices)
    more = (_criterion(criterion), _seconds(annotation.get("lead_time")), _time(annotation.get("created_at")))
    return ForeignAnswer(where, str(annotator), pair, left, right, choice, *more)


def _selection(results: list, choices: Mapping[str, str]) -> tuple[str, str]:
    """Return the choice (left, right or cant_tell) and the criterion, from a Choices tag named `criterion`."""
    found, criterion = set(), ""
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            continue
        if result.get("type") == "pairwise":
            found.add(value.get("selected"))
        elif result.get("type") == "choices" and isinstance(value.get("choices"), list):
            named = [str(name) for name in value["choices"]]
            if result.get("from_name") == "criterion":
                criterion = ",".join(named).lower()
            else:
                found |= {choices.get(name, name) for name in named}
    if not found:
        raise _UnusableError("no_answer", "nothing is selected")
    if len(found) > 1 or not found <= set(SIDES):
        values = ", ".join(sorted(map(str, found)))
        raise _UnusableError(
            "unknown_choice",
            f"its selection is {values}, not one of {', '.join(SIDES)}; map values with --choice VALUE=SIDE",
        )
    return str(found.pop()), criterion


def _images(pair: Any, left: Any, right: Any) -> tuple[int | None, str, str]:
    """Return the pair's id or None, and both images' sha256 or empty strings. At least one of them is known."""
    number = None
    if pair not in (None, ""):
        if not str(pair).isdecimal() or int(pair) >= 2**63:
            raise _UnusableError("unknown_pair", "its pair is not a valid id")
        number = int(pair)
    found = [SHA256.findall(str(name).lower()) for name in (left, right)]
    if all(found):
        return number, found[0][-1], found[1][-1]
    if number is None:
        raise _UnusableError(
            "unknown_image", "it has neither a pair nor two file names that contain a sha256, as exported images have"
        )
    return number, "", ""


def _criterion(text: str) -> str:
    if text and text not in Criterion.values:
        raise _UnusableError("unknown_criterion", f"its criterion is not one of {', '.join(Criterion.values)}")
    return text


def _seconds(value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise _UnusableError("bad_number", "its seconds are not a number of 0 or more")
    return seconds


def _time(value: Any) -> datetime | None:
    if value in (None, ""):
        return None
    try:
        at = datetime.fromisoformat(str(value))
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _UnusableError("bad_time", "its time is not in ISO 8601") from None
