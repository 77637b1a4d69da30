"""Refused requests and their HTTP status."""

from rest_framework import status

FORBIDDEN = {"not_a_member", "consent_needed", "tutorial_needed", "qualification_needed", "member_paused"}
MALFORMED = {"malformed"}
NOT_FOUND = {"no_such_lease"}


class Refused(Exception):
    """A request was refused. `message` says why and what to do; `code` is for API clients."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def status_of(refused: Refused) -> int:
    if refused.code in FORBIDDEN:
        return status.HTTP_403_FORBIDDEN
    if refused.code in MALFORMED:
        return status.HTTP_400_BAD_REQUEST
    return status.HTTP_404_NOT_FOUND if refused.code in NOT_FOUND else status.HTTP_409_CONFLICT
