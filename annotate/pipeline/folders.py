"""Listing of a folder of photographs, in which every file is accounted for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from annotate.pipeline.stage import Step
from rewardlab import images
from rewardlab.text_files import is_utf8_name, nfc, printable

TEXT_SUFFIX = ".txt"  # of a caption beside its photograph
NOT_UTF8 = "its name is not valid UTF-8; rename it, for example with convmv"
ALREADY_READ = "the folder is already read under another path"


@dataclass
class Listing:
    """The files under a folder. others: Steps for the files that are not photographs, with the reason."""

    photographs: list[Path] = field(default_factory=list)
    captions: list[Path] = field(default_factory=list)  # text files beside a photograph
    others: list[Step] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """List the photographs under `root` in sorted order, those of linked folders last.

    A linked folder is followed once. Hidden files are left out. A file is a photograph by its suffix, or else if its
    content is an image.
    """
    found, texts = Listing(), []
    for entry in _walk(root):
        if isinstance(entry, Step):
            found.others.append(entry)
        elif entry.suffix.lower() == TEXT_SUFFIX:
            texts.append(entry)
        elif images.has_image_suffix(entry) or images.is_image(entry):
            found.photographs.append(entry)
        else:
            found.others.append(left_out(entry, "not_an_image", "its content is not a known image format"))
    names = {nfc(path.with_suffix("").as_posix()) for path in found.photographs}
    for text in texts:
        if nfc(text.with_suffix("").as_posix()) in names:
            found.captions.append(text)
        else:
            found.others.append(left_out(text, "not_an_image", "a text, and no photograph beside it has this name"))
    return found


def left_out(path: Path, reason: str, detail: str) -> Step:
    return Step(skipped=str(path), reason=reason, detail=detail, is_fault=False)


def _walk(folder: Path) -> Iterator[Path | Step]:
    """Yield the files, and a Step for each entry that cannot be read or is left out.

    Linked folders come after all others, so that a file in the folder itself never gets the path of a link to it.
    """
    visited, links = {folder.resolve()}, list[Path]()
    yield from _walk_real(folder, visited, links)
    while links:
        link = links.pop(0)
        target = link.resolve()
        if target in visited:
            yield left_out(link, "linked_folder", ALREADY_READ)
        else:
            visited.add(target)
            yield from _walk_real(link, visited, links)


def _walk_real(folder: Path, visited: set[Path], links: list[Path]) -> Iterator[Path | Step]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Step(skipped=str(folder), reason="unreadable", detail=f"the folder cannot be read: {error.strerror}")
        return
    for entry in entries:
        try:
            yield from _entry(entry, visited, links)
        except OSError as error:
            yield Step(skipped=entry.path, reason="unreadable", detail=f"it cannot be read: {error.strerror}")


def _entry(entry: os.DirEntry[str], visited: set[Path], links: list[Path]) -> Iterator[Path | Step]:
    path = Path(entry.path)
    if not is_utf8_name(entry.name):
        yield Step(skipped=printable(path), reason="bad_file_name", detail=NOT_UTF8)
    elif entry.name.startswith("."):
        yield left_out(path, "hidden", "its name begins with a dot")
    elif entry.is_symlink() and not path.exists():
        yield Step(skipped=str(path), reason="dangling_link", detail="the link points to nothing: remove or fix it")
    elif entry.is_symlink() and entry.is_dir():
        links.append(path)
    elif entry.is_dir():
        if (real := path.resolve()) in visited:
            yield left_out(path, "linked_folder", ALREADY_READ)
        else:
            visited.add(real)
            yield from _walk_real(path, visited, links)
    elif entry.is_file():
        yield path
    else:
        yield left_out(path, "special_file", "a device, a socket or a pipe")
