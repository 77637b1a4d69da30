"""Reading what people have: a folder of photographs (FFHQ / LPFF layout) or a table of them."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
TABLE_SUFFIXES = {".csv", ".jsonl"}
IDENTITY_RULES = ("file", "folder", "prefix", "column")


class SourceError(ValueError):
    """The input as a whole cannot be read; the message names it and the remedy."""


@dataclass(frozen=True)
class Source:
    path: Path
    caption: str
    identity: str


def read_sources(path: Path, *, captions: Path | None = None, identity_from: str = "file") -> list[Source]:
    """Photographs under `path` in sorted order, with captions and identities.

    Captions come from `captions` (a CSV or JSONL with the columns path, caption, identity) or from a text
    file beside the image (`00001.txt` beside `00001.png`). Identity: `file` (each file is a person),
    `folder`, `prefix` (the name up to the first underscore) or the table's `column`.
    Raises `SourceError`.
    """
    if identity_from not in IDENTITY_RULES:
        raise SourceError(f"--identity-from {identity_from}: use one of {', '.join(IDENTITY_RULES)}.")
    if not path.exists():
        raise SourceError(f"{path} does not exist.")
    if path.suffix.lower() in TABLE_SUFFIXES:
        rows = {(path.parent / row["path"]): row for row in _read_table(path)}
        images = list(rows)
    else:
        images = _find_images(path)
        rows = {(path / row["path"]): row for row in _read_table(captions)} if captions else {}
    if not images:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SourceError(f"{path} holds no photographs: looked for {suffixes} in it and its folders.")
    if unknown := [row for row in rows if row not in set(images)]:
        raise SourceError(f"{captions}: {unknown[0]} is not among the photographs ({len(unknown)} such rows).")
    root = path if path.is_dir() else path.parent
    return [
        Source(image, _caption(image, rows.get(image)), _identity(image, root, rows.get(image), identity_from))
        for image in images
    ]


def _find_images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())


def _read_table(path: Path) -> Iterator[dict[str, str]]:
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise SourceError(f"{path}: captions come as .csv or .jsonl with the columns path, caption, identity.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else map(json.loads, filter(str.strip, file))
            for number, row in enumerate(rows, start=1):
                if not isinstance(row, dict) or not row.get("path"):
                    raise SourceError(f"{path}: row {number} has no path. Columns: path, caption, identity.")
                yield row
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _caption(image: Path, row: dict[str, str] | None) -> str:
    if row and row.get("caption"):
        return row["caption"].strip()
    beside = image.with_suffix(".txt")
    return beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""


def _identity(image: Path, root: Path, row: dict[str, str] | None, rule: str) -> str:
    if rule == "column":
        if not row or not row.get("identity"):
            raise SourceError(f"{image.name}: the table has no identity for it; use another --identity-from.")
        return row["identity"]
    if rule == "file":
        return image.relative_to(root).with_suffix("").as_posix()
    return image.parent.name if rule == "folder" else image.stem.split("_")[0]
