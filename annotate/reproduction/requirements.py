"""What is missing for a step, with the remedy: files, data sets, people's answers, accepted licences."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from django.db import DatabaseError

from annotate.models import Campaign, Face, GoldSet, Preference
from annotate.models.faces import Split
from annotate.reproduction.steps import Need, NeedKind, Step
from refl.bases import BASES
from refl.configs import PRESETS
from refl.restorers import KNOWN
from rewardlab import assets, metrics
from rewardlab.assets import ASSETS
from rewardlab.metrics import fid

ABSENT = "Not available in this version."


@dataclass(frozen=True)
class Missing:
    """Something that is missing, and how to get it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


def missing(step: Step, *, accepted: bool = False) -> list[Missing]:
    """Return what is missing for a step. accepted: non-commercial licences were accepted."""
    found = []
    for need in step.needs:
        try:
            found += CHECKS[need.kind](need, accepted)
        except DatabaseError:
            found.append(Missing("a database that is up to date", "Run manage.py migrate, or fix DATABASE_URL."))
    return list(dict.fromkeys(found))


def all_missing(steps: Iterable[Step], *, accepted: bool = False) -> list[Missing]:
    """Return what is missing for steps, each thing once."""
    return list(dict.fromkeys(one for step in steps for one in missing(step, accepted=accepted)))


def unmeasured(names: Iterable[str]) -> list[str]:
    """Return the metrics that cannot be computed here, each with its remedy."""
    found = []
    for name in names:
        if name == "fid":
            found.append(fid.availability("inception"))
        elif (known := name.removesuffix("_over1")) in metrics.METRICS:
            found.append(metrics.availability(known))
        else:
            found.append(f"metric {name}: not available in this version")
    return [text for text in found if text]


def _asset(need: Need, accepted: bool) -> list[Missing]:
    if need.name not in ASSETS:
        return [Missing(f"file {need.name}", ABSENT)]
    if assets.is_available(need.name):
        return []
    return [Missing(f"file {need.name} ({ASSETS[need.name].file})", ASSETS[need.name].remedy)]


def _restorer(need: Need, accepted: bool) -> list[Missing]:
    spec = KNOWN.get(need.name)
    if spec is None:
        return [Missing(f"restorer {need.name}", ABSENT)]
    found = [text for name in spec.assets for text in _asset(Need("asset", name), accepted)]
    if spec.noncommercial and not accepted:
        found.append(
            Missing(
                f"your agreement that {need.name} is free for non-commercial use only",
                f"Its licence: {spec.licence}. If your use is non-commercial, add --accept-licence.",
            )
        )
    if spec.architecture == "CodeFormer":
        found += _package(Need("package", "spandrel_extra_arches"), accepted)
    return found


def _base(need: Need, accepted: bool) -> list[Missing]:
    """Return what a base of `refl` lacks: what its untuned restorer does."""
    if need.name not in PRESETS:
        return [Missing(f"base {need.name}", ABSENT)]
    base = BASES.get(PRESETS[need.name].base)
    return _restorer(Need("restorer", base.system), accepted) if base else []


def _package(need: Need, accepted: bool) -> list[Missing]:
    if find_spec(need.name):
        return []
    remedy = "Run pip install --no-deps -r requirements-codeformer.txt (for non-commercial use)."
    return [Missing(f"package {need.name}", remedy)]


def _dataset(need: Need, accepted: bool) -> list[Missing]:
    count = Face.objects.filter(dataset__name=need.name).count()
    if count >= need.count:
        return []
    return [
        Missing(
            f"data set {need.name}: {count:,} of {need.count:,} faces are here",
            f"Check a copy with manage.py dataset check {need.name} FOLDER, then run manage.py ingest --preset "
            f"{need.name} FOLDER.",
        )
    ]


def _answers(need: Need, accepted: bool) -> list[Missing]:
    judged = Preference.objects.filter(
        pair__face__dataset__name=need.name, pair__face__split=Split.TRAIN, origin=Preference.Origin.HUMAN
    ).count()
    if judged >= need.count:
        return []
    return [
        Missing(
            f"answers: people have judged {judged:,} of {need.count:,} training pairs of {need.name}",
            "Create a campaign in the browser (manage.py serve).",
        )
    ]


def _gold(need: Need, accepted: bool) -> list[Missing]:
    if GoldSet.objects.exclude(frozen_at=None).exists():
        return []
    return [
        Missing(
            f"gold set of {need.count} pairs",
            "Run manage.py make_gold, let people judge it in the browser, then run manage.py freeze_gold.",
        )
    ]


def _study(need: Need, accepted: bool) -> list[Missing]:
    if Campaign.objects.filter(kind=Campaign.Kind.STUDY).exists():
        return []
    return [
        Missing(f"user study with {need.count} participants", "Create a campaign of kind user study in the browser.")
    ]


CHECKS: dict[NeedKind, Callable[[Need, bool], list[Missing]]] = {
    "asset": _asset, "restorer": _restorer, "base": _base, "package": _package, "dataset": _dataset,
    "answers": _answers, "gold": _gold, "study": _study,
}  # fmt: skip
