"""The form on the page of a checked upload: the most important options of the ingest job, whose others keep their
defaults."""

from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import KINDS
from annotate.models import Upload, User

SHOWN = ("pictures", "dataset", "dataset_kind", "split", "identity_from", "size")
# The options that are free text or bare words in the form of the job. "" keeps the command's default.
CHOICES = {
    "pictures": (
        gettext_lazy("Pictures"),
        [
            ("", gettext_lazy("photographs of high quality")),
            ("lq", gettext_lazy("low-quality pictures, of the photographs of this data set or of none")),
        ],
    ),
    "dataset_kind": (
        gettext_lazy("Kind of the data set"),
        [
            ("", gettext_lazy("training, or the kind that the data set has already")),
            ("evaluation", gettext_lazy("evaluation: never trained on")),
        ],
    ),
    "split": (
        gettext_lazy("Split of the faces"),
        [
            ("", gettext_lazy("of ten people, 8 to train, 1 to gold, 1 to test; of an evaluation set, all to test")),
            ("train", gettext_lazy("all train")),
            ("gold", gettext_lazy("all gold")),
            ("test", gettext_lazy("all test")),
        ],
    ),
    "identity_from": (
        gettext_lazy("People"),
        [
            ("file", gettext_lazy("each file is a different person")),
            ("folder", gettext_lazy("each folder is a person")),
            ("prefix", gettext_lazy("the file name up to the first underscore is the person")),
        ],
    ),
}


class IngestForm(JobForm):
    """The form of the ingest job with the folder of an upload."""

    def __init__(self, upload: Upload, data: Any = None, *, user: User) -> None:
        kind = KINDS["ingest"]
        empty = JobForm(kind, user=user)
        values = {name: empty.get_initial_for_field(field, name) for name, field in empty.fields.items()}
        values["lq" if data is not None and data.get("pictures") == "lq" else "path"] = upload.token
        if data is None:
            super().__init__(kind, user=user, initial=values)
        else:
            super().__init__(kind, values | {name: data.get(name, "") for name in SHOWN}, user=user)
        for name, (label, choices) in CHOICES.items():
            self.fields[name] = forms.ChoiceField(choices=choices, label=label, required=False)
        self.fields["dataset"].required = True
        self.fields["dataset"].help_text = _(
            "Small letters, digits, hyphens and underscores. A known name adds to that data set."
        )

    def shown(self) -> list[BoundField]:
        return [self[name] for name in SHOWN]
