"""Settings. Everything that differs between machines is an environment variable with a working default.

DEPLOYMENT=production refuses to start with DEBUG on, with a missing or weak SECRET_KEY, or with any host allowed.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from annotate.settings import logs
from annotate.settings.database import database
from annotate.settings.environment import env, one_of, time_zone, url_prefix, whole_number
from annotate.settings.media import media_storages
from annotate.settings.secret import installation_secret, weakness

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED_SITE_FILES = PACKAGE / "site_files"
if INSTALLED_SITE_FILES.is_dir():  # in an installation from a wheel, made by setup.py; a checkout has no such folder
    BASE_DIR = Path.cwd()  # never write into the installed packages
    SITE_FILES = INSTALLED_SITE_FILES
else:
    BASE_DIR = SITE_FILES = PACKAGE.parent

UMASK = env("UMASK", default="077")
if UMASK.strip("01234567") or not 1 <= len(UMASK) <= 4:
    raise ImproperlyConfigured(f"UMASK is {UMASK!r}; write an octal number such as 077, or 007 for a group.")
os.umask(int(UMASK, 8))  # before anything is written: photographs, answers and secrets are for the owner only

DEPLOYMENT = one_of("DEPLOYMENT", env("DEPLOYMENT", default="development"), ("development", "production"))
PRODUCTION = DEPLOYMENT == "production"

DATA_ROOT = Path(env("DATA_ROOT", default=str(BASE_DIR / "var")))
try:
    DATA_ROOT.mkdir(parents=True, exist_ok=True)
    if not os.access(DATA_ROOT, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError("it cannot be read or written by this user")
except OSError as error:
    raise ImproperlyConfigured(
        f"DATA_ROOT is {DATA_ROOT}, which cannot be used: {error.strerror or error}. Set it to a folder that this user "
        "can write."
    ) from error
MEDIA_ROOT = Path(env("MEDIA_ROOT", default=str(DATA_ROOT / "media")))
# s3://BUCKET/PREFIX keeps images and predictors in a bucket; MEDIA_ROOT is then a cache for trainings.
MEDIA_STORE = env("MEDIA_STORE", default="")
PREDICTOR_ROOT = DATA_ROOT / "predictors"
RUN_ROOT = Path(env("RUN_ROOT", default=str(DATA_ROOT / "runs")))
# Folders of the server from which leads may choose photographs and tables, separated by commas.
DATA_FOLDERS = [Path(folder) for folder in env.list("DATA_FOLDERS", default=[])]
if relative := [folder for folder in DATA_FOLDERS if not folder.is_absolute()]:
    raise ImproperlyConfigured(f"DATA_FOLDERS contains {relative[0]}; write absolute paths, separated by commas.")
# Logs and files of jobs are kept for so many days after their end.
JOB_FILE_DAYS = whole_number("JOB_FILE_DAYS", env.int("JOB_FILE_DAYS", default=14))
# Photographs that leads send from the browser, until they are ingested. 0 megabytes switch uploads off.
UPLOAD_ROOT = Path(env("UPLOAD_ROOT", default=str(DATA_ROOT / "uploads")))
UPLOAD_MB = whole_number("UPLOAD_MB", env.int("UPLOAD_MB", default=4000))
UPLOAD_FILES = whole_number("UPLOAD_FILES", env.int("UPLOAD_FILES", default=20_000), least=1)
UPLOAD_UNPACKED_MB = whole_number("UPLOAD_UNPACKED_MB", env.int("UPLOAD_UNPACKED_MB", default=8000), least=1)
UPLOAD_ZIP_RATIO = whole_number("UPLOAD_ZIP_RATIO", env.int("UPLOAD_ZIP_RATIO", default=100), least=1)
UPLOAD_MEGAPIXELS = whole_number("UPLOAD_MEGAPIXELS", env.int("UPLOAD_MEGAPIXELS", default=64), least=1)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY", default="") or ("" if PRODUCTION else installation_secret(DATA_ROOT))
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Salts the hashes of file and identity names; the names themselves are never stored.
NAME_SALT = env("NAME_SALT", default="") or SECRET_KEY

# The path under which a proxy serves the site, such as /faces; empty at the root. Django adds it to every address.
URL_PREFIX = url_prefix(env("URL_PREFIX", default=""))
FORCE_SCRIPT_NAME = URL_PREFIX or None

# If on, the client's address is the last entry of X-Forwarded-For, which the proxy appends.
BEHIND_TLS_PROXY = env.bool("BEHIND_TLS_PROXY", default=False)

if PRODUCTION:
    faults = [
        fault
        for wrong, fault in (
            (DEBUG, "DEBUG is on: unset it"),
            (weakness(SECRET_KEY), weakness(SECRET_KEY)),
            (not ALLOWED_HOSTS, "ALLOWED_HOSTS is empty: name the hosts that serve this site"),
            (any("*" in host for host in ALLOWED_HOSTS), "ALLOWED_HOSTS allows any host: name them"),
        )
        if wrong
    ]
    if faults:
        raise ImproperlyConfigured("Refusing to start in production. " + "; ".join(map(str, faults)) + ".")
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    # One hour: browsers refuse HTTP for that long, whatever the site does. docs/operators/running.md says how to extend
    # it.
    SECURE_HSTS_SECONDS = whole_number("SECURE_HSTS_SECONDS", env.int("SECURE_HSTS_SECONDS", default=3600))
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
    SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # subdomains and preload are the operator's choice
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    if BEHIND_TLS_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "annotate.web.errors.csrf_failure"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = URL_PREFIX or "/"
# Browsers send a host's cookies to all its ports, so two installations on one host need different names.
_COOKIE_SUFFIX = hashlib.sha256(f"cookie names/{SECRET_KEY}".encode()).hexdigest()[:8]
SESSION_COOKIE_NAME = f"session_{_COOKIE_SUFFIX}"
CSRF_COOKIE_NAME = f"csrf_{_COOKIE_SUFFIX}"
LANGUAGE_COOKIE_NAME = f"language_{_COOKIE_SUFFIX}"
FORM_RENDERER = "annotate.web.form_renderer.FormRenderer"
MESSAGE_STORAGE = (
    "django.contrib.messages.storage.session.SessionStorage"  # the default is a cookie, whose name is fixed
)
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "annotate.web.admin_site.SubjectAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "annotate",
]

MIDDLEWARE = [
    "annotate.web.observation.observe_requests",
    "annotate.web.probes.answer_probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "annotate.web.middleware.content_security_policy",
    "annotate.web.middleware.private_pages",
    "annotate.web.uploads.small_bodies",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "annotate.web.middleware.htmx_sign_in",
]

# Only `annotate.uploads` accepts files, with a handler and limits of its own, and no other page needs a large body.
FILE_UPLOAD_HANDLERS = ["annotate.web.uploads.RefuseFiles"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
DATA_UPLOAD_MAX_NUMBER_FILES = None

ROOT_URLCONF = "annotate.urls"
WSGI_APPLICATION = "annotate.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [SITE_FILES / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "annotate.web.navigation.sections",
            ],
            "libraries": {"components": "annotate.web.components"},
        },
    }
]

DATABASES = {"default": database(env("DATABASE_URL", default=""), DATA_ROOT)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "annotate.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "annotate.accounts.roles.LeadPermissions"]
TOKEN_DAYS = env.int("TOKEN_DAYS", default=90)
GUEST_LINK_DAYS = env.int("GUEST_LINK_DAYS", default=30)
JOIN_LIMIT = env.int("JOIN_LIMIT", default=10)
if not all(1 <= number <= 36_500 for number in (TOKEN_DAYS, GUEST_LINK_DAYS, JOIN_LIMIT)):
    raise ImproperlyConfigured("TOKEN_DAYS, GUEST_LINK_DAYS and JOIN_LIMIT must be numbers from 1 to 36,500.")
LOGIN_URL = LOGOUT_REDIRECT_URL = f"{URL_PREFIX}/accounts/login/"
LOGIN_REDIRECT_URL = f"{URL_PREFIX}/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "UserAttributeSimilarityValidator")
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [SITE_FILES / "locale"]
FORMAT_MODULE_PATH = "annotate.formats"
USE_I18N = True
USE_TZ = True
TIME_ZONE = time_zone(env("TIME_ZONE", default="UTC"))

STATIC_URL = f"{URL_PREFIX}/static/"
STATICFILES_DIRS = [SITE_FILES / "static"]
STATIC_ROOT = Path(env("STATIC_ROOT", default=str(DATA_ROOT / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    **media_storages(MEDIA_STORE),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MANIFEST_STRICT = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "annotate.api.authentication.TokenAuthentication",  # first, so that a refusal is a 401
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["annotate.api.json_parser.RequestParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "annotate.api.errors.handle",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DiffusionReward",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "OAS_VERSION": "3.1.0",
    "ENUM_NAME_OVERRIDES": {
        "Question": "annotate.models.campaigns.Question",
        "Criterion": "annotate.models.campaigns.Criterion",
    },
}

# The broker is the database unless BROKER_URL names a Redis server. A task that dies is delivered again after `retry`
# seconds, which must exceed `timeout`; every task may safely run twice.
BROKER_URL = env("BROKER_URL", default="")
Q_CLUSTER: dict[str, Any] = {
    "name": "diffusionreward",
    "workers": whole_number("WORKERS", env.int("WORKERS", default=2), least=1),
    "timeout": 3600,
    "retry": 3700,
    "max_attempts": 3,
    "ack_failures": True,
    "catch_up": False,
    "poll": 0.3,
    "queue_limit": 4,
    "save_limit": 250,
    "label": "Background tasks",
    "scheduler": False,
} | (
    {"redis": BROKER_URL, "broker_class": "annotate.common.allowed_redis_tasks.RedisQueue"}
    if BROKER_URL
    else {"orm": "default", "broker_class": "annotate.common.allowed_tasks.DatabaseQueue"}
)

# Failed background tasks are kept for so many days; see `annotate.accounts.retention`.
FAILED_TASK_DAYS = whole_number("FAILED_TASK_DAYS", env.int("FAILED_TASK_DAYS", default=30))

# Without a token, /metrics does not exist.
METRICS_TOKEN = env("METRICS_TOKEN", default="")
# /ready reports less free space than this in DATA_ROOT or MEDIA_ROOT.
LEAST_FREE_MB = whole_number("LEAST_FREE_MB", env.int("LEAST_FREE_MB", default=500))
SENTRY_DSN = env("SENTRY_DSN", default="")
LOGGING = logs.logging_settings(
    one_of("LOG_LEVEL", env("LOG_LEVEL", default="WARNING"), logs.LEVELS),
    one_of("LOG_FORMAT", env("LOG_FORMAT", default="text"), logs.FORMATS),
    access=env.bool("ACCESS_LOG", default=PRODUCTION),
)
