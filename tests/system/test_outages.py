"""When the database cannot be used: words, a way on, and a page as soon as it is back."""

import sqlite3

import pytest
from django.db import OperationalError, connection

from tests.support.factories import make_campaign, make_user


@pytest.fixture
def asked(client, db, monkeypatch):
    client.raise_request_exception = False
    person = make_user("ann")
    make_campaign(slug="faces", members=(person,))
    client.force_login(person)
    return client


def without_database(error: Exception):
    """Every statement fails as the driver makes it fail."""

    def fails(execute, sql, parameters, many, context):
        raise error

    return connection.execute_wrapper(fails)


@pytest.mark.parametrize("path", ["/", "/campaigns/faces/judge", "/health"])
def test_a_page_says_that_the_database_is_away_and_comes_back(asked, path):
    with without_database(OperationalError("the database system is starting up")):
        told = asked.get(path)
    assert told.status_code == 503
    assert told["Retry-After"] == "5"
    assert "The database is unavailable. Try again in a few seconds." in told.content.decode()
    assert asked.get(path).status_code == 200


def test_a_program_is_told_to_send_its_answer_again_with_its_key(asked):
    with without_database(OperationalError("database or disk is full")):
        told = asked.post("/api/v1/judgements", {}, content_type="application/json")
    assert told.status_code == 503
    assert told.json()["code"] == "unavailable"
    assert "Send it again, with the same key" in told.json()["detail"]


def test_another_fault_is_no_outage(asked):
    with without_database(sqlite3.DatabaseError("image is malformed")):
        told = asked.post("/api/v1/judgements", {}, content_type="application/json")
    assert (told.status_code, told.json()["code"]) == (500, "fault")
