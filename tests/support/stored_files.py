"""Files of stored images, for tests that keep them in a folder."""

from pathlib import Path

from django.conf import settings

from annotate.models import Candidate


def path_of(candidate: Candidate) -> Path:
    return Path(settings.MEDIA_ROOT) / candidate.relative_path
