"""Refuse files and large request bodies, which only the pages of uploads need, before they are parsed or stored."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext as _

from annotate.common import large_bodies
from annotate.web.errors import RefusedWithMessage, too_large


class RefuseFiles(FileUploadHandler):
    def new_file(self, *args: Any, **kwargs: Any) -> None:
        raise RefusedWithMessage(
            _("This page accepts no files. Leads send photographs on the page “Upload photographs”.")
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called: `new_file` refuses first."""

    def file_complete(self, file_size: int) -> None:
        """Never called: `new_file` refuses first."""


def small_bodies(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Apply the size limit to the API too, whose parser ignores Django's. A body without Content-Length is not read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length[:20]) > _most_bytes(request):
            with translation.override(translation.get_language_from_request(request)):  # LocaleMiddleware runs later
                return too_large(request)
        return get_response(request)

    return middleware


def _most_bytes(request: HttpRequest) -> int:
    if large_bodies.may_be_large(request.path_info, request.META.get("QUERY_STRING", "")):
        return large_bodies.most_bytes()
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE
