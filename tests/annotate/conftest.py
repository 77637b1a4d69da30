"""Fixtures of the site's tests."""

import pytest

from tests.support.factories import make_user


@pytest.fixture
def run_root(settings, tmp_path):
    """An empty run folder."""
    settings.RUN_ROOT = tmp_path / "runs"
    settings.RUN_ROOT.mkdir()
    return settings.RUN_ROOT


@pytest.fixture
def lead(client, db):
    """A client that is signed in as a lead."""
    client.force_login(make_user("lead", is_staff=True))
    return client


@pytest.fixture
def person(client, db):
    """An annotator, as whom the client is signed in."""
    person = make_user("ann")
    client.force_login(person)
    return person
