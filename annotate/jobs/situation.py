"""What a kind of job finds: how much is there, how much is missing, and which files have to be fetched first."""

from collections.abc import Callable

from django.db.models import Count
from django.utils.translation import gettext as _

from annotate.common.stored_text import translated
from annotate.jobs.kinds import Kind
from annotate.models import Candidate, Dataset, Face, GoldSet, Judgement, Pair, Restorer
from annotate.models.faces import Split
from annotate.predictor import status as predictor_status
from rewardlab import assets


def situation(kind: Kind) -> list[str]:
    """Return sentences on what is there and what is missing."""
    return SENTENCES[kind.name]() if kind.name in SENTENCES else []


def missing_files(kind: Kind) -> list[str]:
    """Return which pretrained files are missing, where to get them, and where to put them."""
    found = []
    for name in kind.assets:
        try:
            assets.find(name)
        except assets.MissingAsset as error:
            found.append(translated(str(error)))
    return found


def _missing(what: str, missing: int, total: int) -> str:
    return _("%(what)s: %(n)s of %(total)s") % {"what": what, "n": missing, "total": total}


def _faces() -> list[str]:
    by_split = dict(Face.objects.order_by().values_list("split").annotate(Count("pk")))
    counts = ", ".join(f"{Split(split).label} {by_split.get(split, 0)}" for split in Split.values)
    datasets = ", ".join(Dataset.objects.order_by("name").values_list("name", flat=True)) or "–"
    return [
        _("Faces by split: %(counts)s") % {"counts": counts},
        _("Data sets: %(names)s") % {"names": datasets},
    ]


def _captions() -> list[str]:
    return [_missing(_("Faces without a caption"), Face.objects.filter(caption="").count(), Face.objects.count())]


def _lq() -> list[str]:
    faces = Face.objects.count()
    there = Candidate.objects.filter(source=Candidate.LQ).count()
    return [_missing(_("Faces without a low-quality image"), faces - there, faces)]


def _restored() -> list[str]:
    degraded = Candidate.objects.filter(source=Candidate.LQ).count()
    by_restorer = Restorer.objects.annotate(restored=Count("candidates")).order_by("name")
    return [
        _("Low-quality images: %(n)s") % {"n": degraded},
        *(
            _missing(_("Not restored by %(name)s") % {"name": row.name}, max(0, degraded - row.restored), degraded)
            for row in by_restorer
        ),
    ]


def _pairs() -> list[str]:
    from annotate.pipeline.pairing import in_no_pair

    restored = Candidate.objects.filter(restorer__isnull=False)
    return [
        _("Pairs: %(n)s") % {"n": Pair.objects.count()},
        _missing(_("Restorations without pairs"), in_no_pair(restored).count(), restored.count()),
    ]


def _scores() -> list[str]:
    from annotate.pipeline.scoring import metric_coverage

    return [
        ". ".join(
            filter(
                None,
                (
                    _missing(row["metric"].title, row["scored"], row["wanted"]),
                    translated((row["remedy"] or "").removeprefix(f"{row['metric'].title}: ")),
                ),
            )
        )
        for row in metric_coverage()
    ]


def _predictor() -> list[str]:
    status = predictor_status.predictor_status()
    if status.version is None:
        return [_("The SVM has not been fitted yet."), *_answers()]
    sentences = [_("Current version of the SVM: %(version)s") % {"version": status.version}]
    return sentences + ([_("Newer answers wait for a fit.")] if status.waiting else [])


def _gold() -> list[str]:
    paired = Face.objects.filter(split=Split.GOLD, pairs__isnull=False).distinct().count()
    return [
        _("Gold faces with pairs: %(n)s") % {"n": paired},
        _("Gold sets: %(n)s") % {"n": GoldSet.objects.count()},
    ]


def _answers() -> list[str]:
    return [
        _("Pairs: %(n)s") % {"n": Pair.objects.count()},
        _("Answers, with changes: %(n)s") % {"n": Judgement.objects.count()},
    ]


SENTENCES: dict[str, Callable[[], list[str]]] = {
    "ingest": _faces,
    "caption": _captions,
    "degrade": _lq,
    "restore": _restored,
    "restore_checkpoint": _restored,
    "build_pairs": _pairs,
    "score": _scores,
    "fit_predictor": _predictor,
    "autolabel": _predictor,
    "rollback_predictor": _predictor,
    "learning_curve": _answers,
    "make_gold": _gold,
    "freeze_gold": _gold,
    "agreement": _gold,
    "snapshot": _answers,
    "export": _answers,
    "train_frm": _answers,
    "train_base": _faces,
    "refl": lambda: _faces() + _captions(),
    "ablate": _faces,
    "evaluate": _restored,
}
