"""Files for their owner only: UMASK makes new ones so (see `annotate.settings`); here older ones are found and mended.

A folder that others cannot open protects what is in it, so only the folders of the installation are looked at, and the
files of its database and its secret.
"""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

SQLITE = "annotate.common.sqlite"


@dataclass(frozen=True)
class Loose:
    """A file or folder that is open to more people than UMASK allows."""

    path: Path
    mode: int

    def __str__(self) -> str:
        return f"{self.path} (mode {self.mode:03o})"

    @property
    def wanted(self) -> int:
        return self.mode & ~_umask()


def _umask() -> int:
    return int(settings.UMASK, 8)


def find_loose() -> list[Loose]:
    """List what others could read or change."""
    roots = (settings.DATA_ROOT, settings.MEDIA_ROOT, settings.PREDICTOR_ROOT, settings.RUN_ROOT, settings.UPLOAD_ROOT)
    secrets = _siblings(Path(settings.DATA_ROOT) / "secret_key")
    database = settings.DATABASES["default"]
    if database["ENGINE"] == SQLITE:
        secrets += _siblings(Path(database["NAME"]))  # its log, and the databases that a recovery kept
    found = []
    for path in dict.fromkeys([*map(Path, roots), *secrets]):
        if path.exists():
            mode = path.stat().st_mode & 0o777
            found += [Loose(path, mode)] if mode & _umask() else []
    return found


def _siblings(file: Path) -> list[Path]:
    """Return the files beside `file` whose names begin with its stem, and itself."""
    if not file.parent.is_dir():
        return []
    return sorted(path for path in file.parent.iterdir() if path.name.startswith(file.stem) and path.is_file())


def tighten() -> tuple[list[Loose], list[Loose]]:
    """Take permissions from everyone whom UMASK excludes. Returns what was changed, and what could not be."""
    changed, failed = [], []
    for loose in find_loose():
        try:
            loose.path.chmod(loose.wanted)
        except OSError:
            failed.append(loose)
        else:
            changed.append(loose)
    return changed, failed


def tighten_in_words() -> list[str]:
    """Tighten, and say what was done and what the operator has to do."""
    changed, failed = tighten()
    sentences = [f"Made private: {loose.path}, which had mode {loose.mode:03o}." for loose in changed]
    if failed:
        listed = ", ".join(map(str, failed))
        sentences.append(
            f"Others can read or change {listed}, and this process may not change that. As the owner, run "
            "chmod -R go-rwx on them, or set UMASK if a group shall share them."
        )
    return sentences
