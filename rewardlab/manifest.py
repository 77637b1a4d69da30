"""The manifest: a snapshot of preferences in one file, the only data that training takes from the database.

JSON lines: a header, then one preference per line, ordered by pair id. The header contains the schema version, the
filters, the counts and the sha256 of all lines below it, so that a changed or truncated file is rejected.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardlab.gold_guard import Subject

ORIGINS = ("ground_truth", "human", "simulated", "svm")
JUDGED = ("human", "simulated")
OPTIONAL = ("predictor", "dataset", "rules")  # fields that a row may lack
RULES = ("realism", "detail", "text")  # the rubric in its order (App. A.1)

FORMAT = "diffusionreward-preferences"
VERSION = 1


class ManifestError(ValueError):
    """The file is not a manifest of this project, or was changed after it was written."""


@dataclass(frozen=True)
class PreferenceRow:
    """One preference. Image paths are relative to the image folder; files are named by the sha256 of their content.

    p_first: in [0, 1]; a split vote is a soft label. votes: numbers of annotators who chose the first image, the
    second, neither; they are simulated annotators if origin is simulated. scores: metric -> values of both images.
    predictor: version of the SVM if origin is svm. dataset: empty in manifests of versions before 0.3. rules: how many
    of the votes each rule of `RULES` decided; a vote may state none. Empty without votes, and in manifests before 0.3.
    """

    pair: int
    face: int
    identity: str  # salted hash that identifies the person without the name
    split: str  # train, gold or test
    caption: str
    first: str
    first_source: str  # hq or a restorer's name
    second: str
    second_source: str
    p_first: float
    origin: str  # one of `ORIGINS`
    weight: float
    votes: tuple[int, int, int] = (0, 0, 0)
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    predictor: int | None = None
    dataset: str = ""  # name of the face's data set
    rules: dict[str, int] = field(default_factory=dict)

    @property
    def is_anchored(self) -> bool:
        """Whether one image is the photograph."""
        return "hq" in (self.first_source, self.second_source)


def write(
    path: Path,
    rows: Iterable[PreferenceRow],
    *,
    filters: dict[str, Any],
    consensus: Mapping[str, Any] | None = None,
    predictor: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a manifest atomically and return its header.

    consensus, predictor: how p_first of judged rows and of rows of origin svm was computed. predictor is omitted if
    there is no such row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    body, whole = path.with_name(path.name + ".body"), path.with_name(path.name + ".part")
    digest, counts, faces, total = hashlib.sha256(), Counter[str](), set[int](), 0
    with body.open("wb") as file:
        for row in rows:
            line = _line(row)
            file.write(line)
            digest.update(line)
            counts[f"{row.split}/{row.origin}"] += 1
            faces.add(row.face)
            total += 1
    header = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "filters": filters,
        **({"consensus": consensus} if consensus else {}),
        **({"predictor": predictor} if predictor and any(name.endswith("/svm") for name in counts) else {}),
        "rows": total,
        "faces": len(faces),
        "counts": dict(sorted(counts.items())),
        "sha256": digest.hexdigest(),
    }
    with whole.open("wb") as file, body.open("rb") as lines:
        file.write(json.dumps(header).encode() + b"\n")
        while chunk := lines.read(1 << 20):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    body.unlink()
    whole.replace(path)
    return header


def read_header(path: Path) -> dict[str, Any]:
    """Read the header. Raises `ManifestError` if the file is not a manifest or has an unknown version."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path} is not a manifest ({error}). Use a manifest.jsonl written by `snapshot`."
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ManifestError(
            f"{path} is not a manifest: its first line lacks the format {FORMAT!r}. Use a file written by `snapshot`."
        )
    if header["version"] != VERSION:
        raise ManifestError(
            f"{path} has version {header['version']}; this program reads {VERSION}. Take a new snapshot."
        )
    return header


def read(path: Path) -> tuple[dict[str, Any], list[PreferenceRow]]:
    """Return header and rows. Raises `ManifestError` unless the rows match the sha256 in the header."""
    return read_header(path), list(read_rows(path))


def read_rows(path: Path) -> Iterator[PreferenceRow]:
    """Yield the rows after checking the whole file. Raises `ManifestError` like `read`."""
    header, digest, count = read_header(path), hashlib.sha256(), 0
    with path.open("rb") as file:
        file.readline()
        for line in file:
            digest.update(line)
            count += 1
        if digest.hexdigest() != header["sha256"]:
            raise ManifestError(
                f"{path} was changed or truncated after it was written ({count} of {header['rows']} rows). "
                "Take a new snapshot."
            )
        file.seek(0)
        file.readline()
        for line in file:
            yield _row(line)


def _line(row: PreferenceRow) -> bytes:
    values = {name: value for name, value in vars(row).items() if not (name in OPTIONAL and value in (None, "", {}))}
    return json.dumps(values, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _row(line: bytes) -> PreferenceRow:
    values = json.loads(line)
    values["votes"] = tuple(values["votes"])
    values["scores"] = {metric: (first, second) for metric, (first, second) in values["scores"].items()}
    return PreferenceRow(**values)


def gold_rows(rows: list[PreferenceRow]) -> list[PreferenceRow]:
    """Return the rows of split gold, of every origin."""
    return [row for row in rows if row.split == "gold"]


def subject_of(row: PreferenceRow) -> Subject:
    """Return the face, person and images of the row, for the guard of the gold set."""
    return Subject(row.face, row.identity, (row.first, row.second))
