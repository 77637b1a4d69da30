"""What all exports share: files that are there whole or not at all, and the account of what went into them."""

import hashlib
import io
import json
import os
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
    """What was written where. counts: split/origin -> rows. left_out: reason -> rows. sha256: of the file, if it is
    one."""

    path: Path
    rows: int
    faces: int
    counts: dict[str, int]
    left_out: dict[str, int]
    sha256: str = ""


@dataclass
class Tally:
    """Counts while rows are written. `shows_images`: whether the images are among the output."""

    form: str
    source: Source
    shows_images: bool
    rows: int = 0
    faces: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    sha256: str = ""  # of the file when it is whole, if it is one

    def count(self, row: PreferenceRow) -> None:
        self.rows += 1
        self.faces.add(row.face)
        self.counts[f"{row.split}/{row.origin}"] += 1

    def metadata(self) -> dict[str, Any]:
        """How the rows came about, as JSON: what a manifest's header tells, and more."""
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
            "with_images": self.shows_images,
        }

    def exported(self, path: Path) -> Exported:
        counts = dict(sorted(self.counts.items()))
        return Exported(path, self.rows, len(self.faces), counts, dict(self.left_out), self.sha256)


class HashedFile(io.RawIOBase):
    """A new file and the sha256 of all that is written to it; closed, it is on the disk."""

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
def text_file(target: Path, tally: Tally) -> Iterator[IO[str]]:
    """Appears under its name when it is whole, after NAME.meta.json with what the format has no room for."""
    unfinished = HashedFile(target.with_name(target.name + ".part"))
    with io.TextIOWrapper(io.BufferedWriter(unfinished, 1 << 20), encoding="utf-8", newline="") as text:
        yield text
    tally.sha256 = unfinished.sha256
    known = tally.metadata() | {"sha256": tally.sha256}
    write_atomic(target.with_name(f"{target.stem}.meta.json"), json.dumps(known, indent=2).encode() + b"\n")
    unfinished.path.replace(target)
