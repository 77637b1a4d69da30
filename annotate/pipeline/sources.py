"""Input photographs: a folder (FFHQ or LPFF layout) or a table of paths."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from annotate.common.pseudonyms import FileKeys, file_keys
from annotate.pipeline.folders import Listing, left_out, list_folder
from annotate.pipeline.stage import Step

TABLE_SUFFIXES = {".csv", ".jsonl"}
IDENTITY_RULES = ("file", "folder", "prefix", "column")


class SourceError(ValueError):
    """The input cannot be read. The message names the cause and the remedy."""


@dataclass(frozen=True)
class Source:
    """A photograph. relative: its path in the data set, by which it is recognised later."""

    path: Path
    caption: str
    identity: str
    relative: str

    @property
    def keys(self) -> FileKeys:
        return file_keys(self.relative)


@dataclass(frozen=True)
class Found:
    """The photographs of an input. others: Steps for all other files; captions: number of caption files used."""

    sources: list[Source]
    others: list[Step] = field(default_factory=list)
    captions: int = 0

    @property
    def files(self) -> int:
        return len(self.sources) + len(self.others) + self.captions

    def limited(self, count: int | None) -> "Found":
        """Keep the first `count` photographs; the others are left out."""
        if count is None:
            return self
        rest = [left_out(source.path, "limit", f"after the first {count}") for source in self.sources[count:]]
        return Found(self.sources[:count], [*self.others, *rest], self.captions)


def read_sources(path: Path, *, captions: Path | None = None, identity_from: str = "file") -> Found:
    """List the photographs under `path` in sorted order, with captions and identities.

    Captions come from `captions` (CSV or JSONL with the columns path, caption, identity) or from a text file next to
    the image (`00001.txt` for `00001.png`). Identity rules: `file` (each file is a person), `folder`, `prefix` (the
    file name up to the first underscore) or `column` (the table's column identity). Raises `SourceError`.
    """
    if identity_from not in IDENTITY_RULES:
        raise SourceError(f"Unknown --identity-from {identity_from}: use one of {', '.join(IDENTITY_RULES)}.")
    if not path.exists():
        raise SourceError(f"{path} does not exist.")
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        rows = {(path.parent / row["path"]): row for row in _read_table(path)}
        listing = Listing(list(rows))
    else:
        listing = _list(path, captions)
        rows = {(path / row["path"]): row for row in _read_table(captions)} if captions else {}
    images = listing.photographs
    if not images:
        raise SourceError(f"No photographs found in {path} or its subfolders. {_reasons(listing.others)}")
    known = set(images)
    if unknown := [row for row in rows if row not in known]:
        raise SourceError(
            f"{captions}: {len(unknown)} rows name files that are not among the photographs, such as {unknown[0]}."
        )
    root = path if path.is_dir() else path.parent
    sources = [
        Source(
            path=image,
            caption=_caption(image, rows.get(image)),
            identity=_identity(image, root, rows.get(image), identity_from),
            relative=relative_path(image, root),
        )
        for image in images
    ]
    return Found(sources, listing.others, len(listing.captions))


def relative_path(path: Path, root: Path) -> str:
    """Return the path of a file in its data set: relative to the root, or absolute for a file outside of it."""
    path, root = (Path(os.path.normpath(each.absolute())) for each in (path, root))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _list(path: Path, captions: Path | None) -> Listing:
    if path.is_file():
        return Listing([path])
    listing = list_folder(path)
    if captions is not None:
        others = [step for step in listing.others if step.skipped != str(captions)]
        listing.captions += [captions] * (len(listing.others) - len(others))
        listing.others = others
    return listing


def _reasons(others: list[Step]) -> str:
    shown = [f"{step.skipped}: {step.detail}" for step in others[:3]]
    return f"It has {len(others)} other files: {'; '.join(shown)}." if shown else "It has no files."


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
        return Path(relative_path(image, root)).with_suffix("").as_posix()
    return image.parent.name if rule == "folder" else image.stem.split("_")[0]
