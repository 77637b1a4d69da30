"""Judgements and the audit log cannot be changed, replaced or deleted by any SQL statement on rows."""

import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from annotate.common import audit_log
from annotate.desk import judging, leasing
from annotate.models import AuditEntry, Judgement
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db
ANY = "DELETE FROM {table}; UPDATE {table} SET {column} = 'x'; UPDATE {table} SET id = id + 100"
COPY = "({copied}) SELECT {copied} FROM {table}"
SQLITE = (
    f"INSERT OR REPLACE INTO {{table}} {COPY}; REPLACE INTO {{table}} {COPY}; "
    "UPDATE OR REPLACE {table} SET id = 2 WHERE id = 1; UPDATE OR IGNORE {table} SET {column} = 'x'; "
    f"INSERT INTO {{table}} {COPY} WHERE true ON CONFLICT DO UPDATE SET {{column}} = 'x'"
)
POSTGRES = (
    "TRUNCATE {table} CASCADE; TRUNCATE annotate_lease, {table} CASCADE; TRUNCATE annotate_user CASCADE; "
    "SET LOCAL session_replication_role = replica, DELETE FROM {table}; "
    "SET LOCAL session_replication_role = replica, TRUNCATE {table} CASCADE; "
    f"INSERT INTO {{table}} {COPY} ON CONFLICT (id) DO UPDATE SET {{column}} = 'x'; "
    "WITH gone AS (DELETE FROM {table} RETURNING id) SELECT * FROM gone"
)


def rows(model) -> list[dict]:
    return list(model.objects.order_by("pk").values())


@pytest.fixture
def stored():
    ann = make_user("ann")
    campaign = make_campaign(members=[ann])
    for lease in leasing.lease_items(annotator=ann, campaign=campaign, depth=2):
        judging.submit_judgement(annotator=ann, lease_token=lease.token, key=uuid.uuid4(), choice="left")
        audit_log.record(actor=None, action="pause", target="campaign faces")
    connection.check_constraints()  # PostgreSQL truncates no table whose deferred checks are still to run


@pytest.mark.database
@pytest.mark.parametrize(("model", "column"), [(Judgement, "choice"), (AuditEntry, "action")])
def test_no_statement_changes_stored_rows(stored, model, column):
    names = ", ".join(field.column for field in model._meta.fields)
    before, table = rows(model), model._meta.db_table
    statements = f"{ANY}; {POSTGRES if connection.vendor == 'postgresql' else SQLITE}"
    for statement in statements.format(table=table, column=column, copied=names).split("; "):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            for part in statement.split(", ", 1) if statement.startswith("SET") else [statement]:
                cursor.execute(part)
        assert rows(model) == before, statement


@pytest.mark.parametrize("same", ["id", "key", "lease"])
def test_sqlite_replace_by_any_unique_column_is_refused(stored, same):
    before = rows(Judgement)
    first = Judgement.objects.first()
    values = {
        "id": first.pk if same == "id" else 999,
        "key": (first.key if same == "key" else uuid.uuid4()).hex,
        "lease_id": first.lease_id,
        "revision": first.revision if same == "lease" else 7,
        "choice": "second", "criterion": "", "left_is_first": True, "tools": "{}", "created_at": "2026-01-01",
    }  # fmt: skip
    marks = ", ".join(["%s"] * len(values))
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        sql = f"INSERT OR REPLACE INTO annotate_judgement ({', '.join(values)}) VALUES ({marks})"
        cursor.execute(sql, list(values.values()))
    assert rows(Judgement) == before
