"""The form on the page of a checked upload: the most important options of the ingest job, whose others keep their
defaults."""

from typing import Any

from django.forms import BoundField
from django.utils.translation import gettext as _

from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import KINDS
from annotate.models import Upload, User

SHOWN = ("dataset", "dataset_kind", "split", "identity_from", "size")


class IngestForm(JobForm):
    """The form of the ingest job with the folder of an upload."""

    def __init__(self, upload: Upload, data: Any = None, *, user: User) -> None:
        kind = KINDS["ingest"]
        empty = JobForm(kind, user=user)
        values = {name: empty.get_initial_for_field(field, name) for name, field in empty.fields.items()}
        values["path"] = upload.token
        if data is None:
            super().__init__(kind, user=user, initial=values)
        else:
            super().__init__(kind, values | {name: data.get(name, "") for name in SHOWN}, user=user)
        self.fields["dataset"].required = True
        self.fields["dataset"].help_text = _(
            "Small letters, digits, hyphens and underscores. A known name adds to that data set."
        )

    def shown(self) -> list[BoundField]:
        return [self[name] for name in SHOWN]
