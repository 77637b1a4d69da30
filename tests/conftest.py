"""Give every test its own folders. In CI nothing may be skipped."""

import os
import secrets

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.utils import translation

from tests.support.browser import (
    browser,  # noqa: F401 - fixtures
    sign_in,  # noqa: F401 - fixtures
    site,  # noqa: F401 - fixtures
)


def pytest_configure() -> None:
    django_settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.PREDICTOR_ROOT = tmp_path / "predictors"
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    cache.clear()  # the sign-in limit counts across tests otherwise
    translation.deactivate()  # a request in another language leaves it active in this thread


@pytest.fixture(scope="session")
def s3_server():
    from tests.support.s3 import S3Server

    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server, settings, monkeypatch) -> str:
    """Keep images and predictors in a bucket, under a prefix of this test, which is returned."""
    from annotate.settings.media import media_storages
    from tests.support.s3 import BUCKET

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    prefix = secrets.token_hex(4)
    settings.STORAGES = settings.STORAGES | media_storages(f"s3://{BUCKET}/{prefix}")
    return prefix


@pytest.fixture(params=["folder", "bucket"])
def either_store(request) -> str | None:
    """Run the test twice, with the images in a folder and in a bucket, whose prefix is returned."""
    return request.getfixturevalue("bucket") if request.param == "bucket" else None


@pytest.fixture
def rng_image():
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Report a skipped test as failed in CI, where everything must be installed."""
    report = yield
    if report.skipped and os.environ.get("DIFFUSIONREWARD_NOTHING_SKIPPED"):
        report.outcome = "failed"
    return report
