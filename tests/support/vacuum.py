"""A pytest plugin that empties the tables before every test on PostgreSQL: `pytest -p tests.support.vacuum`.

Rows that a test rolled back stay in the tables as dead rows, and their number misleads the planner: a test of seconds
can then take minutes.
"""

import psycopg
import pytest
from django.apps import apps
from django.db import connection


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Run before the fixtures, so that no transaction of the last test is open."""
    database = connection.settings_dict
    if not database["NAME"].startswith("test_"):  # the first test makes the database
        return
    tables = ", ".join(
        model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed
    )
    with psycopg.connect(
        host=database["HOST"], port=database["PORT"], user=database["USER"], dbname=database["NAME"], autocommit=True
    ) as maintenance:
        maintenance.execute(f"VACUUM {tables}")
