"""While the database cannot be used: a message, what to do, and a page as soon as it is back."""

import sqlite3

import pytest
from django.db import OperationalError, connection

from tests.support.factories import make_campaign, make_user


@pytest.fixture
def member_client(client, db):
    client.raise_request_exception = False
    person = make_user("ann")
    make_campaign(slug="faces", members=(person,))
    client.force_login(person)
    return client


def without_database(error: Exception):
    """Make every statement fail with this error of the driver."""

    def fails(execute, sql, parameters, many, context):
        raise error

    return connection.execute_wrapper(fails)


@pytest.mark.parametrize("path", ["/", "/campaigns/faces/judge"])
def test_page_without_database_is_503_and_recovers(member_client, path):
    with without_database(OperationalError("the database system is starting up")):
        response = member_client.get(path)
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert "The database is unavailable. Try again in a few seconds." in response.content.decode()
    assert member_client.get(path).status_code == 200


def test_api_without_database_asks_to_resend_with_the_same_key(member_client):
    with without_database(OperationalError("database or disk is full")):
        response = member_client.post("/api/v1/judgements", {}, content_type="application/json")
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    assert "Send it again, with the same key" in response.json()["detail"]


def test_other_database_error_is_500_not_503(member_client):
    with without_database(sqlite3.DatabaseError("image is malformed")):
        response = member_client.post("/api/v1/judgements", {}, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (500, "fault")
