"""An S3 bucket as a store of files. Credentials, region and endpoint are those of boto3: its variables and profiles."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from annotate.common.stores import StoreUnavailable

# A page waits at most for ATTEMPTS times the sum of both. After that, requests are refused at once for a while, so that
# an unreachable bucket does not occupy the threads that store answers.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 10, 2
PAUSE_SECONDS = 5.0
CHECK_SECONDS = 20.0  # for which the answer to a health check holds
MOST_CONNECTIONS = 16
# Faults of the bucket or of its settings. Any other answer is a fault of this code.
UNAVAILABLE = {
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "NoSuchBucket", "PermanentRedirect",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "SlowDown", "QuotaExceeded", "XMinioStorageFull", "403", "301",
}  # fmt: skip
MISSING = {"NoSuchKey", "404"}


class Bucket(S3Storage):
    """Part of a bucket. A file is replaced as a whole, and is stored durably when `save` returns."""

    is_local = False

    def __init__(self, bucket: str, prefix: str) -> None:
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=MOST_CONNECTIONS,
        )
        super().__init__(bucket_name=bucket, location=prefix, file_overwrite=True, client_config=config)
        self.refused_until = self.checked_until = 0.0
        self.refusal = self.last_fault = ""
        self.shared: Any = None
        self.sharing = threading.Lock()

    @property
    def connection(self) -> Any:
        """Open one connection pool for all threads, which only use its client. S3Storage opens one for each thread."""
        with self.sharing:
            if self.shared is None:
                self.shared = super().connection
        return self.shared

    def _open(self, name: str, mode: str = "rb") -> File:
        """Read a file by one request. S3Storage sends three."""
        key = self._normalize_name(clean_name(name))
        with self._faults(name):
            answer = self.connection.meta.client.get_object(Bucket=self.bucket_name, Key=key)
            return ContentFile(answer["Body"].read())

    def _save(self, name: str, content: File) -> str:
        with self._faults(name):
            saved: str = super()._save(name, content)
            return saved

    def exists(self, name: str) -> bool:
        with self._faults(name):
            return bool(super().exists(name))

    def delete(self, name: str) -> None:
        with self._faults(name):
            super().delete(name)

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with self._faults(name):
            found: tuple[list[str], list[str]] = super().listdir(name)
            return found

    def describe(self, name: str = "") -> str:
        return "s3://" + "/".join(part for part in (self.bucket_name, self.location, name) if part)

    def fault(self) -> str:
        if time.monotonic() >= self.checked_until:
            self.last_fault = self._ask()
            self.checked_until = time.monotonic() + CHECK_SECONDS
        return self.last_fault

    def _ask(self) -> str:
        try:
            with self._faults():
                self.connection.meta.client.head_bucket(Bucket=self.bucket_name)
        except StoreUnavailable as error:
            return str(error)
        return ""

    @contextmanager
    def _faults(self, name: str = "") -> Iterator[None]:
        """Raise `FileNotFoundError` for a missing file and `StoreUnavailable` for a bucket that cannot be used."""
        if time.monotonic() < self.refused_until:
            raise StoreUnavailable(self.refusal)
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in MISSING and name:
                raise FileNotFoundError(2, "no such file", self.describe(name)) from error
            if not (code in UNAVAILABLE | MISSING or _status(error) >= 500):
                raise
            raise self._unavailable(f"answers {code}: {_message(error)}", pause=_status(error) >= 500) from error
        except (BotoCoreError, OSError) as error:
            raise self._unavailable(f"cannot be reached ({error})", pause=True) from error

    def _unavailable(self, why: str, *, pause: bool) -> StoreUnavailable:
        remedy = "Check MEDIA_STORE, the credentials and AWS_ENDPOINT_URL."
        text = f"The bucket {self.describe()} {why.rstrip('.')}. {remedy}"
        if pause:
            self.refusal, self.refused_until = text, time.monotonic() + PAUSE_SECONDS
        return StoreUnavailable(text)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _message(error: ClientError) -> Any:
    return error.response.get("Error", {}).get("Message", "")
