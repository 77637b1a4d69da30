"""What can be started from the browser: each kind of job with its command, its queue, and its options.

The options themselves are read from the command. Here stands which of them are offered, and what can be chosen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotate.jobs import sources
from annotate.jobs.sources import Source
from annotate.models import Job, User
from refl.bases import BASES, Base
from refl.restorers import KNOWN, RestorerSpec

TRAINING_PERMISSION = "annotate.start_training"

OVERWRITE = _("Each job writes to an empty folder of its own.")
FROM_DATABASE = _("A job reads the site's own data. For a snapshot from elsewhere, run the command.")
OTHER_KIND = _("There is a form of its own for this.")
SAME_BASE = _("All variants start from the same base.")
OUTSIDE = _("It may name files outside the allowed folders.")


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    text: what it does. first: options at the top of the form; the others are folded away. sources: options with
    choices that the command does not list. withheld: options that are not offered, with the reason. required: options
    that the command does not need, but the form does. for_trainers: options that train, which need the permission.
    initial: values that differ from the command's defaults. assets: pretrained files that it may need.
    """

    name: str
    title: str | Promise
    text: str | Promise
    group: Literal["data", "labels", "gold", "files", "training", "evaluation"]
    command: str = ""  # by default its name
    queue: str = Job.Queue.STAGES
    needs_trainer: bool = False
    first: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    withheld: Mapping[str, str | Promise] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    for_trainers: tuple[str, ...] = ()
    initial: Mapping[str, object] = field(default_factory=dict)
    assets: tuple[str, ...] = ()

    @property
    def command_name(self) -> str:
        return self.command or self.name


def _assets_of(restorers: Iterable[Base | RestorerSpec]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(asset for restorer in restorers for asset in restorer.assets))


