"""What can be chosen for an option whose values a command does not list: rows, runs, and files of allowed folders."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from annotate.jobs import folders
from annotate.models import Campaign, Candidate, Dataset, GoldSet, Restorer, Upload, User
from annotate.predictor import status
from annotate.runs import run_folders
from rewardlab import assets
from rewardlab.training.runs import Run

Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """The choices of an option.

    argument: turns a choice into the command's argument. empty: what to do if there is nothing to choose.
    """

    choices: Callable[[], Choices]
    argument: Callable[[str], str] = str
    empty: str | Promise | Callable[[], str] = ""

    def remedy(self) -> str:
        return self.empty() if callable(self.empty) else str(self.empty)


def _path(token: str) -> str:
    return str(folders.resolve(token))


def _same(values: list[str]) -> Choices:
    return [(value, value) for value in values]


def _weights_remedy() -> str:
    return _("There is nothing in the weights folder %(folder)s (REWARDLAB_WEIGHTS). Put the file there.") % {
        "folder": assets.weights_folder()
    }


def _data_remedy() -> str:
    if settings.DATA_FOLDERS:
        named = ", ".join(map(str, settings.DATA_FOLDERS))
        return _("There is nothing to choose in %(folders)s (DATA_FOLDERS).") % {"folders": named}
    return _("The operator has not allowed any folder of the server yet: set DATA_FOLDERS.")


def runs_of(*kinds: str, empty: str | Promise) -> Source:
    """Offer the finished runs of these kinds, newest first."""

    def choices() -> Choices:
        return _same([run.name for run in run_folders.list_runs() if run.kind in kinds and run.state == "done"])

    return Source(choices, empty=empty)


def _states(kind: str) -> Choices:
    """Offer the saved states of runs of this kind, the newest first."""
    return _same(
        [
            f"{run.name}@{step}"
            for run in run_folders.list_runs()
            if run.kind == kind
            for step in sorted(Run(run.folder).states(), reverse=True)
        ]
    )


def _restorers() -> Choices:
    from refl.restorers import KNOWN

    # Only those whose files are here.
    known = [(name, spec.title) for name, spec in KNOWN.items() if all(map(assets.is_available, spec.assets))]
    return known + [
        (run.name, f"{run.name} ({run.title})")
        for run in run_folders.list_runs()
        if run.kind in ("base", "refl") and run.state == "done"
    ]


def _metrics(*more: str) -> Callable[[], Choices]:
    def choices() -> Choices:
        from rewardlab.metrics.registry import METRICS

        return [(name, metric.title) for name, metric in METRICS.items()] + _same(list(more))

    return choices


def _released_rewards() -> Choices:
    """Offer HPSv2 as its authors released it, if its file is here."""
    return [(name, assets.ASSETS[name].file) for name in assets.RELEASED_REWARDS if assets.is_available(name)]


def _results() -> Choices:
    """Offer folders of results, each under the restorer's name, which is the folder's."""
    named = []
    for token, label in folders.list_folders(folders.data_roots()):
        if name := slugify(label.rpartition("/")[2])[:60]:
            named.append((f"{name}={token}", f"{name}: {label}"))
    return named


def _result_argument(choice: str) -> str:
    name, _equals, token = choice.partition("=")
    return f"{name}={_path(token)}"


def _photographs() -> Choices:
    roots = folders.data_roots()
    return folders.list_folders(roots, with_root=True) + folders.list_files(roots, folders.TABLES)


def _uploads() -> Choices:
    checked = Upload.objects.filter(state=Upload.State.CHECKED).select_related("uploader").order_by("-pk")
    return [(upload.token, _upload_label(upload)) for upload in checked if upload.folder.is_dir()]


def _upload_label(upload: Upload) -> str:
    count = ngettext("%(n)s photograph", "%(n)s photographs", upload.photographs) % {"n": f"{upload.photographs:,}"}
    created = timezone.localtime(upload.created_at)
    label = _("Upload of %(name)s, %(time)s, %(count)s") % {
        "name": upload.uploader,
        "time": f"{created:%Y-%m-%d %H:%M}",
        "count": count,
    }
    return label if upload.keep else _("%(upload)s (deleted after ingest)") % {"upload": label}


def _photographs_remedy() -> str:
    return " ".join((_data_remedy(), _("Or upload photographs from your own computer.")))


DATASETS = Source(
    lambda: _same(list(Dataset.objects.order_by("name").values_list("name", flat=True))),
    empty=gettext_lazy("There is no data set yet: ingest photographs first."),
)
NO_REWARD_MODEL = gettext_lazy("There is no finished reward model yet: train one first.")
REWARD_MODELS = runs_of("frm", empty=NO_REWARD_MODEL)
REWARDS = Source(lambda: REWARD_MODELS.choices() + _released_rewards(), empty=NO_REWARD_MODEL)
BASES = runs_of("base", empty=gettext_lazy("There is no finished base restorer yet: train one first."))
NO_STATES = gettext_lazy("No run of this kind has a saved state yet.")
STATES_OF_REWARD_MODELS = Source(lambda: _states("frm"), empty=NO_STATES)
STATES_OF_BASES = Source(lambda: _states("base"), empty=NO_STATES)
STATES_OF_TUNINGS = Source(lambda: _states("refl"), empty=NO_STATES)
RESTORERS = Source(_restorers)
RESTORED = Source(
    lambda: _same(list(Restorer.objects.order_by("name").values_list("name", flat=True))),
    empty=gettext_lazy("No restorer has restored a face yet: restore faces first."),
)
COMPARED = Source(
    lambda: _same([*Restorer.objects.order_by("name").values_list("name", flat=True), Candidate.LQ]),
)
METRICS = Source(_metrics())
METRICS_AND_FID = Source(_metrics("arcface_over1", "fid"))
CAMPAIGNS = Source(
    lambda: [
        (found.slug, found.name)
        for found in Campaign.objects.filter(kind=Campaign.Kind.PREFERENCE).order_by("-open", "name")
    ],
    empty=gettext_lazy("There is no preference campaign yet."),
)
GOLD_SETS = Source(
    lambda: [
        (found.campaign.slug, found.campaign.name)
        for found in GoldSet.objects.filter(frozen_at=None).select_related("campaign").order_by("-pk")
    ],
    empty=gettext_lazy("There is no gold set that is not frozen: make one first."),
)
ANNOTATORS = Source(
    lambda: _same(
        list(
            User.objects.filter(is_active=True, guest=False, imported=False, simulated=False)
            .order_by("username")
            .values_list("username", flat=True)
        )
    )
)
VERSIONS = Source(
    lambda: [
        (str(version.pk), f"{version}, {version.created_at:%Y-%m-%d %H:%M}")
        for version in status.versions_with_labels().order_by("-pk")[:30]
    ],
    empty=gettext_lazy("There is no version of the SVM yet."),
)
DEVICES = Source(lambda: _same(["cpu", "cuda", "mps"]))
PHOTOGRAPHS = Source(_photographs, _path, _data_remedy)
PHOTOGRAPHS_AND_UPLOADS = Source(lambda: _uploads() + _photographs(), _path, _photographs_remedy)
TABLES = Source(lambda: folders.list_files(folders.data_roots(), folders.TABLES), _path, _data_remedy)
RESULTS = Source(_results, _result_argument, _data_remedy)
WEIGHTS = Source(lambda: folders.list_files(folders.weights_roots()), _path, _weights_remedy)
WEIGHTS_FOLDERS = Source(lambda: folders.list_folders(folders.weights_roots()), _path, _weights_remedy)
# The folder of the job, whose content is packed for download. Chosen by us, so there is nothing to choose.
OUTPUT = Source(list)
