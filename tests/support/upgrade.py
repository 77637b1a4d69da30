"""Load databases of released versions, migrate them, and print what the site makes of them as JSON.

`python -m tests.support.upgrade 0.1.0 0.2.0`. The database of the settings is emptied before each version. On
PostgreSQL the tables are made by the migrations that the released version had, and filled with its rows.
"""

import json
import re
import sqlite3
import sys
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.models import Sum  # noqa: E402
from django.test import Client  # noqa: E402

from annotate import models  # noqa: E402
from annotate.agreement import gold_hashes  # noqa: E402

DUMPS = Path(__file__).resolve().parents[1] / "fixtures" / "released_databases"
COUNTED = ("Campaign", "Item", "Lease", "Judgement", "Face", "Candidate", "Pair", "Score", "Predictor", "User")
MOST_PAGES = 45
OF_REMOVED_APPS = (
    "CREATE TABLE authtoken_token (key varchar(40) PRIMARY KEY, created timestamptz NOT NULL, "
    "user_id bigint NOT NULL UNIQUE REFERENCES annotate_user DEFERRABLE INITIALLY DEFERRED)",
)
API = "/api/v1/campaigns"


def open_dump(version: str) -> sqlite3.Connection:
    dump = sqlite3.connect(":memory:")
    dump.executescript((DUMPS / f"{version}.sql").read_text())
    return dump


def load(dump: sqlite3.Connection) -> None:
    """Replace the contents of the database by those of a released version."""
    connection.close()
    if connection.vendor == "sqlite":
        Path(settings.DATABASES["default"]["NAME"]).unlink(missing_ok=True)
        with sqlite3.connect(settings.DATABASES["default"]["NAME"]) as database:
            dump.backup(database)
        return
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    applied: dict[str, str] = dict(dump.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall())
    executor = MigrationExecutor(connection)
    executor.migrate([leaf for leaf in applied.items() if leaf in executor.loader.graph.nodes])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no order of tables, no triggers
        for statement in OF_REMOVED_APPS:
            cursor.execute(statement)
        for (table,) in dump.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not table.startswith("sqlite_"):
                copy_rows(dump, cursor, table)


def copy_rows(dump: sqlite3.Connection, cursor, table: str) -> None:
    cursor.execute("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", [table])
    kinds = dict(cursor.fetchall())
    found = dump.execute(f'SELECT * FROM "{table}"')
    names = [column[0] for column in found.description]
    truths = {place for place, name in enumerate(names) if kinds[name] == "boolean"}
    rows = [
        [bool(value) if place in truths and value is not None else value for place, value in enumerate(row)]
        for row in found
    ]
    cursor.execute(f'DELETE FROM "{table}"')
    listed, places = ", ".join(f'"{name}"' for name in names), ", ".join(["%s"] * len(names))
    cursor.executemany(f'INSERT INTO "{table}" ({listed}) VALUES ({places})', rows)
    if kinds.get("id") in ("integer", "bigint"):
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence('\"{table}\"', 'id'), MAX(id)) FROM \"{table}\" HAVING MAX(id) > 0"
        )


def describe(token: str) -> dict:
    """Describe the migrated database. token: an access token of the released version."""
    ContentType.objects.clear_cache()
    preferences = models.Preference.objects.all()
    return {
        "counts": {name: getattr(models, name).objects.count() for name in COUNTED},
        "preferences": {name: preferences.filter(origin=name).count() for name in models.Preference.Origin.values},
        "votes": preferences.aggregate(votes=Sum("judgements"))["votes"],
        "append_only": [is_append_only(model) for model in (models.Judgement, models.AuditEntry)],
        "gold_unchanged": is_gold_unchanged(),
        "foreign_keys": check_foreign_keys(),
        "token": Client().get(API, headers={"host": "localhost", "authorization": f"Token {token}"}).status_code,
        "pages": {name: visit(name) for name in ("lead", "ann")},
    }


def is_append_only(model) -> bool:
    try:
        with transaction.atomic():
            model.objects.filter(pk=model.objects.first().pk)._raw_delete(using="default")
    except DatabaseError as error:
        return "append-only" in str(error)
    return False


def is_gold_unchanged() -> bool:
    gold_set = models.GoldSet.objects.get()
    gold_hashes.require_unchanged(gold_set)
    return gold_set.frozen_at is not None and gold_set.scorer_answers.count() > 0


def check_foreign_keys() -> bool:
    connection.check_constraints()
    return True


def visit(name: str) -> dict[str, list[str]]:
    """Follow the links of all pages that a person sees; return status -> pages."""
    client, ahead, seen = Client(raise_request_exception=False), ["/"], {}
    client.force_login(models.User.objects.get(username=name))
    while ahead and len(seen) < MOST_PAGES:
        path = ahead.pop(0)
        if path in seen:
            continue
        answer = client.get(path, follow=True, headers={"host": "localhost"})
        seen[path] = answer.status_code
        if answer.get("Content-Type", "").startswith("text/html"):
            links = re.findall(r'href="(/[^"#]*)"', answer.content.decode())
            ahead += [link.replace("&amp;", "&") for link in links if not link.startswith(("/static/", "/admin/"))]
    statuses = sorted(set(seen.values()))
    return {str(status): [path for path, found in seen.items() if found == status] for status in statuses}


if __name__ == "__main__":
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    found = {}
    for version in sys.argv[1:]:
        dump = open_dump(version)
        load(dump)
        call_command("migrate", verbosity=0)
        found[version] = describe(dump.execute("SELECT key FROM authtoken_token").fetchone()[0])
    print(json.dumps(found))
