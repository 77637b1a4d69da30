"""Hashes of what steps make: rows of the database, run folders, files. An empty text means that it is not there.

A product is written `KIND of:DATASET from:SOURCES`. Only what trainings and evaluations read is part of it: results
that later tables add, such as scores of test faces, do not change it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from annotate.models import Campaign, Candidate, Face, GoldSet, Judgement, LearningCurve, Pair, Preference, Score
from annotate.models.faces import Split
from annotate.predictor.status import current_predictor
from rewardlab.files import sha256_of
from rewardlab.metrics.registry import PAPER_METRICS
from rewardlab.training.runs import Run

JUDGED = (Split.TRAIN.value, Split.GOLD.value)
Rows = Iterable[tuple[object, ...]]


def digest(product: str, root: Path) -> str:
    """Return the hash of a product. root: the folder of the runs."""
    kind, _, rest = product.partition(":")
    if kind == "run":
        return _of_files(Run(root / rest).model) if Run(root / rest).is_done() else ""
    if kind == "results":
        return _of_files(root / rest / "evaluation" / "results.json")
    if kind == "file":
        return _of_files(Path(rest))
    kind, *options = product.split()
    chosen = dict(option.split(":", 1) for option in options)
    rows = ROWS[kind](chosen.get("of", ""), chosen.get("from", "").split(","))
    hasher, count = hashlib.sha256(), 0
    for row in rows:
        hasher.update(repr(row).encode() + b"\n")
        count += 1
    return hasher.hexdigest() if count else ""


def _faces(dataset: str, sources: list[str]) -> Rows:
    found = Candidate.objects.filter(face__dataset__name=dataset, source=Candidate.HQ)
    return found.order_by("sha256").values_list("face__split", "face__identity", "sha256").iterator()


def _captions(dataset: str, sources: list[str]) -> Rows:
    found = Face.objects.filter(dataset__name=dataset).exclude(caption="")
    return found.order_by("source_sha256").values_list("source_sha256", "caption").iterator()


def _images(dataset: str, sources: list[str]) -> Rows:
    found = Candidate.objects.filter(face__dataset__name=dataset, source__in=sources)
    return found.order_by("source", "sha256", "pk").values_list("source", "sha256").iterator()


def _pairs(dataset: str, sources: list[str]) -> Rows:
    found = Pair.objects.filter(face__dataset__name=dataset, face__split__in=JUDGED)
    return found.order_by("pk").values_list("first__sha256", "second__sha256", "kind").iterator()


def _scores(dataset: str, sources: list[str]) -> Rows:
    found = Score.objects.filter(
        candidate__face__dataset__name=dataset, candidate__face__split__in=JUDGED, metric__in=PAPER_METRICS
    )
    return found.order_by("candidate__sha256", "metric").values_list("candidate__sha256", "metric", "value").iterator()


def _answers(dataset: str, sources: list[str]) -> Rows:
    found = Preference.objects.filter(pair__face__dataset__name=dataset, origin__in=Preference.JUDGED)
    return found.order_by("pair_id").values_list("pair_id", "p_first", "origin", "judgements").iterator()


def _svm(dataset: str, sources: list[str]) -> Rows:
    version = current_predictor()
    return [(version.pk, version.created_at.isoformat())] if version else []


def _gold(dataset: str, sources: list[str]) -> Rows:
    frozen = GoldSet.objects.exclude(frozen_at=None).order_by("pk")
    return frozen.values_list("pairs_sha256", "answers_sha256").iterator()


def _study(dataset: str, sources: list[str]) -> Rows:
    given = Judgement.objects.filter(lease__item__campaign__kind=Campaign.Kind.STUDY)
    return given.order_by("pk").values_list("pk", "choice").iterator()


def _learning_curve(dataset: str, sources: list[str]) -> Rows:
    newest = LearningCurve.objects.order_by("-pk").first()
    return [(newest.pk, newest.created_at.isoformat())] if newest else []


ROWS = {
    "faces": _faces, "captions": _captions, "images": _images, "pairs": _pairs, "scores": _scores,
    "answers": _answers, "svm": _svm, "gold": _gold, "study": _study, "learning-curve": _learning_curve,
}  # fmt: skip


def _of_files(path: Path) -> str:
    """Hash a file, or the files of a model's folder with their names, without its card, which evaluations renew."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".md")
    if not files:
        return ""
    lines = "\n".join(f"{file.relative_to(path)} {sha256_of(file)}" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
