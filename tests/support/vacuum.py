"""Every test begins with empty tables on PostgreSQL too (`pytest -p tests.support.vacuum`).

What a test rolls back stays in them as dead rows, and once they have been analyzed the planner takes them for tables
without rows: a test of seconds then takes minutes, or hours.
"""

import psycopg
import pytest
from django.apps import apps
from django.db import connection


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the fixtures, so that no transaction of the last test is open."""
    told = connection.settings_dict
    if not told["NAME"].startswith("test_"):  # the first test makes the database
        return
    tables = ", ".join(
        model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed
    )
    with psycopg.connect(
        host=told["HOST"], port=told["PORT"], user=told["USER"], dbname=told["NAME"], autocommit=True
    ) as maintenance:
        maintenance.execute(f"VACUUM {tables}")
