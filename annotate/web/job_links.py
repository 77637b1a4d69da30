"""Addresses of the forms that start jobs. Packages below `annotate.jobs` link to them too."""

from urllib.parse import urlencode

from django.urls import reverse


def job_address(kind: str, **options: str | list[str]) -> str:
    """Return the address of a kind's form, with options filled in."""
    address = reverse("job_new", args=[kind])
    return f"{address}?{urlencode(options, doseq=True)}" if options else address
