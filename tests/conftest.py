"""Give every test its own folders. In CI nothing may be skipped."""

import os

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache

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
    cache.clear()  # the sign-in limit counts across tests otherwise


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
