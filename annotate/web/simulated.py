"""The query parameter by which pages include or leave out the answers of simulated annotators."""

from django.core.exceptions import BadRequest
from django.http import QueryDict
from django.utils.translation import gettext as _

PARAMETER, INCLUDE, LEAVE_OUT = "simulated", "include", "leave-out"


def asked_for(query: QueryDict) -> bool | None:
    """Return whether the address includes them, or None if it does not say. Raises `BadRequest`."""
    asked = query.get(PARAMETER, "")
    if asked not in ("", INCLUDE, LEAVE_OUT):
        raise BadRequest(_("simulated must be include or leave-out."))
    return asked == INCLUDE if asked else None


def switches(query: QueryDict) -> dict[str, str]:
    """Return the queries that show the same page with and without them."""
    found = {}
    for name, value in (("include", INCLUDE), ("leave_out", LEAVE_OUT)):
        changed = query.copy()
        changed[PARAMETER] = value
        found[name] = changed.urlencode()
    return found
