"""The weights folder: which pretrained files are there, how to fetch them, and whether they are whole.

Files of a repository on the Hugging Face hub come through its own client, which knows the address (``HF_ENDPOINT``,
``HF_HUB_OFFLINE``, ``HTTPS_PROXY``); their sizes and hashes are those that the hub publishes. Other files come from an
address or a file that the operator names. What was fetched is recorded in ``fetched.json`` in the folder.
"""

import fnmatch
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardlab import assets
from rewardlab.assets import ASSETS, Asset
from rewardlab.downloads import (
    DownloadError,
    OnProgress,
    copy,
    download,
    one_at_a_time,
    put_in_place,
    require_space,
)
from rewardlab.files import sha256_of, write_atomic

RECORD = "fetched.json"
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".pkl", ".npz")


@dataclass(frozen=True)
class Found:
    """An asset on this machine. path: None if it is missing; is_packaged: it is part of an installed package."""

    asset: Asset
    path: Path | None
    is_packaged: bool
    size: int | None

    @property
    def place(self) -> str:
        return "missing" if self.path is None else "package" if self.is_packaged else "weights folder"


def known(name: str) -> Asset:
    """Return the asset. Raises `DownloadError` for an unknown name."""
    if name not in ASSETS:
        raise DownloadError(f"No file is called {name}. `manage.py weights list` shows the names.")
    return ASSETS[name]


def inventory() -> list[Found]:
    """List all assets with what is on this machine."""
    found = []
    for name, asset in ASSETS.items():
        path = assets.find(name) if assets.is_available(name) else None
        is_packaged = path is not None and path != assets.weights_folder() / asset.file
        found.append(Found(asset, path, is_packaged, _size(path) if path else asset.size))
    return found


def fetch(
    asset: Asset,
    *,
    source: str = "",
    sha256: str = "",
    on_progress: OnProgress = lambda done, total: None,
) -> Path:
    """Fetch an asset into the weights folder and return its path.

    source: an https:// address or a file, in place of the asset's own source. sha256: of the file, if it is known.
    Raises `DownloadError`; an existing file is kept until the new one is complete and verified.
    """
    target = assets.weights_folder() / asset.file
    if sha256 and asset.sha256 and not sha256.lower().startswith(asset.sha256):
        raise DownloadError(f"--sha256 {sha256} is not that of {asset.name}, which is {asset.sha256}.")
    expected = sha256 or asset.sha256

    def inspect(path: Path) -> None:
        header(path, target)

    try:
        if source:
            if asset.hub_parts or (Path(source).is_dir() and "://" not in source):
                raise DownloadError(f"{asset.name} is a folder: copy it to {target}, or fetch it without --from.")
            size = asset.size if asset.sha256 else None
            if "://" in source:
                digest = download(source, target, size=size, sha256=expected, inspect=inspect, on_progress=on_progress)
            else:
                digest = copy(Path(source).expanduser(), target, size=size, sha256=expected, inspect=inspect)
        elif asset.hub:
            digest = _fetch_from_hub(asset, target, expected)
        elif asset.module:
            raise DownloadError(f"{asset.name} is part of a package: {asset.remedy}")
        else:
            raise DownloadError(
                f"The address of {asset.file} is not part of this project. Find it in {asset.source}, then pass it: "
                f"manage.py weights fetch {asset.name} --from ADDRESS_OR_FILE"
            )
    except OSError as error:
        raise DownloadError(
            f"{target} cannot be written: {error.strerror or error}. Make the folder writable, fetch into another one "
            "(REWARDLAB_WEIGHTS), or copy the file there from a machine that has it."
        ) from error
    _record(asset, digest, source or f"hub: {asset.hub}")
    return target


def check(found: Found) -> str:
    """Verify size, hash and header of a file on this machine. Return what was verified, or raise `DownloadError`."""
    asset, path = found.asset, found.path
    if path is None:
        raise DownloadError(f"missing. {asset.remedy}")
    if path.is_dir():
        return _check_folder(path)
    if not found.size:
        raise DownloadError(f"{path} is empty. Fetch it again.")
    recorded = _records().get(asset.file, {}) if not found.is_packaged else {}
    expected, verified = asset.sha256 or str(recorded.get("sha256", "")), []
    if asset.size and asset.sha256 and found.size != asset.size:
        raise DownloadError(f"{path} has {found.size:,} bytes instead of {asset.size:,}. Fetch it again.")
    if expected:
        digest = sha256_of(path)
        if not digest.startswith(expected):
            raise DownloadError(f"{path} has the sha256 {digest}, not {expected}. Fetch it again.")
        verified.append("sha256" if len(expected) == len(digest) else f"the first {len(expected)} digits of the sha256")
    verified.append(f"header ({header(path)})")
    return ", ".join(verified) + ("" if expected else "; no hash is known")


