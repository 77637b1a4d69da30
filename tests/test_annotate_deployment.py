"""What a web process loads, what it refuses to start with, and the headers that it sends."""

import os
import subprocess
import sys

import pytest

from tests.servers import ROOT

SECRET = "s" * 60


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "annotate.settings", **environment},
        capture_output=True,
        text=True,
    )


def test_web_processes_load_neither_torch_nor_scikit_learn():
    code = (
        "import sys; import annotate.wsgi; from django.urls import get_resolver;"
        "get_resolver().url_patterns; import annotate.admin, annotate.api.views;"
        "from annotate.selectors.progress import metric_columns;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'sklearn', 'cv2', 'spandrel'}))"
    )
    result = run(code)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_libraries_know_no_django():
    code = (
        "import pkgutil, importlib, sys, refl, rewardlab\n"
        "for package in (refl, rewardlab):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print('django' in sys.modules, 'annotate' in sys.modules)"
    )
    result = run(code)
    assert result.stdout.strip() == "False False", result.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": "example.org", "DEBUG": "1"}, "DEBUG is on"),
        ({"SECRET_KEY": "", "ALLOWED_HOSTS": "example.org"}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "django-insecure-" + SECRET, "ALLOWED_HOSTS": "example.org"}, "insecure default"),
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": "*"}, "any host"),
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is empty"),
    ],
)
def test_production_refuses_unsafe_settings(environment, words):
    result = run("import django; django.setup()", DEPLOYMENT="production", **environment)
    assert result.returncode != 0
    assert words in result.stderr


def test_an_address_that_names_no_database_is_refused_in_words():
    result = run("import django; django.setup()", DATABASE_URL="banana")
    assert result.returncode != 0
    assert "DATABASE_URL is no address of a database" in result.stderr.splitlines()[-1]


def test_production_starts_with_safe_settings():
    result = run(
        "import django; django.setup()",
        DEPLOYMENT="production",
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS="example.org",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.django_db
def test_every_answer_forbids_foreign_and_inline_scripts(client):
    for address in ("/accounts/login/", "/", "/admin/login/", "/nowhere"):
        policy = client.get(address)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
