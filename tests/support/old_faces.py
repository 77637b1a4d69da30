"""Faces as version 0.2 stored them, in a database that is migrated then: `python -m tests.support.old_faces FOLDER`.

Writes photographs, captions and results below FOLDER, and prints what the faces have in the end, as JSON.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import django

django.setup()

import numpy as np  # noqa: E402
from django.core.management import CommandError, call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from PIL import Image  # noqa: E402

from annotate.common.pseudonyms import hashed  # noqa: E402

SIZE = 64
NAMES = ("alice/0001", "bert/0001", "cleo/0002", "dora/0003")  # two of them share a stem


def run(*words: object) -> str:
    out = io.StringIO()
    try:
        call_command(*map(str, words), stdout=out)
    except CommandError as error:
        out.write(str(error))
    return out.getvalue()


def write_noise(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    return path


def store_old_faces(photographs: Path) -> None:
    """Store one face for each photograph, in the tables of version 0.2."""
    from annotate.common.image_store import store_png

    apps = MigrationExecutor(connection).loader.project_state([("annotate", "0008_wording")]).apps
    face, candidate, stage_run = (apps.get_model("annotate", name) for name in ("Face", "Candidate", "StageRun"))
    stage_run.objects.create(stage="ingest", state="done")
    for number, name in enumerate(NAMES):
        file = write_noise(photographs / f"{name}.png", number)
        row = face.objects.create(
            source_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            source_key=hashed(file.stem),
            identity=hashed(name.split("/")[0]),
            split="train",
            size=SIZE,
            seed=number,
        )
        for source in ("hq", "lq"):
            image = np.asarray(Image.open(file)) // (1 if source == "hq" else 2)
            candidate.objects.create(face=row, source=source, sha256=store_png(image), provenance={})


def main(folder: Path) -> dict:
    call_command("migrate", "annotate", "0008", verbosity=0)
    store_old_faces(folder / "old")
    call_command("migrate", verbosity=0)
    from annotate.models import Face

    for name in NAMES:
        (folder / "old" / f"{name}.txt").write_text(f"Face of {name}.")
        write_noise(folder / "results" / f"{name}.png", 100 + NAMES.index(name))
    printed = [
        run("caption", "--backend", "file", "--from", folder / "old"),
        run("restore", "--from-folder", f"mine={folder / 'results'}"),
    ]
    before = [[face.dataset.name, face.caption, face.path_key] for face in Face.objects.order_by("pk")]
    restored = Face.objects.filter(candidates__source="mine").count()
    write_noise(folder / "old" / "alice" / "0009.png", 9)
    again = ("ingest", folder / "old", "--dataset", "unnamed", "--size", SIZE, "--aligned", "--identity-from", "folder")
    printed += [run(*again), run("restore", "--from-folder", f"mine={folder / 'results'}")]
    return {
        "printed": printed,
        "before": before,
        "restored_before": restored,
        "keys": Face.objects.exclude(path_key="").values("path_key").distinct().count(),
        "captions": list(Face.objects.order_by("pk").values_list("caption", flat=True)),
        "restored": Face.objects.filter(candidates__source="mine").count(),
        "identities": Face.objects.values("identity").distinct().count(),
        "split_of_new": Face.objects.order_by("-pk").values_list("split", flat=True)[0],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