def header(path: Path, named: Path | None = None) -> str:
    """Return the format that the first bytes of a file show. Raises `DownloadError` for a damaged or foreign file.

    named: the path that the file is to have, if it is not yet there.
    """
    suffix = (named or path).suffix
    with path.open("rb") as file:
        first = file.read(512)
    if suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as tensors:
                return f"safetensors, {len(tensors.keys())} tensors"
        except SafetensorError as error:
            raise DownloadError(f"{path} is damaged or truncated ({error}). Fetch it again.") from error
    if first.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return f"archive, {len(archive.namelist())} entries"
        except zipfile.BadZipFile as error:
            raise DownloadError(f"{path} is truncated ({error}). Fetch it again.") from error
    if first.lstrip()[:1] == b"<":
        raise DownloadError(f"{path} is a web page, not weights: the address led to a page. Fetch it again.")
    if first.startswith(b"version https://git-lfs"):
        raise DownloadError(f"{path} is a pointer of Git LFS, not the file itself. Fetch it again.")
    if first.startswith(b"\x80"):
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"." and suffix in (".ckpt", ".pkl") and b"torch" not in first:
                raise DownloadError(f"{path} is truncated: its pickle has no end. Fetch it again.")
        return "pickle"
    if suffix in CHECKPOINTS:
        raise DownloadError(f"{path} is not a checkpoint: neither an archive nor a pickle. Fetch it again.")
    return {".onnx": "ONNX", ".dat": "dlib", ".bin": "ncnn"}.get(suffix, "unknown format")


def _check_folder(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise DownloadError(f"{path} is empty. Fetch it again.")
    opened = [header(file) for file in files if file.suffix in (".safetensors", ".bin", ".ckpt")]
    return f"{len(files)} files, {len(opened)} with weights, whose headers can be read"


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _fetch_from_hub(asset: Asset, target: Path, sha256: str) -> str:
    """Fetch a file or the parts of a folder with the hub's client, which resumes. Return the sha256 of a file."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    endpoint = os.environ.get("HF_ENDPOINT")
    unfinished = target.with_name(f"{target.name}.hub")
    with one_at_a_time(target):
        try:
            about = HfApi(endpoint=endpoint).model_info(asset.hub, files_metadata=True)
            wanted = _wanted(asset, about.siblings or [])
            for part in wanted:
                require_space(target.parent, part.size or 0)
                path = Path(
                    hf_hub_download(
                        asset.hub, part.rfilename, revision=about.sha, local_dir=unfinished, endpoint=endpoint
                    )
                )
                _verify(path, part)
        except OfflineModeIsEnabled as error:
            raise DownloadError(
                f"HF_HUB_OFFLINE is set, so {asset.hub} is not asked. Unset it, or pass a copy with --from FILE."
            ) from error
        except HfHubHTTPError as error:
            raise DownloadError(
                f"The hub refused {asset.hub} ({str(error).splitlines()[0]}). Check the network and HTTPS_PROXY; or "
                "download the file elsewhere and pass it with --from FILE."
            ) from error
        except (LocalEntryNotFoundError, ConnectionError) as error:
            raise DownloadError(_unreachable(asset, error)) from error
        except Exception as error:  # of the client's network library, whose classes vary with its version
            if isinstance(error, DownloadError | OSError):
                raise
            raise DownloadError(_unreachable(asset, error)) from error
        if not asset.hub_parts:
            return put_in_place(
                unfinished / wanted[0].rfilename, target, sha256=sha256, cleanup=lambda: shutil.rmtree(unfinished)
            )
        shutil.rmtree(unfinished / ".cache", ignore_errors=True)
        if target.exists():
            shutil.rmtree(target)
        unfinished.replace(target)
        return ""


def _unreachable(asset: Asset, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"The hub's repository {asset.hub} cannot be reached ({reason}). What has arrived is kept: run the same "
        "command again. Check the network and HTTPS_PROXY, or pass a copy with --from FILE."
    )


def _wanted(asset: Asset, siblings: list[Any]) -> list[Any]:
    patterns = asset.hub_parts or (asset.hub_file or asset.file,)
    wanted = [one for one in siblings if any(fnmatch.fnmatch(one.rfilename, pattern) for pattern in patterns)]
    missing = [pattern for pattern in patterns if not any(fnmatch.fnmatch(one.rfilename, pattern) for one in wanted)]
    if missing:
        raise DownloadError(
            f"The hub's repository {asset.hub} has no {', '.join(missing)} any more. Get it from another source "
            f"and pass it with --from."
        )
    return wanted


def _verify(path: Path, published: Any) -> None:
    """Compare a file with the size and hash that the hub publishes. Raises `DownloadError` after deleting it."""
    size, lfs = path.stat().st_size, published.lfs
    wanted = lfs["sha256"] if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
    if published.size not in (None, size) or (wanted and sha256_of(path) != wanted):
        path.unlink()
        raise DownloadError(
            f"{published.rfilename} arrived with another content than the hub states ({size:,} bytes). It was deleted: "
            "run the same command again."
        )


def _records() -> dict[str, Any]:
    path = assets.weights_folder() / RECORD
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{path} cannot be read ({error}). Delete it; files are then checked without it."
        ) from error
    return stored if isinstance(stored, dict) else {}


def _record(asset: Asset, sha256: str, source: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"sha256": sha256, "source": source, "licence": asset.licence, "at": now}
    known_files = _records() | {asset.file: entry}
    write_atomic(assets.weights_folder() / RECORD, json.dumps(known_files, indent=2).encode())
