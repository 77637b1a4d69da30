"""Files and runs that a run starts from: recorded by name and sha256, and found again on any machine.

In config.json, `start` maps a role to a name, and ROLE_sha256 to the hash of the content. Paths of this machine are
kept next to the run's folder (`Run.places`), so they are not copied with it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rewardlab import assets
from rewardlab.assets import MissingAsset
from rewardlab.files import sha256_of
from rewardlab.training.runs import Run

Contents = Callable[[Path], Iterable[Path]]


def content_sha256(path: Path, contents: Contents | None = None) -> str:
    """Return the sha256 of a file, or of the names and hashes of a folder's files.

    contents: lists the files of a folder that count; by default its safetensors files.
    """
    if path.is_file():
        return sha256_of(path)
    files = contents(path) if contents else path.rglob("*.safetensors")
    lines = sorted(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def recorded(role: str, path: Path, contents: Contents | None = None) -> dict[str, str]:
    """Return the entries of `start` for an input."""
    return {role: path.name, f"{role}_sha256": content_sha256(path, contents)}


def locate(run: Run, start: Mapping[str, str], role: str, *, asset: str = "", contents: Contents | None = None) -> Path:
    """Return the path of an input on this machine, with the content that the run recorded.

    It is looked for where this machine had it, in the weights folder, and, if it is a run, next to `run`. asset: its
    name in `rewardlab.assets`, which says where to get it. Raises `MissingAsset` if it is not found, or if only another
    file of this name is.
    """
    wanted, name = start.get(f"{role}_sha256", ""), Path(start[role]).name
    places = [Path(place) for place in (run.places().get(role), start[role]) if place and Path(place).is_absolute()]
    places += [assets.weights_folder() / name, run.folder.parent / name]
    found = [place for place in dict.fromkeys(places) if place.exists()]
    for place in found:
        if not wanted or content_sha256(place, contents) == wanted:
            return place
    source = f" from {assets.ASSETS[asset].source}" if asset else ""
    if found:
        raise MissingAsset(
            f"{found[0]} is not the {role} from which {run.name} started: its sha256 is not {wanted}. Get that "
            f"version of {name}{source}, and put it into {assets.weights_folder()} (REWARDLAB_WEIGHTS), or name "
            "its folder with --weights-root when you train."
        )
    raise MissingAsset(
        f"{run.name} started from the {role} {name} (sha256 {wanted or 'not recorded'}), which is not on this machine. "
        f"Get it{source}, and put it into {assets.weights_folder() if asset else run.folder.parent}"
        f"{', or name its folder with --weights-root when you train' if asset else ''}."
    )
