"""What a lead can do with a training: resume it; judge the faces that its restorer makes; tune, measure, compare."""

import json
from dataclasses import dataclass
from pathlib import Path

from django.urls import reverse
from django.utils.translation import gettext as _

from annotate.models import Candidate, GoldSet, Job, Pair, Restorer, User
from annotate.models.faces import Split
from annotate.pipeline.pairing import in_no_pair
from annotate.runs import run_folders
from annotate.runs.run_folders import RunFolder
from annotate.web.job_links import job_address

TRAINING_PERMISSION = "annotate.start_training"


@dataclass(frozen=True)
class NextStep:
    """A form or a page where the next thing is done, for those who may."""

    title: str
    address: str


def next_steps(run: RunFolder, user: User) -> list[NextStep]:
    """Return what can be done with a run that has ended, the most sensible first."""
    if run.problem:
        return []
    if run.state in ("failed", "stopped", "interrupted"):
        return _resuming(run)
    if run.state != "done":
        return []
    may_train = user.has_perm(TRAINING_PERMISSION)
    if run.kind == "frm":
        return _with_reward_model(run, may_train)
    if run.kind in ("base", "refl"):
        return _judging(run) + _with_restorer(run, may_train)
    return []


def _resuming(run: RunFolder) -> list[NextStep]:
    job = Job.objects.filter(run_name=run.name).order_by("-pk").first()
    if job is None:
        return []
    title = _("Open job %(n)s, which can be resumed") if job.can_resume else _("Open job %(n)s")
    return [NextStep(title % {"n": job.pk}, reverse("job", args=[job.pk]))]


def _judging(run: RunFolder) -> list[NextStep]:
    """Return the steps from a finished restorer to pairs that people can judge."""
    made = Candidate.objects.filter(source=run.name)
    degraded = Candidate.objects.filter(source=Candidate.LQ)
    found = []
    if degraded.exclude(face__candidates__source=run.name).exists():
        found.append(NextStep(_("Restore the faces with it"), job_address("restore", restorer=run.name)))
    if in_no_pair(made).exists():
        found.append(NextStep(_("Build pairs"), job_address("build_pairs")))
    if made.filter(scores=None).exists():
        found.append(NextStep(_("Score images"), job_address("score")))
    contested = Pair.objects.filter(kind=Pair.Kind.CONTESTED, face__split__in=(Split.TRAIN, Split.GOLD))
    if contested.filter(first__source=run.name).exists() or contested.filter(second__source=run.name).exists():
        found.append(NextStep(_("New campaign with its pairs"), f"{reverse('campaign_new')}?restorer={run.name}"))
    return found


def _with_restorer(run: RunFolder, may_train: bool) -> list[NextStep]:
    found = []
    frm, judge, base = (_source(run, role) for role in ("frm", "judge", "base_run"))
    if run.kind == "base":
        reward_models = [one.name for one in run_folders.list_runs() if one.kind == "frm" and one.state == "done"]
        if may_train and reward_models:
            address = job_address("refl", base_run=run.name, frm=reward_models[0])
            found.append(NextStep(_("Tune it by a reward model"), address))
    elif base and Restorer.objects.filter(name__in=[run.name, base]).count() == 2:
        roles = {role: name for role, name in (("frm", frm), ("judge", judge)) if name}
        if run.config.get("lambda_lpips", "0") not in ("0", "0.0"):
            roles["trained_on"] = "lpips"
        if _has_unmonitored_faces(run, base):
            address = job_address("evaluate", restorers=[base, run.name], base=base, **roles)
            found.append(NextStep(_("Compare it with its base"), address))
        else:
            title = _("All test faces monitored its training: ingest more, to compare it with its base")
            found.append(NextStep(title, job_address("ingest", split=Split.TEST.value)))
    return found


def _has_unmonitored_faces(run: RunFolder, base: str) -> bool:
    """Return whether an evaluation would have test faces left: it leaves out those that monitored a training."""
    monitored = monitored_photographs(run)
    if described := run_folders.get_run(base):
        monitored |= monitored_photographs(described)
    photographs = Candidate.objects.filter(source=Candidate.HQ, face__split=Split.TEST)
    return photographs.exclude(sha256__in=monitored).exists()


def monitored_photographs(run: RunFolder) -> set[str]:
    """Return the sha256 of the photographs that monitored a training, as `evaluate` does, but without torch.

    Empty if the list of faces cannot be read: `evaluate` then says why.
    """
    try:
        lines = (run.folder / "faces.jsonl").read_bytes().splitlines()[1:]
        rows = [row for row in map(json.loads, lines) if row["split"] == Split.TEST and row["lq"]]
        return {Path(row["hq"]).stem for row in rows[: int(run.config["held_out"])]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _with_reward_model(run: RunFolder, may_train: bool) -> list[NextStep]:
    found = []
    if not (run.folder / "evaluation" / "results.json").exists():
        found.append(NextStep(_("Evaluate it on the gold set"), job_address("evaluate_frm", run=run.name)))
    if GoldSet.objects.exists():
        found.append(NextStep(_("Measure agreement"), job_address("agreement", frm=run.name)))
    if may_train:
        bases = [one.name for one in run_folders.list_runs() if one.kind == "base" and one.state == "done"]
        if bases:
            address = job_address("refl", frm=run.name, base_run=bases[0])
            found.append(NextStep(_("Tune a restorer with it"), address))
        else:
            found.append(NextStep(_("Train a base restorer"), job_address("train_base")))
    return found


def _source(run: RunFolder, role: str) -> str:
    """Return the name of a run that this run started from, if it is here."""
    name = Path(run.start.get(role, "")).name
    found = run_folders.get_run(name)
    return name if found and not found.problem else ""
