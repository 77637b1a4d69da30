"""The outcome of a check: a row for each file, in a file beside the upload, and its reasons in words."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from annotate.models import Upload
from rewardlab.files import write_atomic

REFUSED, SKIPPED, ACCEPTED = "refused", "skipped", "accepted"
ORDER = (REFUSED, SKIPPED, ACCEPTED)

OUTCOMES = {REFUSED: _("refused"), SKIPPED: _("left out"), ACCEPTED: _("accepted")}
REASONS = {
    # of a picture, as `rewardlab.images.ImageError` names them
    "empty": _("The file is empty."),
    "unsupported": _("It is not an image in a supported format."),
    "corrupt": _("The image is damaged. Copy it again."),
    "truncated": _("The image is cut off. Copy it again."),
    "bomb": _("The image has more than %(megapixels)s megapixels. Downscale it first."),
    "animated": _("The image has several frames or pages. Save one of them as a file."),
    "heavy": _("The file is too large for one image."),
    # of a name
    "absolute": _("Its name is an absolute path."),
    "parent": _("Its name leads out of its folder (..)."),
    "bad_name": _("Its name is empty, too long or too deep, or contains characters that cannot be used. Rename it."),
    "hidden": _("It is hidden: its name begins with a dot."),
    "duplicate": _("Another file has this name, apart from upper and lower case. Rename one."),
    # of a member of an archive, or of an archive
    "link": _("It is a link or a special file. Pack the file itself."),
    "encrypted": _("It is encrypted. Pack it without a password."),
    "method": _("It is packed by an unusual method. Pack it as a usual zip."),
    "ratio": _("It unpacks to more than %(ratio)s times its size, as a zip bomb does."),
    "archive": _("It is an archive. Only zip archives are unpacked, and none inside another."),
    "archives": _("There are too many archives in one upload. Pack the photographs into one."),
    "zip_damaged": _("The archive is damaged at this file. Pack it again."),
    "zip_broken": _("The zip archive is damaged or cut off. Pack it again."),
    "zip_directory": _("The zip archive has too many files. Divide it."),
    # of a caption
    "text_alone": _("It is a text file, but no accepted photograph beside it has this name."),
    "bad_text": _("The caption is not valid UTF-8 text, or too long."),
    # of the upload
    "incomplete": _("It did not arrive completely. Send it again."),
    "system": _("It was made by an operating system and is not a photograph."),
}
ERRORS = {
    "too_many": _("It has more than %(files)s files. Divide it."),
    "unpacked": _("It unpacks to more than %(unpacked)s MB. Divide it."),
    "disk": _("The server has no space to unpack it. Ask the operator for more, then send it again."),
    "nothing": _("None of its files can be used."),
    "missing": _(
        "Its files are not on the machine that checks uploads. Ask the operator: all machines need one UPLOAD_ROOT."
    ),
}


@dataclass(frozen=True)
class Row:
    name: str
    outcome: str
    reason: str = ""

    @property
    def reason_in_words(self) -> str:
        return in_words(self.reason) if self.reason else ""

    @property
    def outcome_in_words(self) -> str:
        return str(OUTCOMES.get(self.outcome, self.outcome))


def in_words(reason: str) -> str:
    message = REASONS.get(reason) or ERRORS.get(reason)
    values = {
        "megapixels": settings.UPLOAD_MEGAPIXELS,
        "ratio": settings.UPLOAD_ZIP_RATIO,
        "files": f"{settings.UPLOAD_FILES:,}",
        "unpacked": f"{settings.UPLOAD_UNPACKED_MB:,}",
    }
    return str(message) % values if message else reason


def write(upload: Upload, rows: Iterable[Row]) -> None:
    """Write the rows, refused files first."""
    ordered = sorted(rows, key=lambda row: (ORDER.index(row.outcome), row.reason, row.name))
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in ordered)
    write_atomic(upload.report, lines.encode())


def read(upload: Upload) -> list[Row]:
    """Return the rows; none if the report was deleted or is on another machine."""
    try:
        return [Row(**json.loads(line)) for line in upload.report.read_text().splitlines()]
    except OSError:
        return []


def counts(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """Count the refused and skipped files by reason."""
    found = Counter(row.reason for row in rows if row.reason)
    return [(in_words(reason), count) for reason, count in found.most_common()]
