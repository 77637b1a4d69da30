"""Grids of restored faces, as in Figures 4 to 6 and 13 to 16: a row for each face, a column for each source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from annotate.common import image_store
from annotate.models import Candidate, Face

GAP, HEAD = 4, 28
TITLES = {Candidate.LQ: "Input", Candidate.HQ: "Original"}
WHITE, BLACK = (255, 255, 255), (20, 20, 20)


class GridError(ValueError):
    """The grid cannot be made; the message says what is missing."""


@dataclass(frozen=True)
class Grid:
    """faces: their rows. sources: lq, hq or restorers, with the headings of their columns. side: of a picture."""

    faces: tuple[Face, ...]
    sources: tuple[tuple[str, str], ...]
    side: int


def make_grid(faces: Sequence[Face], sources: Sequence[str], *, side: int = 0, titles: Sequence[str] = ()) -> Grid:
    """Check that each face has a picture of each source. side 0: the largest face's. Raises `GridError`."""
    if not faces:
        raise GridError("No faces were found: choose another split or data set.")
    for source in sources:
        with_picture = set(Candidate.objects.filter(source=source, face__in=faces).values_list("face_id", flat=True))
        if absent := [face for face in faces if face.pk not in with_picture]:
            remedy = {Candidate.LQ: "run degrade", Candidate.HQ: "leave out hq"}.get(
                source, f"run manage.py restore --restorer {source}"
            )
            raise GridError(
                f"{source} is missing for {len(absent)} of {len(faces)} faces, first {absent[0]}: {remedy}."
            )
    if titles and len(titles) != len(sources):
        raise GridError(f"--titles has {len(titles)} headings for {len(sources)} columns.")
    heads = titles or [TITLES.get(source, source) for source in sources]
    return Grid(tuple(faces), tuple(zip(sources, heads, strict=True)), side or max(face.size for face in faces))


def draw(grid: Grid) -> Image.Image:
    """Draw the grid. Raises `BrokenImage` for a damaged picture."""
    step = grid.side + GAP
    canvas = Image.new("RGB", (step * len(grid.sources) + GAP, HEAD + step * len(grid.faces) + GAP), WHITE)
    pen = ImageDraw.Draw(canvas)
    for column, (source, title) in enumerate(grid.sources):
        font = _fitting(title, grid.side)
        pen.text((GAP + column * step + grid.side / 2, HEAD / 2), title, fill=BLACK, font=font, anchor="mm")
        for row, face in enumerate(grid.faces):
            picture = Image.fromarray(image_store.load(face.candidates.get(source=source)))
            if picture.width != grid.side:
                picture = picture.resize((grid.side, grid.side), Image.Resampling.LANCZOS)
            canvas.paste(picture, (GAP + column * step, HEAD + row * step))
    return canvas


def _fitting(title: str, width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the largest font with which a heading fits its column."""
    for size in range(16, 6, -1):
        font = ImageFont.load_default(size)
        if font.getlength(title) <= width:
            return font
    return ImageFont.load_default(6)


def save(canvas: Image.Image, path: Path) -> None:
    """Write a PNG or, by the file's suffix, a PDF with the pictures at full quality. Raises `GridError`."""
    suffix = path.suffix.lower()
    if suffix not in (".png", ".pdf"):
        raise GridError(f"{path} must end in .png or .pdf.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".pdf":
        canvas.save(path, resolution=150, quality=95)
    else:
        canvas.save(path)
