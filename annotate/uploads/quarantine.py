"""What is received from browsers: files in a private folder, under numbers instead of the names that clients chose.

Nothing reads this folder but the check. `000007` is the content of the file with number 7, `000007.json` its name and
its size. A file may come in slices, and a slice may come twice.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.models import Upload, User
from annotate.uploads.limits import MEGA, limits, require_bytes, require_files, require_space

CHUNK = 1 << 20
LONGEST_NAME = 2000  # characters of a name with its folders, as it was sent
State = Upload.State


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Received:
    """A file in quarantine. is_complete: all of it has arrived."""

    path: Path
    name: str
    is_complete: bool


def begin(*, uploader: User, files: int = 0, size: int = 0) -> Upload:
    """Store a new upload with an empty folder. files, size: as announced, to refuse early. Raises `Refused`."""
    if not settings.UPLOAD_MB:
        raise Refused("uploads_off", _("The operator has switched uploads off (UPLOAD_MB)."))
    require_files(files)
    require_bytes(size)
    require_space(2 * size)  # an archive needs space for its content too
    upload = Upload.objects.create(uploader=uploader, files=files)
    remove_files(upload)  # of an upload of this number before an older backup was recovered
    upload.quarantine.mkdir(parents=True)
    return upload


class FormReceiver:
    """Writes the files of one form, one after the other, as they are parsed."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.files = self.bytes = 0
        self.file: IO[bytes] | None = None
        self.refusal: Refused | None = None

    def open(self, name: str) -> None:
        require_files(self.files + 1)
        self.name, self.size = name, 0
        self.file = _content(self.upload, self.files).open("xb")
        self.files += 1

    def write(self, data: bytes) -> None:
        require_bytes(self.bytes + len(data))
        if self.bytes // (64 * MEGA) != (self.bytes + len(data)) // (64 * MEGA):
            require_space(len(data))
        if self.file:
            self.file.write(data)
        self.size += len(data)
        self.bytes += len(data)

    def complete(self) -> None:
        self.close()
        _write_name(self.upload, self.files - 1, self.name, self.size)

    def close(self) -> None:
        if self.file:
            self.file.close()

    def store(self) -> None:
        """Store how much has arrived. Raises `Refused` if it is nothing, or too much."""
        if self.refusal:
            raise self.refusal
        if not self.files:
            raise Refused("no_files", _("Choose photographs, a folder or a zip archive first."))
        self.upload.files, self.upload.bytes = self.files, self.bytes
        self.upload.save(update_fields=["files", "bytes"])


@dataclass(frozen=True)
class Slice:
    """A part of a file. number: of the file in its upload. size: of the whole file."""

    number: int
    name: str
    size: int
    offset: int
    length: int


def add_slice(upload: Upload, part: Slice, stream: Readable) -> int:
    """Write a part of a file, and return how much of the file is there.

    The next part has to begin there: a client that lost the connection asks with an empty part. Raises `Refused`.
    """
    if upload.state != State.RECEIVING:
        raise _ended()
    wrong = part.number >= upload.files or part.offset + part.length > part.size or len(part.name) > LONGEST_NAME
    if wrong:
        raise Refused("malformed", _("The parts of the file do not fit together. Send the upload again."))
    path = _content(upload, part.number)
    there = path.stat().st_size if path.exists() else 0
    if part.offset > there or (part.length == 0 and part.size > 0):
        return there
    grows = max(0, part.offset + part.length - there)
    require_space(grows)
    limit = limits().bytes
    receiving = Upload.objects.filter(pk=upload.pk, state=State.RECEIVING, bytes__lte=limit - grows)
    if not receiving.update(bytes=F("bytes") + grows, touched_at=timezone.now()):
        if Upload.objects.filter(pk=upload.pk, state=State.RECEIVING).exists():
            require_bytes(limit + 1)
        raise _ended()
    try:
        return _write_slice(upload, part, path, stream)
    except FileNotFoundError:  # deleted in this moment
        raise _ended() from None


def _ended() -> Refused:
    return Refused("not_receiving", _("This upload has ended already."))


def _write_slice(upload: Upload, part: Slice, path: Path, stream: Readable) -> int:
    if part.offset == 0:
        _write_name(upload, part.number, part.name, part.size)
    with path.open("r+b" if path.exists() else "xb") as file:
        file.seek(part.offset)
        left = part.length
        while left and (data := stream.read(min(CHUNK, left))):
            file.write(data)
            left -= len(data)
    return path.stat().st_size


def finish(upload: Upload, *, user: User) -> None:
    """End the receipt, and let the worker check what arrived. Raises `Refused` if files are missing."""
    arrived = sum(1 for path in upload.quarantine.iterdir() if path.suffix == ".json")
    if arrived != upload.files:
        raise Refused(
            "incomplete",
            _("%(n)s of %(total)s files have arrived. Send the upload again.") % {"n": arrived, "total": upload.files},
        )
    with transaction.atomic():
        receiving = Upload.objects.filter(pk=upload.pk, state=State.RECEIVING)
        if not receiving.update(state=State.CHECKING, touched_at=timezone.now()):
            return  # a repeated request
        audit_log.record(actor=user, action="upload", target=str(upload), files=upload.files)
        request_check(upload)


def request_check(upload: Upload) -> None:
    """Queue the check. The database broker shares the transaction; Redis receives the task after the commit."""

    def enqueue() -> None:
        async_task("annotate.tasks.check_upload", upload.pk, group="uploads", task_name=f"check upload {upload.pk}")

    if settings.BROKER_URL:
        transaction.on_commit(enqueue)
    else:
        enqueue()


def received(upload: Upload) -> Iterator[Received]:
    """Yield the files of an upload in the order of their numbers."""
    for described in sorted(upload.quarantine.glob("*.json")):
        known = json.loads(described.read_text())
        path = described.with_suffix("")
        is_complete = path.exists() and path.stat().st_size == known["size"]
        yield Received(path, known["name"], is_complete)


def discard(upload: Upload) -> None:
    """Delete the row and all files of an upload."""
    Upload.objects.filter(pk=upload.pk).delete()
    remove_files(upload)


def remove_files(upload: Upload) -> None:
    for folder in (upload.quarantine, upload.folder):
        shutil.rmtree(folder, ignore_errors=True)
    upload.report.unlink(missing_ok=True)


def _content(upload: Upload, number: int) -> Path:
    return upload.quarantine / f"{number:06d}"


def _write_name(upload: Upload, number: int, name: str, size: int) -> None:
    described = json.dumps({"name": name, "size": size})
    _content(upload, number).with_suffix(".json").write_text(described)
