"""Keys of the desk, changed by each person."""

import re

import pytest

from annotate.accounts import hotkeys
from annotate.models import User
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db
USUAL = {action: key for action, (key, _words) in hotkeys.ACTIONS.items()}


@pytest.fixture
def person(client):
    person = make_user("ann")
    client.force_login(person)
    make_campaign(slug="faces", members=[person])
    return person


def test_changed_keys_are_on_the_desk_and_in_the_help(client, person):
    answer = client.post("/accounts/keys", USUAL | {"left_realism": "Ｗ", "undo": "A"})
    assert answer.status_code == 302
    assert User.objects.get().hotkeys == {"left_realism": "w", "undo": "a"}
    page = client.get("/campaigns/faces/judge").content.decode()
    assert 'value="left:realism" data-key="w"' in page
    assert re.search(r'<button data-key="a">.*Undo <kbd>A</kbd>', page)
    assert "<dt><kbd>W</kbd> <kbd>S</kbd> <kbd>D</kbd></dt>" in page
    assert "<dt><kbd>A</kbd></dt>" in page
    client.post("/accounts/keys", {"reset": "1"})
    assert 'value="left:realism" data-key="a"' in client.get("/campaigns/faces/judge").content.decode()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"undo": "a"}, "A is already the key for “left is better by realism; in a study: the left image”."),
        ({"undo": "1"}, "Enter one letter, a to z."),
        ({"undo": " "}, "This field is required."),
        ({"undo": "ф"}, "Enter one letter, a to z."),
        ({"undo": "\0"}, "Null characters are not allowed."),
    ],
)
def test_conflicting_or_impossible_keys_are_refused(client, person, changed, fault):
    answer = client.post("/accounts/keys", USUAL | changed)
    assert answer.status_code == 400
    assert fault in answer.content.decode()
    assert User.objects.get().hotkeys == {}


@pytest.mark.parametrize("stored", [[], {"undo": "a"}, {"undo": 7}, {"unknown": "y"}])
def test_stored_keys_that_do_not_fit_are_ignored(stored):
    assert hotkeys.keys_of(User(hotkeys=stored)) == USUAL
