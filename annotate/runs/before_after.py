"""Two pictures of a face on top of each other, with a divider between them."""

import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from annotate.runs.pictures import Picture, columns, faces, picture, step_title
from annotate.runs.restorer_comparison import RestorerComparison
from annotate.runs.run_folders import RunFolder, list_runs

RESTORER_KINDS = ("base", "refl")
MAX_OTHERS = 8  # other runs whose pictures are offered


@dataclass(frozen=True)
class PictureColumn:
    """Pictures of all faces in one folder. value: its name in the address; of_other: in another run's folder."""

    value: str
    title: str
    run: RunFolder
    folder: str
    of_other: bool = False

    def picture(self, face: str) -> Picture:
        return picture(self.run, folder=self.folder, face=face, title=self.full_title)

    @property
    def full_title(self) -> str:
        return f"{self.run.name}, {self.title}" if self.of_other else self.title


@dataclass(frozen=True)
class PicturePair:
    faces: list[str]
    face: str
    columns: list[PictureColumn]
    left: PictureColumn
    right: PictureColumn

    @property
    def sides(self) -> list[tuple[str, PictureColumn, Picture]]:
        sides = (("left", self.left), ("right", self.right))
        return [(side, column, column.picture(self.face)) for side, column in sides]


def of_evaluation(
    run: RunFolder, found: RestorerComparison, *, face: str = "", left: str = "", right: str = ""
) -> PicturePair | None:
    """Select two pictures of a face. Defaults: the first face, the base, and the restorer after it."""
    offered = [PictureColumn(name, title, run, f"evaluation/pictures/{name}") for name, title in found.columns.items()]
    names = list(found.columns)
    if not names or not found.face_names:
        return None
    first = left if left in names else found.base if found.base in names else names[0]
    after = [name for name in (*names[names.index(first) + 1 :], *names) if name != first]
    return _pair(found.face_names, offered, face, (left, right), (first, next(iter(after), first)))


def of_training(run: RunFolder, *, face: str = "", left: str = "", right: str = "") -> PicturePair | None:
    """Select two pictures of a face: degraded, of a step, of the original, or of another run with the same faces.

    Defaults: the first face, degraded, and the newest step.
    """
    own = list(_columns(run))
    names = faces(run, [column.folder.rpartition("/")[2] for column in own])
    if len(own) < 2 or not names:
        return None
    face = face if face in names else names[0]
    others = [column for other in _others(run, face) for column in _columns(other, of_other=True)]
    steps = [column.value for column in own if column.value.isdigit()]
    last = steps[-1] if steps else own[-1].value
    return _pair(names, own + others, face, (left, right), (own[0].value, last))


def _pair(
    names: list[str],
    offered: Sequence[PictureColumn],
    face: str,
    wanted: tuple[str, str],
    defaults: tuple[str, str],
) -> PicturePair:
    known = {column.value: column for column in offered}
    left, right = (known.get(name) or known[default] for name, default in zip(wanted, defaults, strict=True))
    return PicturePair(names, face if face in names else names[0], list(offered), left, right)


def _columns(run: RunFolder, *, of_other: bool = False) -> Iterator[PictureColumn]:
    """Yield the columns in the order of the chain. Degraded faces and originals are the same in other runs."""
    fixed, by_step = columns(run)
    titles: dict[str, str] = {name: fixed[name] for name in ("lq", "base") if name in fixed}
    titles |= {name: step_title(step) for step, name in by_step.items()}
    titles |= {name: fixed[name] for name in ("hq",) if name in fixed}
    for name, title in titles.items():
        if not of_other:
            yield PictureColumn(name, title, run, f"pictures/{name}")
        elif name not in ("lq", "hq"):
            yield PictureColumn(f"{run.name}/{name}", title, run, f"pictures/{name}", of_other=True)


def _others(run: RunFolder, face: str) -> list[RunFolder]:
    """Return the newest other runs whose original of this face is the same file."""
    file = f"pictures/hq/{face}.png"
    found: list[RunFolder] = []
    for other in list_runs():
        if other.name == run.name or other.problem or other.kind not in RESTORER_KINDS or not other.has_page:
            continue
        try:
            is_same = filecmp.cmp(run.folder / file, other.folder / file, shallow=False)
        except OSError:
            continue
        found += [other] if is_same else []
        if len(found) == MAX_OTHERS:
            break
    return found
