"""The storages of images and predictors from MEDIA_STORE."""

import re
from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/(?!\.+(/|$))[A-Za-z0-9._=-]+)*)/?")


def media_storages(url: str) -> dict[str, dict]:
    """Return Django's STORAGES of images and predictors: folders, or the bucket in s3://BUCKET/PREFIX."""
    if not url:
        folders = {"images": "MEDIA_ROOT", "predictors": "PREDICTOR_ROOT"}
        return {
            alias: {"BACKEND": "annotate.common.stores.Folder", "OPTIONS": {"setting": setting}}
            for alias, setting in folders.items()
        }
    found = BUCKET.fullmatch(url)
    if not found:
        raise ImproperlyConfigured(
            f"MEDIA_STORE is {url!r}. Leave it empty to keep images in MEDIA_ROOT, or set it to s3://BUCKET/PREFIX."
        )
    if find_spec("storages") is None or find_spec("boto3") is None:
        raise ImproperlyConfigured("MEDIA_STORE needs boto3 and django-storages: install the extra s3.")
    prefix = found["prefix"].strip("/")
    prefixes = {"images": prefix, "predictors": f"{prefix}/predictors".lstrip("/")}
    return {
        alias: {
            "BACKEND": "annotate.common.s3_store.Bucket",
            "OPTIONS": {"bucket": found["bucket"], "prefix": prefix},
        }
        for alias, prefix in prefixes.items()
    }
