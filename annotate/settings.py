"""Settings. Everything that differs between machines is an environment variable with a working default.

DEPLOYMENT=production refuses to start with DEBUG on, with a missing or weak SECRET_KEY, or with any host allowed.
"""

import secrets
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

PACKAGE = Path(__file__).resolve().parent
INSTALLED_SITE_FILES = PACKAGE / "site_files"
if INSTALLED_SITE_FILES.is_dir():  # in an installation from a wheel, made by setup.py; a checkout has no such folder
    BASE_DIR = Path.cwd()  # never write into the installed packages
    SITE_FILES = INSTALLED_SITE_FILES
else:
    BASE_DIR = SITE_FILES = PACKAGE.parent
env = environ.Env()

DEPLOYMENT = env("DEPLOYMENT", default="development")
if DEPLOYMENT not in ("development", "production"):
    raise ImproperlyConfigured(f"DEPLOYMENT is {DEPLOYMENT!r}; use development or production.")
PRODUCTION = DEPLOYMENT == "production"

DATA_ROOT = Path(env("DATA_ROOT", default=str(BASE_DIR / "var")))
MEDIA_ROOT = Path(env("MEDIA_ROOT", default=str(DATA_ROOT / "media")))
PREDICTOR_ROOT = DATA_ROOT / "predictors"
RUN_ROOT = Path(env("RUN_ROOT", default=str(DATA_ROOT / "runs")))


def _installation_secret() -> str:
    """Return the random secret of this installation, created on first use and stored in DATA_ROOT."""
    path = DATA_ROOT / "secret_key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x") as file:
                path.chmod(0o600)
                file.write(secrets.token_urlsafe(50))
        except FileExistsError:
            pass  # another process has just created it
    return path.read_text()


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY", default="") or ("" if PRODUCTION else _installation_secret())
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Salts the hashes of file and identity names; the names themselves are never stored.
NAME_SALT = env("NAME_SALT", default="") or SECRET_KEY

# If on, the client's address is the last entry of X-Forwarded-For, which the proxy appends.
BEHIND_TLS_PROXY = env.bool("BEHIND_TLS_PROXY", default=False)

if PRODUCTION:
    faults = [
        fault
        for wrong, fault in (
            (DEBUG, "DEBUG is on: unset it"),
            (len(SECRET_KEY) < 50, "SECRET_KEY is missing or shorter than 50 characters"),
            (SECRET_KEY.startswith("django-insecure"), "SECRET_KEY is Django's insecure default"),
            (not ALLOWED_HOSTS, "ALLOWED_HOSTS is empty: name the hosts that serve this site"),
            (any("*" in host for host in ALLOWED_HOSTS), "ALLOWED_HOSTS allows any host: name them"),
        )
        if wrong
    ]
    if faults:
        raise ImproperlyConfigured("Refusing to start in production. " + "; ".join(faults) + ".")
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    if BEHIND_TLS_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "django_q",
    "annotate",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "annotate.web.middleware.content_security_policy",
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

# No page accepts a file, and none needs a large body.
FILE_UPLOAD_HANDLERS = ["annotate.web.uploads.RefuseFiles"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000

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
            ]
        },
    }
]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_ROOT / 'db.sqlite3'}")}
if "ENGINE" not in DATABASES["default"]:
    raise ImproperlyConfigured(
        "DATABASE_URL is not a database URL. Set it to one such as postgres://user:password@host/name."
    )
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATA_ROOT.mkdir(parents=True, exist_ok=True)
    DATABASES["default"]["OPTIONS"] = {
        # Writers queue instead of failing, and readers never wait. FULL, not NORMAL: an acknowledged label must
        # survive a power cut.
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "annotate.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "annotate.accounts.roles.LeadPermissions"]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
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
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATICFILES_DIRS = [SITE_FILES / "static"]
STATIC_ROOT = DATA_ROOT / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MANIFEST_STRICT = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",  # first, so that a refusal is a 401
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
Q_CLUSTER = {
    "name": "diffusionreward",
    "workers": env.int("WORKERS", default=2),
    "timeout": 3600,
    "retry": 3700,
    "max_attempts": 3,
    "ack_failures": True,
    "catch_up": False,
    "poll": 0.3,
    "queue_limit": 4,
    "save_limit": 250,
    "label": "Background tasks",
} | ({"redis": BROKER_URL} if BROKER_URL else {"orm": "default"})

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="WARNING")},
}
