"""Answers in files: the columns of a table of answers, and what its cells mean.

Images are identified by the sha256 in their file names, which is the same in every installation, else pairs by their
number. Reasons for rows that cannot be imported contain no names of annotators.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import parse_qs, urlsplit

from annotate.common.sides import CANT_TELL, CHOICES, FIRST, SECOND, side_of
from annotate.models import Judgement
from annotate.models.campaigns import Criterion, Question
from rewardlab.table_cells import Column, Kind, shown
from rewardlab.table_reader import BadRow, Row, Table
from rewardlab.text_files import nfc

SHA256 = re.compile(r"[0-9a-f]{64}")
UPLOADED = re.compile(
    r"(?:[0-9a-f]{8}-)?([0-9a-f]{64})"
)  # Label Studio puts eight digits before an uploaded file's name
LOCAL_FILES = "/data/local-files"  # Label Studio's page for files of its own machine; `d` is the file's path
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
FIRST_SHOWN_LEFT = {FIRST: True, SECOND: False, "": True}

COLUMNS = (
    Column("annotator", Kind.NAME, required=True),
    Column("choice", required=True),
    Column("pair", Kind.COUNT),
    Column("first"),
    Column("second"),
    Column("left"),
    Column("criterion"),
    Column("seconds", Kind.NUMBER),
    Column("at", Kind.TIME),
    Column("simulated", Kind.FLAG),
    Column("question"),
    Column("answer_id"),
    Column("cant_tell_kind"),
    Column("note"),
)


@dataclass(frozen=True)
class ForeignAnswer:
    """One annotator's answer about two images.

    where: the file and the row or task, for messages.
    left, right: sha256, or empty if only `pair` identifies the images; then the pair's first image is the left one.
    choice: left, right or cant_tell.
    key: identifier of the answer in the installation that exported it.
    kind: both_good or both_bad, of a can't tell.
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
    simulated: bool = False
    key: uuid.UUID | None = None
    kind: str = ""
    note: str = ""


class UnusableError(ValueError):
    """The row or annotation cannot be imported."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class AnswerTable(Table):
    """Reader of rows of answers.

    source: name of the server, project or lab that the file is from. It tells annotator 1 of one server from annotator
    1 of another. zone: of times that state none.
    """

    def __init__(self, *, source: str = "", zone: tzinfo) -> None:
        super().__init__(COLUMNS, zone=zone)
        self.source = nfc(source.strip())

    def answer(self, row: Row | BadRow) -> ForeignAnswer | BadRow:
        """Interpret the cells of a row."""
        if isinstance(row, BadRow):
            return row
        try:
            return self._answer(row.where, row.values)
        except UnusableError as error:
            return BadRow(row.where, error.reason, str(error))

    def _answer(self, where: str, values: Mapping[str, Any]) -> ForeignAnswer:
        key = _answer_id(values["answer_id"])
        if key and values["question"] not in ("", Question.PREFERENCE):
            raise UnusableError("other_question", "it answers a question of a user study, which is not a preference")
        if values["left"].casefold() not in FIRST_SHOWN_LEFT:
            raise UnusableError("unknown_side", f"the column left is {shown(values['left'])}, not first or second")
        left_is_first = FIRST_SHOWN_LEFT[values["left"].casefold()]
        pair, first, second = _images(values["pair"], values["first"], values["second"])
        left, right = (first, second) if left_is_first else (second, first)
        choice = _choice(values["choice"])
        return ForeignAnswer(
            where=where,
            annotator=values["annotator"] if key else self._identity(values["annotator"]),
            pair=pair,
            left=left,
            right=right,
            choice=side_of(choice, left_is_first=left_is_first),
            criterion=_criterion(values["criterion"]),
            seconds=_seconds(values["seconds"]),
            at=values["at"],
            simulated=bool(values["simulated"]),
            key=key,
            kind=_kind(values["cant_tell_kind"], choice),
            note=_note(values["note"]),
        )

    def _identity(self, annotator: str) -> str:
        """Return what identifies the annotator in all files. A number identifies a person on one server only."""
        name = nfc(annotator)
        if EMAIL.fullmatch(name):
            return name
        if self.source:
            return f"{self.source}/{name}"
        if name.isdecimal():
            raise UnusableError(
                "unknown_server",
                "its annotator is a number, which is another person in another project: name the server, project or "
                "lab with --source-name, the same for all its files",
            )
        return name


def image_sha256(name: str) -> str:
    """Return the sha256 in an image's file name or address, or an empty string.

    It must be the name of the file, or the only folder of its path that is a sha256. The rest of an address is ignored,
    since signatures look alike.
    """
    try:
        address = urlsplit(name.strip().replace("\\", "/"))
    except ValueError:
        return ""
    path = address.path
    if path.rstrip("/").endswith(LOCAL_FILES):
        path = parse_qs(address.query).get("d", [""])[0]
    parts = path.casefold().rstrip("/").split("/")
    if found := UPLOADED.fullmatch(parts[-1].partition(".")[0]):
        return found[1]
    folders = [part for part in parts if SHA256.fullmatch(part)]
    return folders[0] if len(folders) == 1 else ""


def _answer_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        raise UnusableError("bad_answer_id", f"the column answer_id is {shown(text)}, not a UUID") from None


def _choice(text: str) -> str:
    if (choice := text.casefold()) not in CHOICES:
        raise UnusableError("unknown_choice", f"its choice is {shown(text)}, not one of {', '.join(CHOICES)}")
    return choice


def _images(pair: int | None, first: str, second: str) -> tuple[int | None, str, str]:
    """Return the pair's number, or both images' sha256, which identify a pair in every installation."""
    found = image_sha256(first), image_sha256(second)
    if all(found):
        return None, *found
    if pair is None:
        raise UnusableError(
            "unknown_image", "it has neither a pair nor two file names that are a sha256, as exported images have"
        )
    return pair, "", ""


def _criterion(text: str) -> str:
    if text and text.casefold() not in Criterion.values:
        raise UnusableError("unknown_criterion", f"its criterion is not one of {', '.join(Criterion.values)}")
    return text.casefold()


def _kind(text: str, choice: str) -> str:
    kinds = Judgement.CantTellKind.values
    if text and text.casefold() not in kinds:
        raise UnusableError("unknown_kind", f"its cant_tell_kind is {shown(text)}, not one of {', '.join(kinds)}")
    if text and choice != CANT_TELL:
        raise UnusableError("unknown_kind", f"its choice is {choice}, but only cant_tell has a cant_tell_kind")
    return text.casefold()


def _note(text: str) -> str:
    longest = Judgement._meta.get_field("note").max_length or 0
    if len(text) > longest:
        raise UnusableError("long_note", f"its note has {len(text)} characters; the longest has {longest}")
    return text


def _seconds(value: float | None) -> float | None:
    if value is not None and value < 0:
        raise UnusableError("bad_number", "its seconds are less than 0")
    return value
