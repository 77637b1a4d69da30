"""The secret of an installation, and what makes one too weak for production."""

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SHORTEST = 50
FEWEST_CHARACTERS = 10  # a hexadecimal secret has up to 16 different ones


def installation_secret(folder: Path) -> str:
    """Return the random secret in this folder, made on first use."""
    path = folder / "secret_key"
    if not path.exists():
        _make(path)
    secret = path.read_text()
    if not secret.strip():
        raise ImproperlyConfigured(
            f"{path} is empty, so the secret of this installation is missing. Restore it from a backup, or set "
            "SECRET_KEY. If neither exists, delete the file: a new secret is then made, which signs everyone out and "
            "changes the hashes of file and identity names."
        )
    return secret


def _make(path: Path) -> None:
    """Write the file complete, readable by its owner only, unless another process makes it at the same moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".secret_key.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(50))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()


def weakness(secret: str) -> str | None:
    """Return why a secret is too weak for production."""
    if len(secret) < SHORTEST:
        return f"SECRET_KEY is missing or shorter than {SHORTEST} characters"
    if secret.startswith("django-insecure"):
        return "SECRET_KEY is Django's insecure default"
    if len(set(secret)) < FEWEST_CHARACTERS:
        return f"SECRET_KEY has fewer than {FEWEST_CHARACTERS} different characters, so it can be guessed"
    return None
