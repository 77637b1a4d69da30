"""The face data sets of the paper: their folders, numbers and splits, and a check of a copy against them.

Nothing is downloaded: each set has terms of its own, and its authors' page hands it out.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from PIL import Image

from rewardlab import images
from rewardlab.text_files import printable

HERE = "."  # the given folder itself


class FaceSetError(ValueError):
    """The data set is unknown, or its folder does not look like it. The message says what to do."""


@dataclass(frozen=True)
class FaceSet:
    """A published data set. photographs, low_quality: possible names of the folder; empty if it has none.

    sides: sizes in which it is handed out, in pixels; a copy has one of them. digits: its files are numbered from 0
    with so many digits; None if the names are not known. shares: suggested splits of the people. The paper trains on
    all of FFHQ and does not say which faces monitored the training; here a hundredth does.
    """

    name: str
    title: str
    use: str
    count: int
    sides: tuple[int, ...]
    photographs: tuple[str, ...] = ()
    low_quality: tuple[str, ...] = ()
    digits: int | None = None
    kind: Literal["training", "evaluation"] = "evaluation"
    shares: dict[str, float] = field(default_factory=lambda: {"test": 1.0})
    licence: str = ""

    @property
    def has_ground_truth(self) -> bool:
        return bool(self.photographs)


CROPPED = (HERE, "cropped_faces")  # the archives of GFPGAN's and VQFR's authors unpack to this folder

FACE_SETS = {
    known.name: known
    for known in (
        # 70,000: Sec. 4.1 of the paper, and Karras et al. 2019. The authors' download divides 00000.png to 69999.png
        # among folders of a thousand; others put them into one. The paper resizes them to 512 pixels (Sec. 4.1).
        FaceSet(
            "ffhq", "FFHQ", "ReFL (Sec. 4.1)", 70_000, (1024, 512), ("images1024x1024", "images512x512", HERE),
            digits=5, kind="training", shares={"train": 0.99, "test": 0.01},
            licence="CC BY-NC-SA 4.0 as a whole; each photograph has a licence of its own",
        ),
        # 19,590: abstract of Wu et al. 2023, and the paper's 117,540 = 6 x 19,590 pairs (Sec. 3.1). Names and sizes of
        # the authors' copies differ. A tenth of the people is kept for a gold set: the paper does not say which faces
        # its 360 gold pairs show.
        FaceSet(
            "lpff", "LPFF", "the reward model (Sec. 3.1)", 19_590, (1024, 512), (HERE,), kind="training",
            shares={"train": 0.9, "gold": 0.1}, licence="CC BY-NC 2.0",
        ),
        # 3,000 pairs of CelebA-HQ: Wang et al. 2021, used in Table 1. The paper's appendix names the folder
        # celeba_512_validation_lq of the copy by VQFR's authors, and its first files, 00000000.png to 00000019.png.
        FaceSet(
            "celeba-test", "CelebA-Test", "Table 1 and the ablations", 3_000, (512,),
            ("celeba_512_validation", "hq"), ("celeba_512_validation_lq", "lq"), digits=8,
            licence="for non-commercial research only (CelebA)",
        ),
        # 1,711: the first picture of each person in LFW's validation partition, by Wang et al. 2021; used in Table 2.
        FaceSet(
            "lfw-test", "LFW-Test", "Table 2", 1_711, (512,), low_quality=CROPPED,
            licence="for research only (LFW)",
        ),
        # 407: Wang et al. 2021 cut them from 188 old photographs; used in Table 2.
        FaceSet(
            "webphoto-test", "WebPhoto-Test", "Table 2", 407, (512,), low_quality=CROPPED,
            licence="for research only (collected from the web)",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Folders:
    """Where the pictures of a copy are. None: the data set has no such pictures."""

    photographs: Path | None
    low_quality: Path | None

    @property
    def pictures(self) -> list[tuple[str, Path]]:
        both = (("photographs", self.photographs), ("low quality", self.low_quality))
        return [(what, folder) for what, folder in both if folder]


@dataclass
class FolderReport:
    """What a folder has, and lists of what is wrong with it, in words."""

    what: str
    folder: Path
    expected: int
    found: int = 0
    missing: int = 0
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_complete(self) -> bool:
        return not self.missing and not any(self.problems.values())


def find_face_set(name: str) -> FaceSet:
    """Return the data set of this name. Raises `FaceSetError`."""
    if name not in FACE_SETS:
        raise FaceSetError(f"There is no preset {name}. Known: {', '.join(FACE_SETS)}.")
    return FACE_SETS[name]


def find_folders(known: FaceSet, root: Path) -> Folders:
    """Find the folders of a copy below `root`. Raises `FaceSetError`."""
    if not root.is_dir():
        raise FaceSetError(f"{root} is not a folder. Unpack {known.title} and pass its folder.")
    return Folders(
        _find(known, root, known.photographs, "photographs"),
        _find(known, root, known.low_quality, "low-quality pictures"),
    )


def _find(known: FaceSet, root: Path, names: tuple[str, ...], what: str) -> Path | None:
    if not names:
        return None
    present = [root if name == HERE else root / name for name in names if name == HERE or (root / name).is_dir()]
    if not present:
        wanted = " or ".join(names)
        raise FaceSetError(f"{root} has no folder {wanted} with the {what} of {known.title}.")
    named = [folder for folder in present if folder != root]
    return (named or present)[0]


def check(known: FaceSet, root: Path, *, thorough: bool = False) -> Iterator[FolderReport | None]:
    """Compare a copy with the published data set: yield None for each picture read, and a report for each folder.

    thorough: decode every picture; otherwise only its header is read. Raises `FaceSetError`.
    """
    folders = find_folders(known, root)
    sides = known.sides
    partners: set[str] | None = None  # names of the photographs, which the low-quality pictures share
    for what, folder in folders.pictures:
        report = FolderReport(what, folder, known.count)
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in _pictures(folder):
            report.found += 1
            by_name[path.stem].append(printable(path.relative_to(folder)))
            relative = printable(path.relative_to(folder))
            try:
                width, height = _size(path, thorough)
            except (images.ImageError, OSError, ValueError, Image.DecompressionBombError) as error:
                report.problems["unreadable"].append(f"{relative}: {error}")
            else:
                if width == height and width in sides:
                    sides = (width,)  # of this copy
                else:
                    wanted = " or ".join(f"{side}x{side}" for side in sides)
                    report.problems["wrong size"].append(f"{relative}: {width}x{height}, not {wanted}")
            yield None
        _compare_names(report, known, by_name, partners)
        partners = set(by_name)
        yield report


def _compare_names(
    report: FolderReport, known: FaceSet, by_name: dict[str, list[str]], partners: set[str] | None
) -> None:
    for name, files in by_name.items():
        if len(files) > 1:
            report.problems["surplus"].append(f"{', '.join(sorted(files))}: several files have the name {name}")
    if known.digits is None:
        report.missing = max(0, known.count - len(by_name))
        if (surplus := len(by_name) - known.count) > 0:
            report.problems["surplus"].append(f"{surplus} more than the {known.count} of {known.title}")
        return
    wanted = {f"{number:0{known.digits}d}" for number in range(known.count)}
    absent = sorted(wanted - by_name.keys())
    report.missing = len(absent)
    report.problems["missing"].extend(_ranges(absent))
    report.problems["surplus"].extend(
        f"{by_name[name][0]}: {known.title} has no file of this name" for name in sorted(by_name.keys() - wanted)
    )
    if partners is not None:
        alone = sorted((by_name.keys() - partners) & wanted)
        report.problems["without photograph"].extend(by_name[name][0] for name in alone)


def _ranges(names: list[str]) -> Iterator[str]:
    """Shorten sorted numbers to ranges, such as `00003 to 00017`."""
    for _, group in groupby(enumerate(names), key=lambda item: int(item[1]) - item[0]):
        first, *rest = (name for _, name in group)
        yield f"{first} to {rest[-1]}" if rest else first


def _pictures(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and images.has_image_suffix(Path(name)):
                yield Path(place) / name


def _size(path: Path, thorough: bool) -> tuple[int, int]:
    """Return width and height. Raises `ImageError`, `OSError` or `ValueError` for an unreadable file."""
    if thorough:
        height, width = images.read(path).shape[:2]
        return width, height
    with Image.open(path) as opened:
        return opened.size
