"""The site accepts no uploads, and no request needs a large body. Both are refused in words, before a form, a
parser or the disk sees any of it."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponse

from annotate.web.errors import RefusedInWords, too_large


class RefuseFiles(FileUploadHandler):
    def new_file(self, *args: Any, **kwargs: Any) -> None:
        raise RefusedInWords("Files are not taken here. Photographs come in by the command `ingest`.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called: a file is refused when its name is seen."""

    def file_complete(self, file_size: int) -> None:
        """Never called either."""


def small_bodies(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django limits what it parses itself; the API's parser reads past that. A body without a length is not read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdigit() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return too_large(request)
        return get_response(request)

    return middleware
