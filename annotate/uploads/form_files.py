"""The files of a form without script: written to quarantine while the request is parsed, with their folders."""

from collections.abc import Mapping
from typing import Any

from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from annotate.common.refusals import Refused
from annotate.uploads.quarantine import LONGEST_NAME, FormReceiver


class _ToQuarantine(FileUploadHandler):
    chunk_size = 1 << 20

    def __init__(self, receiver: FormReceiver) -> None:
        super().__init__()
        self.receiver = receiver

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, file_name, *args, **kwargs)
        self.receiver.open(file_name)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.receiver.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        self.receiver.complete()


class _FolderParser(MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str:
        """Keep the folders, which Django removes. The name is checked later, and never used in quarantine."""
        return file_name[:LONGEST_NAME]


def receive_into(request: HttpRequest, receiver: FormReceiver) -> None:
    """Let the receiver write the files when the request is parsed, which is when its POST is read first."""

    def parse(meta: Mapping[str, Any], data: Any) -> tuple[QueryDict, MultiValueDict]:
        try:
            return _FolderParser(meta, data, [_ToQuarantine(receiver)], request.encoding).parse()
        except Refused as refused:
            receiver.refusal = refused
            return QueryDict(), MultiValueDict()
        finally:
            receiver.close()

    request.parse_file_upload = parse  # type: ignore[method-assign, assignment]
