"""Input photographs: a folder (FFHQ or LPFF layout) or a table of paths."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from annotate.common.pseudonyms import FileKeys, file_keys
from annotate.pipeline.folders import NOT_UTF8, Listing, left_out, list_folder
from annotate.pipeline.stage import Step
from rewardlab.table_cells import Column, Kind
from rewardlab.table_reader import SUFFIXES, BadRow, Row, Table, TableError
from rewardlab.text_files import FolderNames, TextError, is_utf8_name, nfc, printable, read_text

TABLE_SUFFIXES = set(SUFFIXES)
COLUMNS = (Column("path", required=True), Column("caption"), Column("identity", Kind.NAME))
NEEDED = (("path", "caption"), ("path", "identity"))  # of a table of captions
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
    """The photographs of an input.

    unusable: Steps for photographs whose name, caption or identity cannot be used. others: Steps for all other files.
    rows: Steps for rows of a table that match no photograph. captions: number of caption files used.
    """

    sources: list[Source]
    unusable: list[Step] = field(default_factory=list)
    others: list[Step] = field(default_factory=list)
    rows: list[Step] = field(default_factory=list)
    captions: int = 0

    @property
    def files(self) -> int:
        return len(self.sources) + len(self.unusable) + len(self.others) + self.captions

    @property
    def steps(self) -> int:
        return len(self.sources) + len(self.unusable) + len(self.others) + len(self.rows)

    def limited(self, count: int | None) -> "Found":
        """Keep the first `count` photographs; the others are left out."""
        if count is None:
            return self
        rest = [left_out(source.path, "limit", f"after the first {count}") for source in self.sources[count:]]
        return replace(self, sources=self.sources[:count], others=[*self.others, *rest])


def read_sources(path: Path, *, captions: Path | None = None, identity_from: str = "file") -> Found:
    """List the photographs under `path` in sorted order, with captions and identities.

    Captions come from `captions` (CSV, JSON or JSONL with the columns path, caption, identity) or from a text file next
    to the image (`00001.txt` for `00001.png`). Names are compared in Unicode's form NFC. Identity rules: `file` (each
    file is a person), `folder`, `prefix` (the file name up to the first underscore) or `column` (the table's column
    identity). A photograph or row that cannot be used is a skipped step with the reason. Raises `SourceError`.
    """
    if identity_from not in IDENTITY_RULES:
        raise SourceError(f"Unknown --identity-from {identity_from}: use one of {', '.join(IDENTITY_RULES)}.")
    if not path.exists():
        raise SourceError(f"{printable(path)} does not exist.")
    is_table = path.suffix.lower() in TABLE_SUFFIXES and path.is_file()
    root = path.parent if path.is_file() else path
    table = path if is_table else captions
    rows, bad_rows = _read_table(table, root, any_of=NEEDED if captions else ()) if table else ({}, [])
    names = FolderNames()
    if is_table:
        listing = Listing([names.find(_joined(root, row.values["path"])) for row in rows.values()])
    else:
        listing = _list(path, captions)
    images = listing.photographs
    if not images and not bad_rows:
        raise SourceError(f"No photographs found in {printable(path)} or its subfolders. {_reasons(listing.others)}")
    keys = Counter(map(_key, images))
    found = Found([], others=listing.others, captions=len(listing.captions))
    for image in images:
        source = _source(image, root, _row_of(image, rows, keys), identity_from, names)
        if isinstance(source, Step):
            found.unusable.append(source)
        else:
            found.sources.append(source)
    unmatched = [row for key, row in rows.items() if key not in keys]
    found.rows.extend([*bad_rows, *_unknown_files(unmatched, images, path)])
    return found


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
        return Step(skipped=name, reason="bad_file_name", detail=NOT_UTF8)
    if isinstance(row, BadRow):
        return Step(skipped=name, reason=row.reason, detail=f"{row.where}: {row.detail}")
    values = row.values if row else None
    try:
        return Source(
            image, _caption(image, values, names), _identity(image, root, values, rule), relative_path(image, root)
        )
    except TextError as error:
        return Step(skipped=name, reason="bad_caption_file", detail=str(error))
    except SourceError as error:
        return Step(skipped=name, reason="no_identity", detail=str(error))
    except OSError as error:
        return Step(skipped=name, reason="unreadable", detail=str(error))
    except ValueError as error:  # from pathlib, such as for a file outside the folder of the photographs
        return Step(skipped=name, reason="bad_file_name", detail=str(error))


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
        return Path(relative_path(image, root)).with_suffix("").as_posix()
    return image.parent.name if rule == "folder" else image.stem.split("_")[0]
