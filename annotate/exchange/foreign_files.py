"""Answers from other tools' files, read one by one: Label Studio's JSON of a pairwise project, and CSV.

What a row or task lacks comes out as `Unusable`, in words without anybody's name; a file that is not what it should be
raises `ImportFileError`. Images are known by the sha256 in their file names, pairs by the number that exports give.
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
    """The file is not of the format that was said."""


@dataclass(frozen=True)
class ForeignAnswer:
    """Who prefers which of two images. left, right: sha256, or empty if only `pair` names them; then the pair's first
    image is the left one. choice: left, right or cant_tell."""

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
    where: str
    reason: str
    detail: str


class _Lacking(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class LabelStudio:
    """How to read a project. choices: value of a Choices tag -> left, right or cant_tell. keys: of the two images in a
    task's data; None: any of `KEYS`."""

    choices: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, str] | None = None


def read_csv(path: Path) -> Iterator[ForeignAnswer | Unusable]:
    """Columns: annotator, choice (first, second, cant_tell), and first and second (file names or sha256) or pair;
    optional: criterion, seconds, at (ISO 8601). The image in the column first counts as shown on the left."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            known = set(rows.fieldnames or ())
            if not {"annotator", "choice"} <= known or not ({"first", "second"} <= known or "pair" in known):
                raise ImportFileError(
                    "Its first line must name the columns annotator, choice, and first and second, or pair."
                )
            for row in rows:
                yield _usable(f"line {rows.line_num}", _csv_answer, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFileError(f"It is no CSV in UTF-8: {error}.") from error


def read_label_studio(path: Path, project: LabelStudio) -> Iterator[ForeignAnswer | Unusable]:
    """Every annotation of every task of an export as JSON: a Pairwise tag's result, or a Choices tag's."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, task in enumerate(_items(file), start=1):
                where = f"task {task.get('id', number)}"
                given = task.get("annotations", task.get("completions"))
                if given is None and "annotator" in task:
                    raise ImportFileError("It was exported as JSON-MIN; export it as JSON.")
                if not isinstance(given, list) or not isinstance(task.get("data"), dict):
                    yield Unusable(where, "no_task", "it has no data or no list of annotations")
                    continue
                for place, annotation in enumerate(given, start=1):
                    told = f"{where}, annotation {place}"
                    yield _usable(told, _label_studio_answer, task["data"], annotation, project)
    except UnicodeDecodeError as error:
        raise ImportFileError(f"It is not valid UTF-8: {error}.") from error


def _usable(where: str, read: Any, *args: Any) -> ForeignAnswer | Unusable:
    try:
        return read(where, *args)
    except _Lacking as error:
        return Unusable(where, error.reason, str(error))


def _items(file: IO[str]) -> Iterator[dict]:
    """The objects of a JSON list, without holding the list."""
    decoder, text, place, between = json.JSONDecoder(), "", 0, "["
    while True:
        ahead = re.compile(r"\s*").match(text, place)
        place = ahead.end() if ahead else place
        if text[place : place + 1] == "]" and between == ",":
            return
        try:
            if between and text[place : place + 1] == between:
                place, between = place + 1, ""
                continue
            if between:
                raise json.JSONDecodeError(f"“{between}” is missing", text, place)
            if text[place : place + 1] == "]":
                return
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            more = file.read(max(CHUNK, len(text) - place))
            if not more:
                raise ImportFileError(f"It is no JSON list of tasks ({error}). Export the project as JSON.") from error
            text, place = text[place:] + more, 0
            continue
        if not isinstance(item, dict):
            raise ImportFileError("It is no JSON list of tasks. Export the project as JSON.")
        yield item
        between = ","


def _csv_answer(where: str, row: dict[str, Any]) -> ForeignAnswer:
    def value(name: str) -> str:
        return (row.get(name) or "").strip()

    if not value("annotator"):
        raise _Lacking("no_annotator", "the column annotator is empty")
    if value("choice") not in CSV_CHOICES:
        raise _Lacking("unknown_choice", f"its choice is none of {', '.join(CSV_CHOICES)}")
    pair, left, right = _images(value("pair"), value("first"), value("second"))
    choice = CSV_CHOICES[value("choice")]
    more = (_criterion(value("criterion")), _seconds(value("seconds")), _time(value("at")))
    return ForeignAnswer(where, value("annotator"), pair, left, right, choice, *more)


def _label_studio_answer(where: str, data: dict, annotation: Any, project: LabelStudio) -> ForeignAnswer:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise _Lacking("no_answer", "it has no result")
    if annotation.get("was_cancelled"):
        raise _Lacking("skipped_there", "the annotator skipped it")
    annotator = annotation.get("completed_by")
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("id")
    if annotator in (None, ""):
        raise _Lacking("no_annotator", "its completed_by is empty")
    keys = [project.keys] if project.keys else KEYS
    left_key, right_key = next((pair for pair in keys if all(key in data for key in pair)), ("", ""))
    pair, left, right = _images(data.get("pair", ""), data.get(left_key, ""), data.get(right_key, ""))
    choice, criterion = _chosen(annotation["result"], project.choices)
    more = (_criterion(criterion), _seconds(annotation.get("lead_time")), _time(annotation.get("created_at")))
    return ForeignAnswer(where, str(annotator), pair, left, right, choice, *more)


def _chosen(results: list, choices: Mapping[str, str]) -> tuple[str, str]:
    """left, right or cant_tell; and the deciding rule, from a Choices tag that is called criterion."""
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
        raise _Lacking("no_answer", "nothing is selected")
    if len(found) > 1 or not found <= set(SIDES):
        told = ", ".join(sorted(map(str, found)))
        raise _Lacking("unknown_choice", f"it says {told}; map the values of a Choices tag with --choice VALUE=left")
    return str(found.pop()), criterion


def _images(pair: Any, left: Any, right: Any) -> tuple[int | None, str, str]:
    """Pair and the two sha256, of which one or the other is there."""
    number = None
    if pair not in (None, ""):
        if not str(pair).isdecimal() or int(pair) >= 2**63:
            raise _Lacking("unknown_pair", "its pair is not the number of a pair")
        number = int(pair)
    found = [SHA256.findall(str(name).lower()) for name in (left, right)]
    if all(found):
        return number, found[0][-1], found[1][-1]
    if number is None:
        raise _Lacking("unknown_image", "there is no pair, nor two file names with the sha256 of exported images")
    return number, "", ""


def _criterion(text: str) -> str:
    if text and text not in Criterion.values:
        raise _Lacking("unknown_criterion", f"its criterion is none of {', '.join(Criterion.values)}")
    return text


def _seconds(value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise _Lacking("bad_number", "its seconds are not a number of at least 0")
    return seconds


def _time(value: Any) -> datetime | None:
    if value in (None, ""):
        return None
    try:
        at = datetime.fromisoformat(str(value))
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _Lacking("bad_time", "its time is not written as ISO 8601") from None
