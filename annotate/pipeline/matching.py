"""Matching of files, such as captions and given restorations, with the faces of the photographs that they belong to."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from annotate.common import pseudonyms
from annotate.models import Dataset, Face
from annotate.pipeline.folders import left_out
from annotate.pipeline.stage import Step

SHOWN = 5  # candidates in a message


@dataclass
class Matches:
    """files: face id -> the file that belongs to it. refused: ids of faces whose file is not clear. steps: what was
    refused, and the files that belong to no face."""

    files: dict[int, Path] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)


def match_files(
    files: Mapping[Path, str],
    *,
    dataset: Dataset | None,
    keeps_suffix: bool,
    number_of: Callable[[str], int | None] = lambda stem: None,
) -> Matches:
    """Match files with faces by the path in the data set, or by the file's name alone where no path matches.

    files: path -> path relative to the root of the data set. dataset: None searches all of them, but where there are
    several, only faces that are named by number are matched. keeps_suffix: a file has its photograph's suffix, so that
    `a.jpg` and `a.png` are told apart. number_of: returns the id of a face that a file's stem states.
    """
    known = _KnownFaces(dataset, keeps_suffix)
    claims: dict[int, list[Path]] = defaultdict(list)
    found = Matches()
    for path, relative in files.items():
        number = number_of(PurePosixPath(relative).stem)
        by_number = {number} & known.dataset_of.keys() if number is not None else set()
        by_name = known.find(relative)
        candidates = sorted(by_number | by_name)
        if not candidates:
            found.steps.append(left_out(path, "no_face", "no photograph of this path or name was ingested"))
        elif len(candidates) > 1 or (by_name and known.is_unclear):
            found.steps.append(Step(skipped=str(path), reason="ambiguous", detail=known.why_ambiguous(candidates)))
            found.refused.update(candidates)
        else:
            claims[candidates[0]].append(path)
    for face, paths in claims.items():
        if len(paths) > 1:
            detail = f"several files have its name: {_shown(map(str, paths))}. Use a folder with one of them"
            found.steps.append(Step(skipped=f"face {face}", reason="ambiguous", detail=detail))
            found.refused.add(face)
        elif face not in found.refused:
            found.files[face] = paths[0]
    return found


class _KnownFaces:
    """The faces of one data set, or of all, by their keys."""

    def __init__(self, dataset: Dataset | None, keeps_suffix: bool) -> None:
        self.keeps_suffix = keeps_suffix
        self.by_path, self.by_name, self.by_stem = (defaultdict[str, set[int]](set) for _ in range(3))
        self.dataset_of: dict[int, str] = {}
        faces = Face.objects.filter(dataset=dataset) if dataset else Face.objects.all()
        rows = faces.values_list("pk", "dataset__name", "path_key", "name_key", "source_key")
        for face, name, path_key, name_key, source_key in rows.iterator():
            self.dataset_of[face] = name
            self.by_stem[source_key].add(face)
            if path_key:
                self.by_path[path_key].add(face)
                self.by_name[name_key].add(face)
        self.datasets = sorted(set(self.dataset_of.values()))
        self.is_unclear = len(self.datasets) > 1

    def find(self, relative: str) -> set[int]:
        keys = pseudonyms.file_keys(relative)
        by_path = self.by_path.get(keys.path) if self.keeps_suffix else None
        by_stem = self.by_stem.get(keys.stem) or self.by_stem.get(_old_stem_key(relative))
        return by_path or self.by_name.get(keys.name) or by_stem or set()

    def why_ambiguous(self, faces: list[int]) -> str:
        shown = _shown(f"face {face} of {self.dataset_of[face]}" for face in faces)
        if self.is_unclear:
            datasets = ", ".join(self.datasets)
            return f"there are several data sets ({datasets}): choose one with --dataset. It may be {shown}"
        return f"several photographs have this name: {shown}. Use the path that the photograph has in its data set"


def _old_stem_key(relative: str) -> str:
    """Return the key that versions before 0.3 gave, without normalisation of the name."""
    return pseudonyms.hashed(PurePosixPath(relative).stem)


def _shown(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
