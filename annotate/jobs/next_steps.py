"""What comes after a job that is done."""

from django.urls import reverse
from django.utils.translation import gettext as _

from annotate.jobs.kinds import KINDS, may_start
from annotate.models import Job, Judgement, User
from annotate.runs import next_steps, run_folders
from annotate.runs.next_steps import NextStep
from annotate.web.job_links import job_address

# Kind of job -> kinds of the jobs that usually follow.
FOLLOWING = {
    "ingest": ("caption", "degrade"),
    "caption": ("degrade",),
    "degrade": ("restore",),
    "restore": ("build_pairs",),
    "restore_checkpoint": ("build_pairs",),
    "build_pairs": ("score",),
    "snapshot": ("train_frm",),
}
LABELLING = ("fit_predictor", "autolabel", "rollback_predictor", "learning_curve")
GOLD_NAME = "gold"  # of make_gold without a name


def after(job: Job, user: User) -> list[NextStep]:
    """Return what the person can do after the job, the most sensible first; nothing unless it is done."""
    if job.state != Job.State.DONE:
        return []
    run = run_folders.get_run(job.run_name) if job.run_name else None
    found = next_steps.next_steps(run, user) if run else []
    found += [
        NextStep(str(KINDS[kind].title), job_address(kind))
        for kind in FOLLOWING.get(job.kind, ())
        if may_start(user, KINDS[kind])
    ]
    if job.kind == "score" and Judgement.objects.exists() and may_start(user, KINDS["autolabel"]):
        found.append(NextStep(str(KINDS["autolabel"].title), job_address("autolabel")))
    return found + _pages(job)


def _pages(job: Job) -> list[NextStep]:
    name = job.values.get("name") or GOLD_NAME
    if job.kind == "make_gold":
        return [NextStep(_("Invite people to the gold set"), reverse("campaign_people", args=[name]))]
    if job.kind == "freeze_gold":
        return [NextStep(_("Measure agreement"), job_address("agreement", campaign=name))]
    if job.kind == "build_pairs" or (job.kind == "score" and not Judgement.objects.exists()):
        return [NextStep(_("New campaign"), reverse("campaign_new"))]
    if job.kind in LABELLING:
        return [NextStep(_("Open the labels"), reverse("predictors"))]
    return []
