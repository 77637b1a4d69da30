"""Pictures in a run's folder: a restorer's outputs for the same faces at different steps."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext, gettext_noop

from annotate.runs.run_folders import RunFolder

# Only files that match these patterns are served. The patterns exclude paths out of the folder.
NAMES = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+=@-]{0,99}")
FACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
STEP = re.compile(r"[0-9]{6,9}")
CHOSEN = re.compile(r"[0-9]{1,9}")
PICTURES = (
    re.compile(rf"pictures/(?:lq|hq|base|{STEP.pattern})/{FACE.pattern}\.png"),
    re.compile(rf"evaluation/pictures/{NAMES.pattern}/{FACE.pattern}\.png"),
)
MAX_FACES = 48
PNG = struct.Struct(">8s4x4sII")  # signature, length, the first chunk's name, width, height
LARGEST_SIDE = 16_384  # pixels
TITLES = {
    "lq": gettext_noop("degraded (lq)"),
    "base": gettext_noop("before tuning (base)"),
    "hq": gettext_noop("original (hq)"),
}


@dataclass(frozen=True)
class Picture:
    title: str
    face: str
    file: str  # path in the run's folder
    size: tuple[int, int] | None  # None: missing or not a PNG
    is_of_step: bool = False  # of the step that the grid shows

    @property
    def alt(self) -> str:
        return gettext("face %(face)s, %(title)s") % {"face": self.face, "title": self.title}


@dataclass(frozen=True)
class Grid:
    """Pictures with one row per face and the columns degraded, before tuning, at the step, original."""

    steps: list[int]
    folders: list[str]  # of the steps
    step: int | None  # the step shown
    is_newest: bool
    rows: list[tuple[str, list[Picture]]]
    columns: int
    left_out: int

    @property
    def position(self) -> int:
        """The place of the step among the steps, from 0."""
        return self.steps.index(self.step) if self.step in self.steps else 0

    @property
    def earlier(self) -> int | None:
        return max((step for step in self.steps if self.step is not None and step < self.step), default=None)

    @property
    def later(self) -> int | None:
        return min((step for step in self.steps if self.step is not None and step > self.step), default=None)


def picture_file(run: RunFolder, name: str) -> Path | None:
    """Return the path of a picture of the run; None if it does not exist or is not a picture."""
    if not any(pattern.fullmatch(name) for pattern in PICTURES):
        return None
    path = file_in(run.folder, name)
    return path if path and png_size(path) else None


def picture(run: RunFolder, *, folder: str, face: str, title: str, is_of_step: bool = False) -> Picture:
    file = f"{folder}/{face}.png"
    path = picture_file(run, file)
    return Picture(title, face, file, png_size(path) if path else None, is_of_step)


def columns(run: RunFolder) -> tuple[dict[str, str], dict[int, str]]:
    """Return the titles of the folders of pictures that do not depend on the step, and the folders by step."""
    folders = {path.name for path in _listed(run.folder / "pictures") if path.is_dir()}
    by_step = {int(name): name for name in sorted(folders) if STEP.fullmatch(name)}
    return {name: gettext(title) for name, title in TITLES.items() if name in folders}, dict(sorted(by_step.items()))


def step_title(step: int) -> str:
    return gettext("at step %(step)s") % {"step": f"{step:,}"}


def faces(run: RunFolder, names: Iterable[str]) -> list[str]:
    """List the faces that have a picture in one of these folders."""
    paths = (path for name in names for path in _listed(run.folder / "pictures" / name))
    return sorted({path.stem for path in paths if path.suffix == ".png" and FACE.fullmatch(path.stem)})


def grid(run: RunFolder, chosen: str = "") -> Grid | None:
    """Build the grid at the chosen step, by default the newest; None if there are no pictures."""
    fixed, by_step = columns(run)
    steps = list(by_step)
    newest = steps[-1] if steps else None
    wanted = int(chosen) if CHOSEN.fullmatch(chosen) else None
    step = wanted if wanted in by_step else newest
    shown: dict[str, str] = {name: fixed[name] for name in ("lq", "base") if name in fixed}
    if step is not None:
        shown[by_step[step]] = step_title(step)
    shown |= {"hq": fixed["hq"]} if "hq" in fixed else {}
    found = faces(run, shown)
    if not found:
        return None

    def picture_of(face: str, name: str) -> Picture:
        of_step = step is not None and name == by_step[step]
        return picture(run, folder=f"pictures/{name}", face=face, title=shown[name], is_of_step=of_step)

    return Grid(
        steps=steps,
        folders=list(by_step.values()),
        step=step,
        is_newest=wanted not in by_step,
        rows=[(face, [picture_of(face, name) for name in shown]) for face in found[:MAX_FACES]],
        columns=len(shown),
        left_out=max(len(found) - MAX_FACES, 0),
    )


def _listed(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def file_in(folder: Path, name: str) -> Path | None:
    """Return the path of a file; None if it is missing or a link leads out of the folder."""
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def png_size(path: Path) -> tuple[int, int] | None:
    """Read width and height from the PNG header; None if the file is not a PNG."""
    try:
        with path.open("rb") as file:
            signature, chunk, width, height = PNG.unpack(file.read(PNG.size))
    except (OSError, struct.error):
        return None
    is_png = signature == b"\x89PNG\r\n\x1a\n" and chunk == b"IHDR"
    return (width, height) if is_png and 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE else None
