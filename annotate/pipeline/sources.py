"""Input photographs: a folder (FFHQ or LPFF layout) or a table of paths."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
TABLE_SUFFIXES = {".csv", ".jsonl"}
IDENTITY_RULES = ("file", "folder", "prefix", "column")


class SourceError(ValueError):
    """The input cannot be read. The message names the cause and the remedy."""


@dataclass(frozen=True)
class Source:
    path: Path
    caption: str
    identity: str


def read_sources(path: Path, *, captions: Path | None = None, identity_from: str = "file") -> list[Source]:
    """List the photographs under `path` in sorted order, with captions and identities.

    Captions come from `captions` (CSV or JSONL with the columns path, caption, identity) or from a text file next to
    the image (`00001.txt` for `00001.png`). Identity rules: `file` (each file is a person), `folder`, `prefix` (the
    file name up to the first underscore) or `column` (the table's column identity). Raises `SourceError`.
    """
    if identity_from not in IDENTITY_RULES:
        raise SourceError(f"Unknown --identity-from {identity_from}: use one of {', '.join(IDENTITY_RULES)}.")
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
        raise SourceError(f"No photographs found in {path} or its subfolders. Supported types: {suffixes}.")
    if unknown := [row for row in rows if row not in set(images)]:
        raise SourceError(
            f"{captions}: {len(unknown)} rows name files that are not among the photographs, such as {unknown[0]}."
        )
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
        raise SourceError(f"{path}: captions must be .csv or .jsonl with the columns path, caption, identity.")
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
    file = image.with_suffix(".txt")
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""


def _identity(image: Path, root: Path, row: dict[str, str] | None, rule: str) -> str:
    if rule == "column":
        if not row or not row.get("identity"):
            raise SourceError(f"The table has no identity for {image.name}: add it, or use another --identity-from.")
        return row["identity"]
    if rule == "file":
        return image.relative_to(root).with_suffix("").as_posix()
    return image.parent.name if rule == "folder" else image.stem.split("_")[0]
