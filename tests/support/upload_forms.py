"""Forms with files as browsers send them, and zip archives, harmless and hostile."""

import io
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from rewardlab import assets

BOUNDARY = "----boundary-of-a-test"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def multipart(files: Iterable[tuple[str, bytes]], **fields: str) -> bytes:
    """Return the body of a form. Unlike Django's test client, it keeps the folders in the names of files."""
    parts = [_part(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [_part(f'name="files"; filename="{name}"', content) for name, content in files]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(disposition: str, content: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n"
    kind = "Content-Type: application/octet-stream\r\n" if "filename" in disposition else ""
    return f"{head}{kind}\r\n".encode() + content + b"\r\n"


def portraits(count: int) -> list[Path]:
    """Return photographs of the demo."""
    return sorted(assets.find("demo-faces").glob("*.jpg"))[:count]


def picture(colour: str = "red", size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def packed(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def encrypted(archive: bytes) -> bytes:
    """Set the flag of encryption of each member, in both places."""
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = archive.find(magic)
        while start >= 0:
            archive = archive[: start + at] + b"\x01" + archive[start + at + 1 :]
            start = archive.find(magic, start + 4)
    return archive
