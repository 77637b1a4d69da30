"""Input photographs: a folder (FFHQ or LPFF layout) or a table of paths."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotate.pipeline.stage import Step
from rewardlab.table_cells import Column, Kind
from rewardlab.table_reader import SUFFIXES, BadRow, Row, Table, TableError
from rewardlab.text_files import FolderNames, TextError, is_utf8_name, nfc, printable, read_text

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
TABLE_SUFFIXES = set(SUFFIXES)
COLUMNS = (Column("path", required=True), Column("caption"), Column("identity", Kind.NAME))
NEEDED = (("path", "caption"), ("path", "identity"))  # of a table of captions
IDENTITY_RULES = ("file", "folder", "prefix", "column")


class SourceError(ValueError):
    """The input cannot be read. The message names the cause and the remedy."""


@dataclass(frozen=True)
class Source:
    path: Path
    caption: str
    identity: str


def read_sources(
    path: Path, *, captions: Path | None = None, identity_from: str = "file", limit: int | None = None
) -> list[Source | Step]:
    """List the photographs under `path` in sorted order, with captions and identities.

    Captions come from `captions` (CSV, JSON or JSONL with the columns path, caption, identity) or from a text file next
    to the image (`00001.txt` for `00001.png`). Names are compared in Unicode's form NFC. Identity rules: `file` (each
    file is a person), `folder`, `prefix` (the file name up to the first underscore) or `column` (the table's column
    identity). limit: only this many photographs.
    A photograph or row that cannot be used is a skipped step with the reason. Raises `SourceError`.
    """
    if identity_from not in IDENTITY_RULES:
        raise SourceError(f"Unknown --identity-from {identity_from}: use one of {', '.join(IDENTITY_RULES)}.")
    if not path.exists():
        raise SourceError(f"{printable(path)} does not exist.")
    is_table = path.suffix.lower() in TABLE_SUFFIXES
    root = path.parent if is_table or path.is_file() else path
    table = path if is_table else captions
    rows, steps = _read_table(table, root, any_of=NEEDED if captions else ()) if table else ({}, [])
    names = FolderNames()
    images = (
        [names.find(_joined(root, row.values["path"])) for row in rows.values()] if is_table else _find_images(path)
    )
    if not images and not steps:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SourceError(f"No photographs found in {printable(path)} or its subfolders. Supported types: {suffixes}.")
    keys = Counter(map(_key, images))
    found = [_source(image, root, _row_of(image, rows, keys), identity_from, names) for image in images[:limit]]
    unmatched = [row for key, row in rows.items() if key not in keys]
    return [*found, *steps, *_unknown_files(unmatched, images, path)]


def _row_of(image: Path, rows: dict[str, Row | BadRow], keys: Counter[str]) -> Row | BadRow | None:
    row = rows.get(_key(image))
    if row is None or keys[_key(image)] == 1:
        return row
    detail = f"several files have this name ({printable(image.name)}), in different Unicode forms: rename one"
    return BadRow(row.where, "several_files", detail)


def _source(image: Path, root: Path, row: Row | BadRow | None, rule: str, names: FolderNames) -> Source | Step:
    """Describe one photograph, or say why it cannot be used."""
    name = printable(image)
    if not is_utf8_name(image):
        detail = "its name is not valid UTF-8; rename it, for example with convmv"
        return Step(skipped=name, reason="bad_file_name", detail=detail)
    if isinstance(row, BadRow):
        return Step(skipped=name, reason=row.reason, detail=f"{row.where}: {row.detail}")
    values = row.values if row else None
    try:
        return Source(image, _caption(image, values, names), _identity(image, root, values, rule))
    except TextError as error:
        return Step(skipped=name, reason="bad_caption_file", detail=str(error))
    except SourceError as error:
        return Step(skipped=name, reason="no_identity", detail=str(error))
    except OSError as error:
        return Step(skipped=name, reason="unreadable", detail=str(error))
    except ValueError as error:  # from pathlib, such as for a file outside the folder of the photographs
        return Step(skipped=name, reason="bad_file_name", detail=str(error))


def _find_images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())


def _read_table(
    path: Path, root: Path, *, any_of: Sequence[Sequence[str]]
) -> tuple[dict[str, Row | BadRow], list[Step]]:
    """Return the row of each file by the file's key, and a skipped step for each row that names no file.

    Two rows for one file are one bad row: which of them is right is unknown.
    """
    rows: dict[str, Row | BadRow] = {}
    steps = []
    try:
        for row in Table(COLUMNS).read(path, any_of=any_of):
            file = row.values.get("path", "")
            if isinstance(row, BadRow) and not file:
                steps.append(Step(skipped=row.where, reason=row.reason, detail=row.detail))
                continue
            key = _key(_joined(root, file))
            if first := rows.get(key):
                where = f"{first.where} and {row.where.rpartition(', ')[2]}"
                row = BadRow(where, "two_rows", f"they describe the same file {file}: remove one", row.values)
            rows[key] = row
    except TableError as error:
        raise SourceError(str(error)) from error
    return rows, steps


def _joined(root: Path, file: str) -> Path:
    """Return the file that a table names, without “.” and “..”."""
    return Path(os.path.normpath(root / file))


def _key(file: Path) -> str:
    return nfc(os.path.normpath(file))


def _unknown_files(rows: list[Row | BadRow], images: list[Path], path: Path) -> Iterator[Step]:
    lower = {nfc(image.name).casefold(): image.name for image in images} if rows else {}
    for row in rows:
        file = row.values["path"]
        similar = lower.get(nfc(Path(file).name).casefold())
        hint = f"; a photograph is called {printable(similar)}" if similar else ""
        detail = f"{file} is not among the photographs in {printable(path)}{hint}"
        yield Step(skipped=row.where, reason="unknown_file", detail=detail)


def _caption(image: Path, row: dict[str, str] | None, names: FolderNames) -> str:
    """Return the caption of the table or of the text file next to the image. Raises `TextError` or `OSError`."""
    if row and row.get("caption"):
        return row["caption"]
    file = names.find(image.with_suffix(".txt"))
    return read_text(file).strip() if file.is_file() else ""


def _identity(image: Path, root: Path, row: dict[str, str] | None, rule: str) -> str:
    if rule == "column":
        if not row or not row.get("identity"):
            raise SourceError(f"The table has no identity for {image.name}: add it, or use another --identity-from.")
        return nfc(row["identity"])
    if rule == "file":
        return image.relative_to(root).with_suffix("").as_posix()
    return image.parent.name if rule == "folder" else image.stem.split("_")[0]
