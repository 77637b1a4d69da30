"""Atomic output files, and the statistics and metadata of an export."""

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from annotate.exchange.preference_rows import Source
from rewardlab.files import write_atomic
from rewardlab.manifest import PreferenceRow


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    path: the file or folder that was written.
    counts: split/origin -> rows. left_out: reason -> rows.
    sha256: of the file; empty if the output is a folder.
    """

    path: Path
    rows: int
    faces: int
    counts: dict[str, int]
    left_out: dict[str, int]
    sha256: str = ""


@dataclass
class Tally:
    """Statistics of the rows written so far. with_images: whether the images are part of the output."""

    form: str
    source: Source
    with_images: bool
    rows: int = 0
    faces: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    sha256: str = ""  # of the finished file; empty for a folder

    def count(self, row: PreferenceRow) -> None:
        self.rows += 1
        self.faces.add(row.face)
        self.counts[f"{row.split}/{row.origin}"] += 1

    def metadata(self) -> dict[str, Any]:
        """Return the provenance of the rows for JSON: the fields of a manifest's header, and more."""
        by_svm = any(name.endswith("/svm") for name in self.counts)
        return {
            "format": self.form,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "filters": self.source.filters,
            "consensus": self.source.consensus_result.details,
            **({"predictor": self.source.predictor} if by_svm else {}),
            "rows": self.rows,
            "faces": len(self.faces),
            "counts": dict(sorted(self.counts.items())),
            "left_out": dict(self.left_out),
            "with_images": self.with_images,
        }

    def exported(self, path: Path) -> Exported:
        counts = dict(sorted(self.counts.items()))
        return Exported(path, self.rows, len(self.faces), counts, dict(self.left_out), self.sha256)


class HashedFile(io.RawIOBase):
    """A new binary file that computes the sha256 of its content and is synced to disk when closed."""

    def __init__(self, path: Path) -> None:
        self.path, self.digest, self.file = path, hashlib.sha256(), path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        if not self.closed:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
        super().close()

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `target` once it is complete."""
    unfinished, former = (target.with_name(f"{target.name}.{state}") for state in ("part", "old"))
    for leftover in (unfinished, former):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    if target.exists():
        target.replace(former)
    unfinished.replace(target)
    shutil.rmtree(former, ignore_errors=True)


@contextmanager
def text_file(target: Path, tally: Tally) -> Iterator[IO[str]]:
    """Open a text file that appears under its name once complete, after its NAME.meta.json has been written."""
    unfinished = HashedFile(target.with_name(target.name + ".part"))
    with io.TextIOWrapper(io.BufferedWriter(unfinished, 1 << 20), encoding="utf-8", newline="") as text:
        yield text
    tally.sha256 = unfinished.sha256
    metadata = tally.metadata() | {"sha256": tally.sha256}
    write_atomic(target.with_name(f"{target.stem}.meta.json"), json.dumps(metadata, indent=2).encode() + b"\n")
    unfinished.path.replace(target)
