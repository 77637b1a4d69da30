"""Environment variables and the variables of the Makefile. Each needs a description here, or the build stops."""

import ast
import re
from collections.abc import Iterator

from _generate import ROOT
from _generate.cells import NO_DEFAULT, code, require_described, table

PACKAGES = ("annotate", "rewardlab", "refl")

# Variable -> its default in words where the code's default is an expression, and its meaning.
SETTINGS: dict[str, tuple[str, str]] = {
    "DATA_ROOT": (
        "`var` in the checkout; installed from a wheel: `var` in the current folder",
        "Folder of the SQLite database, the secret, predictors, static files.",
    ),
    "MEDIA_ROOT": ("`DATA_ROOT/media`", "Folder of the images."),
    "MEDIA_STORE": ("", "`s3://BUCKET/PREFIX` keeps images and predictors in a bucket, and `MEDIA_ROOT` is a cache for "
                    "trainings. Empty: folders. See [Deploying](../operators/deploying.md)."),
    "STATIC_ROOT": ("`DATA_ROOT/staticfiles`", "Folder of the static files, filled by `collectstatic` and `serve`."),
    "RUN_ROOT": ("`DATA_ROOT/runs`", "Folder of trainings and evaluations, one subfolder each."),
    "DATA_FOLDERS": ("", "Folders of the server from which leads choose photographs and tables for "
                     "[jobs](../leads/jobs.md): absolute paths, separated by commas."),
    "JOB_FILE_DAYS": ("", "Days after its end for which the log and the files of a job are kept, and for which an "
                      "upload waits for its ingest."),
    "UPLOAD_ROOT": ("`DATA_ROOT/uploads`", "Folder of photographs that leads [upload](../operators/running.md#uploads) "
                    "until they are ingested. Large requests are stored there too."),
    "UPLOAD_MB": ("", "Megabytes of an upload. 0 switches uploads off."),
    "UPLOAD_FILES": ("", "Number of files of an upload, with those in archives."),
    "UPLOAD_UNPACKED_MB": ("", "Megabytes of an upload when its archives are unpacked."),
    "UPLOAD_ZIP_RATIO": ("", "How many times its packed size a file in an archive may have."),
    "UPLOAD_MEGAPIXELS": ("", "Megapixels of an uploaded image. At most 64 count."),
    "DATABASE_URL": ("SQLite, `DATA_ROOT/db.sqlite3`", "For PostgreSQL: `postgres://user:password@host/name`."),
    "BROKER_URL": ("", "Queue of background tasks. Empty: the database. For Redis: `redis://host:6379/0`."),
    "WORKERS": ("", "Number of background processes of the worker."),
    "DEPLOYMENT": ("", "`development` or `production`. Production refuses to start with `DEBUG`, with a missing or "
                   "guessable secret, without `ALLOWED_HOSTS`, or with a wildcard in it."),
    "DEBUG": ("", "Django's debug pages. Refused in production."),
    "SECRET_KEY": ("created on first use in `DATA_ROOT/secret_key`", "Django's secret. Must be set in production: at "
                   "least 50 characters, 10 of them different."),
    "NAME_SALT": ("`SECRET_KEY`", "Salt of the hashes of file and identity names. Before you replace the secret, set "
                  "this to the old secret, so that the same names keep the same hashes."),
    "ALLOWED_HOSTS": ("`localhost`, `127.0.0.1`, `[::1]`; in production none", "Hosts that serve the site, separated "
                      "by commas. Must be set in production."),
    "CSRF_TRUSTED_ORIGINS": ("", "Origins with scheme, separated by commas, from which forms are accepted."),
    "UMASK": ("", "Whom new files exclude, as an octal number: `077` all but the owner, `007` all but a group."),
    "TOKEN_DAYS": ("", "Days until an access token of the HTTP API expires, at most and by default."),
    "GUEST_LINK_DAYS": ("", "Days after which a guest's return link ends if it is not used."),
    "JOIN_LIMIT": ("", "How many people can join by invitation links from one address within ten minutes."),
    "BEHIND_TLS_PROXY": ("", "Set this if a proxy terminates TLS. The last address in `X-Forwarded-For` is then taken "
                         "as the client, and in production `X-Forwarded-Proto` says whether the request used HTTPS."),
    "SECURE_SSL_REDIRECT": ("", "Production only: redirect HTTP to HTTPS."),
    "SECURE_HSTS_SECONDS": ("", "Production only: seconds of HTTP Strict Transport Security. Extend it in steps, see "
                            "[On a network](../operators/running.md#on-a-network)."),
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": ("", "Production only: extend it to all subdomains."),
    "SECURE_HSTS_PRELOAD": ("", "Production only: allow browsers to list the domain. Hard to take back."),
    "URL_PREFIX": ("", "Path under which a proxy serves the site, such as `/faces`."),
    "TIME_ZONE": ("", "Time zone of the pages, such as `Europe/Berlin`."),
    "FAILED_TASK_DAYS": ("", "Days for which failed background tasks are kept."),
    "METRICS_TOKEN": ("", "Secret of `/metrics`. Empty: there is no such page."),
    "LEAST_FREE_MB": ("", "`/ready` fails if fewer megabytes are free, and uploads leave as much."),
    "SENTRY_DSN": ("", "Address of Sentry, to which errors are reported without personal data."),
    "LOG_LEVEL": ("", "Level of the log on standard error: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."),
    "LOG_FORMAT": ("", "`text` or `json`."),
    "ACCESS_LOG": ("off; in production on", "Log each request."),
    "CUDA_VISIBLE_DEVICES": ("all", "GPUs among which the workers of a command are divided, separated by commas."),
    "RAY_ADDRESS": ("", "Address of the [Ray cluster](../operators/scaling.md) of `--engine ray`. Forms of jobs offer "
                    "its options only where it is set."),
    "REWARDLAB_WEIGHTS": ("", "Folder of pretrained files that you downloaded."),
    "HF_ENDPOINT": ("the public hub", "Address of the Hugging Face hub, from which `weights fetch` takes files."),
    "FACES": ("", "Number of photographs in the demo, 1 to 609. Read by `make run`."),
    "DEMO_ANNOTATORS": ("", "Number of annotators in the demo, 1 to 99. Read by `make run`."),
    "DEMO_PASSWORD": ("none: each user gets a random password", "One password for all users of the demo."),
}  # fmt: skip

