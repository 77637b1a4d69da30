"""Download of one file over HTTPS: resumed after an interruption, verified, and put into place as a whole.

The bytes are collected in FILE.part, with the address and the server's version of the file in FILE.part.json. Proxies
are taken from the environment (``HTTPS_PROXY``), as usual.
"""

import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from rewardlab.files import sha256_of, write_atomic

CHUNK = 1 << 20
SECONDS = 60  # without a byte from the server
WHOLE_HASH = 64  # hexadecimal digits

Inspect = Callable[[Path], object]
OnProgress = Callable[[int, int | None], None]  # bytes here, bytes in all (None: unknown)


class DownloadError(RuntimeError):
    """A file could not be fetched, or is not the right one. The message says what to do."""


class SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirections within a scheme: https never leads to http or to a file of this machine."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != urlsplit(req.full_url).scheme:
            raise DownloadError(
                f"{req.full_url} redirects to {newurl}, which has another scheme. Pass the address of the file itself."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class Part:
    """The unfinished file of a download, and what is known of its origin."""

    target: Path
    address: str

    @property
    def path(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def origin(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> str:
        """Return the server's version of the file that was begun; empty if it is unknown or of another address."""
        try:
            stored = json.loads(self.origin.read_text())
            return str(stored["version"]) if stored["address"] == self.address else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, version: str) -> None:
        self.path.unlink(missing_ok=True)
        write_atomic(self.origin, json.dumps({"address": self.address, "version": version}).encode())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def download(
    address: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str = "",
    inspect: Inspect = lambda path: None,
    on_progress: OnProgress = lambda done, total: None,
) -> str:
    """Fetch `address` to `target` and return the file's sha256. Call it again to resume.

    size, sha256: what is known of the file; the hash may be its first digits. inspect: raises `DownloadError` for a
    complete file that is not the right one. Plain http is accepted with a whole hash only.

    Raises `DownloadError`; `target` is then as before.
    """
    scheme = urlsplit(address).scheme
    if scheme not in ("https", "http"):
        raise DownloadError(f"{address} is not an address of a file. Pass one that begins with https://, or a file.")
    if scheme == "http" and len(sha256) != WHOLE_HASH:
        raise DownloadError(
            f"{address} is not encrypted, so the file could be replaced on its way. Use https://, or state --sha256."
        )
    with one_at_a_time(target):
        part = Part(target, address)
        _transfer(part, size, on_progress)
        return put_in_place(part.path, target, sha256=sha256, inspect=inspect, cleanup=part.remove)


def copy(
    source: Path,
    target: Path,
    *,
    size: int | None = None,
    sha256: str = "",
    inspect: Inspect = lambda path: None,
) -> str:
    """Copy a file of this machine to `target`, verified like a download. Return its sha256."""
    if not source.is_file():
        raise DownloadError(f"{source} is not a file. Pass the path of the file, or its https:// address.")
    if target.exists() and source.samefile(target):
        raise DownloadError(f"{source} is already in place.")
    found = source.stat().st_size
    _require_size(str(source), found, size)
    with one_at_a_time(target):
        require_space(target.parent, found)
        part = Part(target, str(source))
        try:
            shutil.copyfile(source, part.path)
        except OSError as error:
            part.remove()
            raise DownloadError(f"{source} could not be copied to {target.parent}: {error.strerror}.") from error
        return put_in_place(part.path, target, sha256=sha256, inspect=inspect, cleanup=part.remove)


def put_in_place(
    path: Path,
    target: Path,
    *,
    sha256: str = "",
    inspect: Inspect = lambda path: None,
    cleanup: Callable[[], None] = lambda: None,
) -> str:
    """Rename a complete file to `target` if its hash and content fit, and return the hash. Raises `DownloadError`."""
    found = sha256_of(path)
    if sha256 and not found.startswith(sha256.lower()):
        cleanup()
        raise DownloadError(
            f"The file for {target.name} has the sha256 {found}, not {sha256}, so it was not taken: it is damaged, or "
            "another version. Fetch it again, or from another source (--from)."
        )
    try:
        inspect(path)
    except DownloadError:
        cleanup()
        raise
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    path.replace(target)
    cleanup()
    return found


@contextmanager
def one_at_a_time(target: Path) -> Iterator[None]:
    """Lock a target, so that two commands do not write the same file. Raises `DownloadError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout as error:
        raise DownloadError(
            f"{target.name} is being fetched by another process: wait until it has finished."
        ) from error


def _transfer(part: Part, size: int | None, on_progress: OnProgress) -> None:
    """Complete the unfinished file."""
    have, version = part.size, part.version()
    if have and not version:  # the file may have changed since: without a version nobody could tell
        have = 0
    headers = {"User-Agent": "diffusionreward", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with _open(part.address, headers) as response:
        if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            if response.headers.get("Content-Range") == f"bytes */{have}":  # every byte is already here
                return
            part.remove()
            raise DownloadError(f"{part.address} has changed since its download began. Run the same command again.")
        resumed = response.status == http.client.PARTIAL_CONTENT and _starts_at(response, have)
        if not resumed:
            part.begin(_version(response))
            have = 0
        total = _total(response, have)
        if total is not None:
            _require_size(part.address, total, size, part.remove)
            require_space(part.target.parent, total - have)
        _receive(response, part, have, total, on_progress)
    _require_size(part.address, part.size, size, part.remove)


def _receive(response: IO[bytes], part: Part, have: int, total: int | None, on_progress: OnProgress) -> None:
    on_progress(have, total)
    try:
        with part.path.open("ab") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                on_progress(have, total)
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = str(error) or type(error).__name__
        raise DownloadError(f"The connection to {part.address} broke ({reason}). {_resume(part, total)}") from error
    except OSError as error:
        raise DownloadError(f"{part.path} cannot be written: {error.strerror}. {_resume(part, total)}") from error
    if total is not None and have < total:
        raise DownloadError(f"The connection to {part.address} ended early. {_resume(part, total)}")


def _resume(part: Part, total: int | None) -> str:
    of_all = f" of {total:,}" if total else ""
    return f"{part.size:,}{of_all} bytes are kept. Run the same command again to continue."


@contextmanager
def _open(address: str, headers: dict[str, str]) -> Iterator[Any]:
    """Yield the response, also one with status 416. Raises `DownloadError`."""
    opener = urllib.request.build_opener(SameScheme)
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the scheme was checked
    try:
        response = opener.open(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            with error:
                yield error
            return
        error.close()
        advice = {404: "Check the address", 401: "It needs an account", 403: "It needs an account, or is not public"}
        raise DownloadError(
            f"{address} answered {error.code} {error.reason}. {advice.get(error.code, 'Try again later')}, or pass "
            "another one with --from."
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", "") or error
        raise DownloadError(f"{address} cannot be reached ({reason}). Check the network and HTTPS_PROXY.") from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError(f"{address} answered with a web page instead of the file. Pass the file's own address.")
        yield response


def _version(response: Any) -> str:
    """Return what identifies the content for If-Range: a strong ETag, else the date of change, else nothing."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _starts_at(response: Any, start: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _total(response: Any, have: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _require_size(source: str, found: int, wanted: int | None, cleanup: Callable[[], None] = lambda: None) -> None:
    if wanted is not None and found != wanted:
        cleanup()
        raise DownloadError(f"{source} has {found:,} bytes, but the file has {wanted:,}. It is another file.")


def require_space(folder: Path, needed: int) -> None:
    """Raise `DownloadError` if the disk of `folder` has too little room."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{needed:,} bytes are needed in {folder}, but {free:,} are free. Make room, or set REWARDLAB_WEIGHTS to "
            "another folder."
        )
