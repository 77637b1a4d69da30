"""The weights files of a published restorer: where they are, and their hashes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refl.restorers.spec import RestorerSpec
from rewardlab import assets
from rewardlab.files import sha256_of

WEIGHTS = (".safetensors", ".bin")


def find_files(spec: RestorerSpec, weights: Path | None = None) -> dict[str, Path]:
    """Return the path of each asset of a restorer.

    weights: a file that replaces the first asset. Raises `MissingAsset` naming all that are missing.
    """
    found, missing = {}, []
    for number, name in enumerate(spec.assets):
        if weights is not None and number == 0:
            found[name] = weights
            continue
        try:
            found[name] = assets.find(name)
        except assets.MissingAsset as error:
            missing.append(str(error))
    if missing:
        raise assets.MissingAsset(" ".join([f"{spec.name} cannot be opened.", *missing]))
    return found


def recorded(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what a restorer records of its files: those of the first asset, and all by name and hash."""
    hashes = {name: {"file": path.name, "sha256": _sha256(path)} for name, path in files.items()}
    first, *others = hashes.values()
    entry: dict[str, Any] = {"weights_file": first["file"], "weights_sha256": first["sha256"]}
    if others:
        entry["weights"] = hashes
    return entry


def _sha256(path: Path) -> str:
    """Hash a file, or the weights in a folder with their names."""
    if path.is_file():
        return sha256_of(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.suffix in WEIGHTS and file.is_file():
            total.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
    return total.hexdigest()