GROUPS = {
    "data": _("Faces and pairs"),
    "labels": _("Labels of the SVM"),
    "gold": _("Gold set"),
    "files": _("Files"),
    "training": _("Trainings"),
    "evaluation": _("Evaluations"),
}
STAGE: dict[str, Any] = {"initial": {"skip_bad": True}}  # the log lists what was skipped; that alone is not a failure
TUNING: dict[str, Any] = {
    "first": (
        "preset",
        "accept_licence",
        "base_run",
        "frm",
        "judge",
        "run",
        "iterations",
        "learning_rate",
        "dataset",
        "seed",
    ),
    "sources": {
        "dataset": sources.DATASETS,
        "base_run": sources.BASES,
        "frm": sources.REWARDS,
        "judge": sources.REWARDS,
        "sd": sources.WEIGHTS_FOLDERS,
        "checkpoint": sources.WEIGHTS,
        "swinir": sources.WEIGHTS,
        "sparnet": sources.WEIGHTS,
        "continue_from": sources.STATES_OF_TUNINGS,
        "prompts": sources.TABLES,
        "device": sources.DEVICES,
    },
    "withheld": {"faces": FROM_DATABASE, "images": FROM_DATABASE, "weights_root": OUTSIDE},
    "initial": {"preset": "compact"},
    "queue": Job.Queue.TRAINING,
    "group": "training",
    "needs_trainer": True,
}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "ingest",
            _("Ingest photographs"),
            _("Finds, aligns and crops the faces of photographs in a folder of the server or in an upload, and divides "
              "the people among the splits. Photographs that are already here are not stored twice. Low-quality "
              "pictures can be given with them, or alone: faces without photographs."),
            "data",
            first=("path", "lq", "preset", "dataset", "dataset_kind", "split", "size", "aligned"),
            sources={
                "path": sources.PHOTOGRAPHS_AND_UPLOADS,
                "captions": sources.TABLES,
                "lq": sources.PHOTOGRAPHS_AND_UPLOADS,
            },
            assets=("yunet",),
            **STAGE,
        ),
        Kind(
            "caption",
            _("Caption faces"),
            _("Writes a caption for each face that has none, by a template, by a model, or from a table."),
            "data",
            first=("backend", "source", "dataset"),
            sources={"source": sources.PHOTOGRAPHS, "dataset": sources.DATASETS, "device": sources.DEVICES},
            withheld={"model": OUTSIDE},
            **STAGE,
        ),
        Kind(
            "degrade",
            _("Degrade faces"),
            _("Makes the low-quality image of each face that has none (Eq. 9)."),
            "data",
            first=("preset", "export"),
            sources={"export": sources.OUTPUT},
            **STAGE,
        ),
        Kind(
            "restore",
            _("Restore faces"),
            _("Restores each low-quality image that the chosen restorers have not restored yet. Without a choice: "
              "Lanczos, DAT-light and Real-ESRGAN."),
            "data",
            first=("restorer", "accept_licence", "from_folder", "dataset", "faces"),
            sources={
                "restorer": sources.RESTORERS,
                "prompts": sources.TABLES,
                "from_folder": sources.RESULTS,
                "dataset": sources.DATASETS,
                "device": sources.DEVICES,
            },
            withheld={"weights": OTHER_KIND},
            assets=_assets_of(KNOWN.values()),
            **STAGE,
        ),
        Kind(
            "restore_checkpoint",
            _("Restore with a checkpoint"),
            _("Restores the low-quality images by a network whose checkpoint is in the weights folder: GFPGAN, "
              "CodeFormer, SwinIR and others. Choose a new name for its results."),
            "data",
            command="restore",
            first=("restorer", "weights", "accept_licence", "dataset", "faces"),
            sources={"weights": sources.WEIGHTS, "dataset": sources.DATASETS, "device": sources.DEVICES},
            withheld={"from_folder": OTHER_KIND, "option": OTHER_KIND, "prompts": OTHER_KIND, "result": OTHER_KIND},
            required=("restorer", "weights"),
            **STAGE,
        ),
        Kind(
            "build_pairs",
            _("Build pairs"),
            _("Makes all pairs of two images of a face that do not exist yet."),
            "data",
            **STAGE,
        ),
        Kind(
            "score",
            _("Score images"),
            _("Computes the image-quality metrics that are missing. The SVM learns from the six of the paper."),
            "data",
            first=("metrics",),
            sources={"metrics": sources.METRICS, "device": sources.DEVICES},
            **STAGE,
        ),
        Kind(
            "fit_predictor",
            _("Fit the SVM"),
            _("Fits a new version of the SVM to the answers of people, and labels all other contested pairs with it. "
              "It ends a rollback."),
            "labels",
            first=("refit",),
        ),
        Kind(
            "autolabel",
            _("Label pairs by the SVM"),
            _("Labels the contested pairs that have no label. With a largest error, a new version labels only pairs "
              "for which the error, measured on a random audit sample, stays below it."),
            "labels",
            first=("max_error", "confidence", "audit_share", "all"),
        ),
        Kind(
            "rollback_predictor",
            _("Roll the SVM back"),
            _("Makes an earlier version of the SVM current again, with its labels. No new version is fitted until "
              "someone fits the SVM. Nothing is deleted."),
            "labels",
            first=("version",),
            sources={"version": sources.VERSIONS},
            required=("version",),
        ),
        Kind(
            "learning_curve",
            _("Measure the learning curve"),
            _("Measures how the accuracy of the SVM depends on the number of answers, and whether more are worth it."),
            "labels",
            first=("points",),
        ),
        Kind(
            "make_gold",
            _("Make a gold set"),
            _("Makes a campaign of pairs of gold faces, by which people and models are compared. No model is trained "
              "on them. At least two annotators answer each pair."),
            "gold",
            first=("name", "pairs", "overlap", "annotators"),
            sources={"annotators": sources.ANNOTATORS},
        ),
        Kind(
            "freeze_gold",
            _("Freeze a gold set"),
            _("Closes a gold set for good and stores the hash of its pairs and answers. All answers must be in, of at "
              "least two annotators per pair."),
            "gold",
            first=("name",),
            sources={"name": sources.GOLD_SETS},
            required=("name",),
        ),
        Kind(
            "agreement",
            _("Measure agreement"),
            _("Asks metrics, versions of the SVM and reward models about the pairs of a gold set, and reports how far "
              "people and models agree."),
            "gold",
            first=("campaign", "frm", "out"),
            sources={
                "campaign": sources.CAMPAIGNS,
                "frm": sources.REWARD_MODELS,
                "out": sources.OUTPUT,
                "device": sources.DEVICES,
            },
            **STAGE,
        ),
        Kind(
            "snapshot",
            _("Freeze a snapshot"),
            _("Writes all preferences and faces to files, from which models can be trained elsewhere."),
            "files",
            first=("with_images", "split", "origin", "consensus", "dataset", "faces_of"),
            sources={"out": sources.OUTPUT, "dataset": sources.DATASETS, "faces_of": sources.DATASETS},
            withheld={"overwrite": OVERWRITE},
        ),
        Kind(
            "export",
            _("Export labels"),
            _("Writes the labels in a format that other tools load. People appear under pseudonyms."),
            "files",
            first=("format", "with_images", "split", "origin", "consensus"),
            sources={"out": sources.OUTPUT},
            withheld={"overwrite": OVERWRITE},
        ),
        Kind(
            "train_frm",
            _("Train a reward model"),
            _("Freezes the labels and trains a reward model (FRM) on them. The backbone “compact” trains on a CPU."),
            "training",
            queue=Job.Queue.TRAINING,
            needs_trainer=True,
            first=("backbone", "checkpoint", "run", "iterations", "learning_rate", "consensus", "dataset", "seed"),
            sources={
                "checkpoint": sources.WEIGHTS,
                "continue_from": sources.STATES_OF_REWARD_MODELS,
                "dataset": sources.DATASETS,
                "device": sources.DEVICES,
            },
            withheld={
                "manifest": FROM_DATABASE, "images": FROM_DATABASE, "architecture": OUTSIDE, "weights_root": OUTSIDE,
            },
            initial={"backbone": "compact"},
            assets=("hpsv2",),
        ),
        Kind(
            "train_base",
            _("Train a base restorer"),
            _("Trains a compact diffusion restorer for small faces, which can then be tuned."),
            "training",
            queue=Job.Queue.TRAINING,
            needs_trainer=True,
            first=("variant", "stage_1", "run", "iterations", "learning_rate", "degradation", "dataset", "seed"),
            sources={
                "stage_1": sources.BASES,
                "continue_from": sources.STATES_OF_BASES,
                "dataset": sources.DATASETS,
                "device": sources.DEVICES,
            },
            withheld={"faces": FROM_DATABASE, "images": FROM_DATABASE},
        ),
        Kind(
            "refl",
            _("Tune a restorer"),
            _("Tunes a diffusion restorer by reward feedback learning (ReFL), with a reward model that is finished."),
            assets=_assets_of(BASES.values()),
            **TUNING,
        ),
        Kind(
            "ablate",
            _("Run an ablation"),
            _("Tunes, restores and compares the variants of one of the paper's tables. Finished runs are not "
              "repeated."),
            **TUNING
            | {
                "first": ("table", "preset", "accept_licence", "base_run", "frm", "judge", "run", "iterations"),
                "required": ("frm",),
                "withheld": TUNING["withheld"] | {"continue_from": SAME_BASE},
            },
        ),
        Kind(
            "evaluate_frm",
            _("Evaluate a reward model"),
            _("Compares a reward model with people, on the gold set, and with its untuned backbone, the SVM and every "
              "metric."),
            "evaluation",
            queue=Job.Queue.TRAINING,
            first=("run", "baseline"),
            sources={"run": sources.REWARD_MODELS, "baseline": sources.REWARD_MODELS, "device": sources.DEVICES},
            withheld={"images": FROM_DATABASE},
            for_trainers=("null_text", "human_fraction"),
        ),
        Kind(
            "evaluate",
            _("Compare restorers"),
            _("Compares restorers on the same faces by every available metric, with intervals (Table 1)."),
            "evaluation",
            queue=Job.Queue.TRAINING,
            first=("restorers", "base", "frm", "judge", "faces", "dataset", "name"),
            sources={
                "dataset": sources.DATASETS,
                "restorers": sources.RESTORED,
                "base": sources.COMPARED,
                "metrics": sources.METRICS_AND_FID,
                "trained_on": sources.METRICS_AND_FID,
                "frm": sources.REWARDS,
                "judge": sources.REWARDS,
                "rewards": sources.REWARDS,
                "fid_stats": sources.WEIGHTS,
                "device": sources.DEVICES,
            },
        ),
    )
}  # fmt: skip


def may_start(user: User, kind: Kind) -> bool:
    """Return whether the person may start, cancel and resume jobs of this kind."""
    if not (user.is_active and user.is_staff):
        return False
    return not kind.needs_trainer or is_trainer(user)


def is_trainer(user: User) -> bool:
    return user.is_active and user.is_staff and user.has_perm(TRAINING_PERMISSION)
