"""Options of `restore` that are refused before anything is opened."""

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--restorer=vqfr", "--option=fidelity=3"), "vqfr: fidelity cannot be '3'. It is a number from 0 to 1."),
        (("--restorer=vqfr", "--option=fidelity"), "--option fidelity: write NAME=VALUE."),
        (("--restorer=vqfr", "--restorer=gfpgan", "--option=fidelity=1"), "--option needs exactly one --restorer."),
        (("--result=mine",), "--result needs exactly one --restorer."),
        (("--restorer=vqfr", "--result=lq"), "--result lq: this name is reserved. Choose another."),
    ],
)
def test_invalid_options_of_restore_are_refused(arguments, message):
    with pytest.raises(CommandError) as refused:
        call_command("restore", *arguments)
    assert str(refused.value) == message


@pytest.mark.django_db
def test_licence_is_asked_for_before_any_restorer_runs():
    asked = r"dr2-spar is free for non-commercial use only\. Its licence: .*--accept-licence"
    with pytest.raises(CommandError, match=asked):
        call_command("restore", "--restorer", "lanczos", "--restorer", "dr2-spar")
    with pytest.raises(CommandError, match="run degrade first"):
        call_command("restore", "--restorer", "lanczos", "--restorer", "dr2-spar", "--accept-licence")
