"""Recover backups that someone has tampered with: `python -m tests.support.crafted_backups FOLDER`.

Makes a backup of the site for each case, and tries to recover it. Prints JSON: case -> message of the refusal, or null,
and whether the site is unchanged.
"""

import hashlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import CommandError, call_command  # noqa: E402
from django.db import connection  # noqa: E402

SHA = "0" * 64
SCHEDULE = (
    "INSERT INTO django_q_schedule (func, schedule_type, repeats, next_run) "
    "VALUES ('os.system', 'O', -1, '2026-01-01 00:00:00+00:00')"
)
TASK = "INSERT INTO django_q_ormq (key, payload) VALUES ('diffusionreward', 'planted')"
SESSION = (
    "INSERT INTO django_session (session_key, session_data, expire_date) "
    "VALUES ('planted', '', '2030-01-01 00:00:00+00:00')"
)
# Case -> SQL that someone could have run on the site whose backup this is.
ROWS = {
    "predictor": "UPDATE annotate_predictor SET file = '../../outside.skops'",
    "unknown table": "CREATE TABLE annotate_planted (id integer); INSERT INTO annotate_planted VALUES (1)",
    "queue": f"{SCHEDULE}; {TASK}; {SESSION}",
}
UNDO = {
    "predictor": "UPDATE annotate_predictor SET file = 'svm-1.skops'",
    "unknown table": "DROP TABLE annotate_planted",
}
SCHEMA = "; ".join(
    (
        *(f"DROP TRIGGER annotate_judgement_no_{event}" for event in ("update", "delete", "replace")),
        "CREATE TRIGGER planted AFTER INSERT ON annotate_user BEGIN DELETE FROM annotate_user; END",
    )
)


def with_count(manifest: dict) -> None:
    manifest["counts"]["annotate_face"] += 1


def with_table(manifest: dict) -> None:
    manifest["counts"]['annotate_face"; DROP TABLE annotate_face; --'] = 0


def with_file_outside(manifest: dict) -> None:
    manifest["files"]["../../outside"] = SHA


def with_absolute_dump(manifest: dict) -> None:
    manifest["files"]["/etc/passwd"] = SHA
    manifest["dump"] = "/etc/passwd"


def with_odd_type(manifest: dict) -> None:
    manifest["migrations"] = "all"


def without_first_migration(manifest: dict) -> None:
    manifest["migrations"].remove("annotate.0001_initial")


MANIFESTS: dict[str, Callable[[dict], None]] = {
    "count": with_count, "table": with_table, "file outside": with_file_outside, "absolute": with_absolute_dump,
    "odd type": with_odd_type, "missing migration": without_first_migration,
}  # fmt: skip


def edit_manifest(folder: Path, edit: Callable[[dict], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def edit_dump(folder: Path, sql: str) -> None:
    """Change the schema of an SQLite dump, and the manifest with it."""

    def rehash(manifest: dict) -> None:
        dump = folder / manifest["dump"]
        with closing(sqlite3.connect(dump)) as database:
            database.executescript(sql)
        manifest["files"][manifest["dump"]] = hashlib.sha256(dump.read_bytes()).hexdigest()

    edit_manifest(folder, rehash)


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        for statement in sql.split("; "):
            cursor.execute(statement)


def state() -> dict:
    """Return what a refused recovery must not change: rows, tables, schemas and files."""
    with connection.cursor() as cursor:
        tables = sorted(connection.introspection.table_names(cursor))
        counts = {}
        for table in tables:
            cursor.execute(f'SELECT COUNT(*) FROM "{table}"')
            counts[table] = cursor.fetchone()[0]
        schemas = []
        if connection.vendor == "postgresql":
            cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY 1")
            schemas = cursor.fetchall()
    root = Path(settings.DATA_ROOT)
    changing = (".lock", ".holder", "-wal", "-shm", "sqlite3-queue")
    files = {str(path): path.stat().st_size for path in root.rglob("*") if not path.name.endswith(changing)}
    files.pop(str(root / "db.sqlite3"), None)
    return {"counts": counts, "schemas": schemas, "files": sorted(files)}


def recover(folder: Path) -> tuple[str | None, bool]:
    """Return the refusal, and whether everything is as it was."""
    before = state()
    try:
        call_command("recover", str(folder), replace=True, stdout=sys.stderr)
    except CommandError as error:
        return str(error), state() == before
    return None, False


def main(place: Path) -> None:
    results: dict[str, tuple[str | None, bool]] = {}
    clean = place / "clean"
    call_command("backup", str(clean), stdout=sys.stderr)
    for case, edit in MANIFESTS.items():
        if connection.vendor == "sqlite":  # the same code on every database
            edit_manifest(folder := shutil.copytree(clean, place / case), edit)
            results[case] = recover(folder)
    link = shutil.copytree(clean, place / "link")
    dump = next(link.glob("database-*"))
    dump.rename(place / "outside")
    dump.symlink_to(place / "outside")
    results["link"] = recover(link)
    for case, sql in ROWS.items():
        run(sql)
        folder = place / f"rows {case}"
        call_command("backup", str(folder), stdout=sys.stderr)
        if case in UNDO:
            run(UNDO[case])
        if case == "queue" and connection.vendor == "sqlite":
            edit_dump(folder, SCHEMA)
        results[case] = recover(folder)
    with connection.cursor() as cursor:
        left = [state()["counts"][f"django_{name}"] for name in ("q_schedule", "q_ormq", "session")]
        source = "sqlite_master WHERE type = 'trigger'" if connection.vendor == "sqlite" else "pg_trigger WHERE true"
        column = "name" if connection.vendor == "sqlite" else "tgname"
        cursor.execute(
            f"SELECT {column} FROM {source} AND ({column} LIKE 'annotate_judgement_%' OR {column} = 'planted')"
        )
        triggers = sorted({row[0] for row in cursor.fetchall()})
    print(json.dumps({"results": results, "left": left, "triggers": triggers}))


main(Path(sys.argv[1]))
