"""The check of an upload: unpack archives, decode every picture, and keep what `ingest` can use.

It works in a folder of its own and takes the result into use in one step, so it may be killed and run again.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from annotate.common.large_bodies import free_bytes
from annotate.models import Upload
from annotate.uploads import quarantine, report
from annotate.uploads.file_names import BadName, is_of_system, safe_path
from annotate.uploads.limits import MEGA, Limits, limits
from annotate.uploads.report import ACCEPTED, REFUSED, SKIPPED, Row
from annotate.uploads.zip_members import BadArchive, BadMember, Member, members, open_archive
from rewardlab import images
from rewardlab.text_files import TextError, read_text

PICTURE_BYTES = 500 * MEGA  # of one file: 64 megapixels of 16-bit colour, uncompressed
CAPTION_BYTES = 100_000
CAPTION = ".txt"
MOST_ARCHIVES = 50
TOUCH_SECONDS = 1.0
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
ARCHIVE_STARTS = (*ZIP_STARTS, b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
State = Upload.State


class Stopped(Exception):
    """The upload as a whole is refused. Its text is one of `report.ERRORS`."""


@dataclass(frozen=True)
class Entry:
    """A file to check. place: writes its content to a path. fault: why it is refused before that."""

    name: str
    size: int
    place: Callable[[Path], None]
    fault: str = ""

    @property
    def is_caption(self) -> bool:
        return self.name.lower().endswith(CAPTION)


def check(pk: int) -> bool:
    """Check an upload that was received. Return whether some of it was accepted."""
    upload = Upload.objects.filter(pk=pk, state=State.CHECKING).first()
    if upload is None:
        return False  # deleted, or checked by an earlier attempt
    if not upload.quarantine.is_dir():
        return _refuse(upload, "missing")
    work = upload.quarantine.with_name(f"{upload.name}.{secrets.token_hex(4)}")
    work.mkdir()
    try:
        checked = Check(upload, work, limits())
        try:
            checked.run()
        except Stopped as stopped:
            return _refuse(upload, str(stopped), checked.rows)
        if not checked.photographs:
            return _refuse(upload, "nothing", checked.rows)
        return _accept(upload, checked)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class Check:
    """One attempt. rows: the outcome of each file. accepted: their paths."""

    def __init__(self, upload: Upload, work: Path, limits: Limits) -> None:
        self.upload, self.work, self.limits = upload, work, limits
        self.rows: list[Row] = []
        self.accepted: dict[str, str] = {}  # path without regard to case -> path
        self.stems: set[str] = set()  # of the accepted photographs: their paths without suffixes
        self.photographs = self.captions = self.done = self.archives = 0
        self.touched = 0.0

    def run(self) -> None:
        """Check all files, captions last. Raises `Stopped`."""
        with ExitStack() as opened:
            entries = self._entries(opened)
            Upload.objects.filter(pk=self.upload.pk).update(total=len(entries))
            self._check_all(entry for entry in entries if not entry.is_caption)
            self.stems = {path.rpartition(".")[0] for path in self.accepted.values()}
            self._check_all(entry for entry in entries if entry.is_caption)

    def _check_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._touch()
            self._check(entry)
            self.done += 1

    def _entries(self, opened: ExitStack) -> list[Entry]:
        """List the files, those of archives by their members. Raises `Stopped`."""
        found: list[Entry] = []
        unpacked = 0
        for one in quarantine.received(self.upload):
            if one.is_complete and _starts(one.path).startswith(ZIP_STARTS):
                for entry in self._of_archive(one, opened):
                    found.append(entry)
                    unpacked += entry.size if not entry.fault else 0
                    self._require(found, unpacked)
            else:
                size = one.path.stat().st_size if one.is_complete else 0
                found.append(Entry(one.name, size, _link_from(one.path), "" if one.is_complete else "incomplete"))
                unpacked += size
                self._require(found, unpacked)
        return found

    def _require(self, found: list[Entry], unpacked: int) -> None:
        if len(found) > self.limits.files:
            raise Stopped("too_many")
        if unpacked > self.limits.unpacked:
            raise Stopped("unpacked")

    def _of_archive(self, one: quarantine.Received, opened: ExitStack) -> Iterator[Entry]:
        self.archives += 1
        if self.archives > MOST_ARCHIVES:  # each stays open
            self._add(one.name, REFUSED, "archives")
            return
        try:
            archive = opened.enter_context(open_archive(one.path, most_members=self.limits.files))
        except BadArchive as error:
            self._add(one.name, REFUSED, str(error))
            return
        for member in members(archive, ratio=self.limits.ratio):
            yield Entry(member.name, member.size, _unpack_from(member), member.fault)

    def _check(self, entry: Entry) -> None:
        """Accept the file, or say why not."""
        if is_of_system(entry.name):
            self._add(entry.name, SKIPPED, "system")
            return
        try:
            if entry.fault:
                raise BadName(entry.fault)
            path = safe_path(entry.name)
            if self._is_taken(path):
                raise BadName("duplicate")
        except BadName as error:
            self._add(entry.name, REFUSED, str(error))
            return
        if fault := self._accept(entry, path):
            self._add(entry.name, REFUSED, fault)
            return
        self.accepted[path.casefold()] = path
        self._add(path, ACCEPTED)
        if entry.is_caption:
            self.captions += 1
        else:
            self.photographs += 1

    def _is_taken(self, path: str) -> bool:
        """Return whether a file has this path, or a file has the path of one of its folders, or the other way round."""
        key = path.casefold()
        above = key.split("/")
        return (
            key in self.accepted
            or any("/".join(above[:depth]) in self.accepted for depth in range(1, len(above)))
            or (self.work / path).is_dir()
        )

    def _accept(self, entry: Entry, path: str) -> str:
        """Write the file into the work folder if it can be used; else return why not."""
        if entry.is_caption and (fault := self._caption_fault(entry, path)):
            return fault
        if entry.size > PICTURE_BYTES:
            return "heavy"
        if entry.size > free_bytes():
            raise Stopped("disk")
        target = self.work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            entry.place(target)
            fault = _text_fault(target) if entry.is_caption else _picture_fault(target, self.limits.pixels)
        except BadMember as error:
            fault = str(error)
        if fault:
            target.unlink(missing_ok=True)
        return fault

    def _caption_fault(self, entry: Entry, path: str) -> str:
        if entry.size > CAPTION_BYTES:
            return "bad_text"
        return "" if path[: -len(CAPTION)] in self.stems else "text_alone"

    def _add(self, name: str, outcome: str, reason: str = "") -> None:
        self.rows.append(Row(name, outcome, reason))

    def _touch(self) -> None:
        """Store how far the check is. Raises `Stopped` if the upload was deleted."""
        if time.monotonic() - self.touched < TOUCH_SECONDS:
            return
        self.touched = time.monotonic()
        checking = Upload.objects.filter(pk=self.upload.pk, state=State.CHECKING)
        if not checking.update(done=self.done, touched_at=timezone.now()):
            raise Stopped("deleted")


def _starts(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TAR_MAGIC_AT + len(TAR_MAGIC))


def _link_from(path: Path) -> Callable[[Path], None]:
    """Give the file a second name, so that an interrupted check can begin again without a copy of it."""

    def place(target: Path) -> None:
        try:
            os.link(path, target)
        except OSError:  # a file system without links
            shutil.copyfile(path, target)

    return place


def _unpack_from(member: Member) -> Callable[[Path], None]:
    def place(target: Path) -> None:
        with target.open("xb") as file:
            member.unpack(file)

    return place


def _picture_fault(path: Path, pixels: int) -> str:
    """Return why a file is not a picture that `ingest` can use; empty if it is one."""
    start = _starts(path)
    if start.startswith(ARCHIVE_STARTS) or start[TAR_MAGIC_AT:] == TAR_MAGIC:
        return "archive"
    try:
        images.decode_file(path, path.read_bytes(), pixels)
    except images.ImageError as error:
        return error.reason
    except MemoryError:
        return "bomb"
    return ""


def _text_fault(path: Path) -> str:
    try:
        read_text(path)
    except TextError:
        return "bad_text"
    return ""


def _refuse(upload: Upload, error: str, rows: list[Row] | None = None) -> bool:
    fields = {"state": State.REFUSED, "error": error, "total": None} | _counts(rows or [])
    if Upload.objects.filter(pk=upload.pk, state=State.CHECKING).update(**fields, touched_at=timezone.now()):
        report.write(upload, rows or [])
        shutil.rmtree(upload.quarantine, ignore_errors=True)
    return False


def _accept(upload: Upload, checked: Check) -> bool:
    """Take the checked files into use, unless another attempt has done so or the upload was deleted."""
    counts = {"photographs": checked.photographs, "captions": checked.captions} | _counts(checked.rows)
    report.write(upload, checked.rows)
    with transaction.atomic():
        checking = Upload.objects.filter(pk=upload.pk, state=State.CHECKING)
        if not checking.update(state=State.CHECKED, total=None, touched_at=timezone.now(), **counts):
            if not Upload.objects.filter(pk=upload.pk).exists():
                upload.report.unlink(missing_ok=True)
            return False
        upload.folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(upload.folder)
        checked.work.rename(upload.folder)
    shutil.rmtree(upload.quarantine, ignore_errors=True)
    return True


def _counts(rows: list[Row]) -> dict[str, int]:
    return {
        "refused": sum(row.outcome == REFUSED for row in rows),
        "skipped": sum(row.outcome == SKIPPED for row in rows),
    }