MAKE_VARIABLES = {
    "PORT": "Port of `make run`.",
    "HOST": "Address to which `make run` binds. `0.0.0.0` opens it to the network and needs `ALLOWED_HOSTS`.",
    "FACES": "Number of photographs in the demo.",
    "DEMO_ANNOTATORS": "Number of annotators in the demo.",
    "TOUR_SIZE": "`tiny`, `small` or `full`.",
    "PYIQA": "`no` leaves out pyiqa, which is for non-commercial use only.",
    "TOUR_FOLDER": "Folder in which `make tour` keeps everything.",
    "PYTHON": "Interpreter with which `.venv` is created, 3.11 or newer.",
}


def settings() -> str:
    rows = []
    for name, default in environment_reads():
        words, meaning = SETTINGS[name]
        rows.append((code(name), words or default, meaning))
    return table(("variable", "default", "meaning"), rows)


def environment_reads() -> Iterator[tuple[str, str]]:
    """Yield every environment variable that the packages read, with its default as the code states it."""
    seen = set()
    for file in [
        ROOT / "annotate/settings/__init__.py",
        *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if (found := read_of_variable(node)) and found[0] not in seen:
                seen.add(found[0])
                yield found


def read_of_variable(node: ast.AST) -> tuple[str, str] | None:
    """Return name and default of `env("NAME", default=...)`, `env.int(...)` and so on, and `os.environ.get(...)`."""
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    called, name = ast.unparse(node.func), str(node.args[0].value)
    given = [word.value for word in node.keywords if word.arg == "default"] + node.args[1:]
    if re.fullmatch(r"env(\.\w+)?", called) or called == "os.environ.get":
        return name, literal(given[0]) if given else NO_DEFAULT
    return None


def literal(node: ast.expr) -> str:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return NO_DEFAULT
    shown = {True: "on", False: "off", "": "empty"}.get(value) if isinstance(value, (bool, str)) else None
    return shown or (code(f"{value}") if value != [] else "none")


def make_variables() -> str:
    found = dict(re.findall(r"^(\w+) \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    require_described("Makefile", found, MAKE_VARIABLES)
    return table(("variable", "default", "meaning"), [(code(n), code(v), MAKE_VARIABLES[n]) for n, v in found.items()])
