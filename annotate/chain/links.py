"""The chain from photographs to evaluated restorers: what is there, what is missing, what runs, and what comes next."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from django.db.models import Count, Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.jobs import sources
from annotate.jobs.kinds import KINDS, Kind, may_start
from annotate.models import (
    AutoLabel,
    Campaign,
    Candidate,
    Dataset,
    Face,
    GoldSet,
    Job,
    Judgement,
    Membership,
    Pair,
    Restorer,
    StageRun,
    User,
)
from annotate.pipeline.pairing import in_no_pair
from annotate.pipeline.scoring import metric_coverage
from annotate.predictor import status as predictor_status
from annotate.runs import run_folders
from annotate.runs.run_folders import RunFolder
from annotate.web.job_links import job_address

EMPTY, MISSING, DONE, RUNNING, FAILED = "empty", "missing", "done", "running", "failed"


@dataclass(frozen=True)
class Step:
    """What to do next: a job to start, or a page."""

    text: str
    address: str
    may: bool = True


@dataclass(frozen=True)
class Link:
    """One link of the chain. count: what is there. note: what is missing, runs or failed.

    kinds: the jobs that make it. step: what to do next about it, if anything.
    """

    name: str
    title: str
    count: str
    state: str
    note: str = ""
    address: str = ""
    kinds: tuple[str, ...] = ()
    step: Step | None = None


@dataclass(frozen=True)
class Chain:
    links: list[Link]
    next: Link | None


def chain(user: User) -> Chain:
    """Read the chain. The first link that is empty or incomplete, and does not run already, comes next."""
    active, runs = _active(), run_folders.list_runs()
    made = [*(make(user) for make in LINKS), *_trained(user, runs)]
    links = [_with_work(_with_unused_restorer(link, user, runs), active) for link in made]
    waiting = (link for link in links if link.step and link.state in (EMPTY, MISSING, FAILED))
    return Chain(links, next(waiting, None))


def _active() -> dict[str, Job | StageRun]:
    """Return what runs, or failed last, by kind of job."""
    found: dict[str, Job | StageRun] = {}
    for stage in StageRun.objects.order_by("-pk")[:50]:
        found.setdefault(stage.stage.partition("-")[0], stage)
    for job in Job.objects.order_by("-pk")[:200]:
        if not isinstance(found.get(job.kind), Job):
            found[job.kind] = job
    return found


def _with_work(link: Link, active: dict[str, Job | StageRun]) -> Link:
    work = [active[kind] for kind in link.kinds if kind in active]
    for one in work:
        if isinstance(one, Job) and one.is_active:
            progress = _("%(n)s of %(total)s") % {"n": one.done, "total": one.total} if one.total else ""
            if one.state == Job.State.QUEUED:
                progress = one.state_title
            return replace(link, state=RUNNING, note=progress, address=reverse("job", args=[one.pk]))
        if isinstance(one, StageRun) and one.condition == "running":
            return replace(link, state=RUNNING, note=_("%(n)s done so far") % {"n": one.done})
    for one in work:
        if isinstance(one, Job) and one.state == Job.State.FAILED and link.state != DONE and link.step:
            address = reverse("job", args=[one.pk])
            return replace(link, state=FAILED, note=_("The last job failed."), step=Step(_("See why"), address))
    return link


def _job(user: User, name: str, **options: str | list[str]) -> Step:
    kind: Kind = KINDS[name]
    return Step(str(kind.title), job_address(name, **options), may_start(user, kind))


def _link(name: str, title: str, count: str, *, missing: str = "", empty: bool = False, **more) -> Link:
    """Make a link that is empty, incomplete or done. Only the first two keep their step."""
    state = EMPTY if empty else MISSING if missing else DONE
    if state == DONE:
        more.pop("step", None)
    return Link(name, title, count, state, missing, **more)


def _faces(user: User) -> Link:
    faces, datasets = Face.objects.count(), Dataset.objects.count()
    count = ngettext("%(n)s face", "%(n)s faces", faces) % {"n": f"{faces:,}"}
    sets = ngettext("%(n)s data set", "%(n)s data sets", datasets) % {"n": f"{datasets:,}"}
    return _link(
        "faces",
        _("Photographs"),
        f"{count}, {sets}",
        empty=not faces,
        address=reverse("faces"),
        kinds=("ingest",),
        step=Step(_("Upload photographs"), reverse("uploads")),
    )


def _captions(user: User) -> Link:
    missing = Face.objects.filter(caption="").count()
    faces = Face.objects.count()
    note = _("%(n)s without") % {"n": f"{missing:,}"} if missing else ""
    return _link(
        "captions",
        _("Captions"),
        f"{faces - missing:,}",
        missing=note,
        empty=not faces,
        kinds=("caption",),
        step=_job(user, "caption") if faces else None,
    )


def _degraded(user: User) -> Link:
    there, faces = Candidate.objects.filter(source=Candidate.LQ).count(), Face.objects.count()
    note = _("%(n)s missing") % {"n": f"{faces - there:,}"} if there < faces else ""
    return _link(
        "lq",
        _("Degraded images"),
        f"{there:,}",
        missing=note,
        empty=not there,
        kinds=("degrade",),
        step=_job(user, "degrade") if faces else None,
    )


def _restored(user: User) -> Link:
    by_split = Candidate.objects.exclude(source=Candidate.HQ).order_by("source").values_list("source", "face__split")
    counts = {(source, split): n for source, split, n in by_split.annotate(Count("pk"))}
    restored = {key: n for key, n in counts.items() if key[0] != Candidate.LQ}
    degraded = len(counts) > len(restored)
    # Only of the splits that a restorer has begun: some are run on the test faces alone.
    lacking = {key: max(0, counts.get((Candidate.LQ, key[1]), 0) - n) for key, n in restored.items()}
    missing = sum(lacking.values())
    restorers = {source for source, _split in restored}
    incomplete = sorted({source for (source, _split), n in lacking.items() if n})
    known = {name for name, _title in sources.RESTORERS.choices()} if incomplete else set()
    chosen = [name for name in incomplete if name in known]
    count = _("%(n)s by %(restorers)s restorers") % {
        "n": f"{sum(restored.values()):,}",
        "restorers": len(restorers),
    }
    note = _("%(n)s missing") % {"n": f"{missing:,}"} if missing else ""
    return _link(
        "restorations",
        _("Restorations"),
        count,
        missing=note,
        empty=not restorers,
        kinds=("restore", "restore_checkpoint"),
        step=_job(user, "restore", **{"restorer": chosen} if chosen else {}) if degraded else None,
    )


def _paired(user: User) -> Link:
    counts = dict(Pair.objects.order_by().values_list("kind").annotate(Count("pk")))
    unpaired = in_no_pair(Candidate.objects.all()).count()
    count = _("%(contested)s contested, %(anchored)s anchored") % {
        "contested": f"{counts.get(Pair.Kind.CONTESTED, 0):,}",
        "anchored": f"{counts.get(Pair.Kind.ANCHORED, 0):,}",
    }
    note = _("%(n)s restorations without pairs") % {"n": f"{unpaired:,}"} if unpaired else ""
    return _link(
        "pairs",
        _("Pairs"),
        count,
        missing=note,
        empty=not counts,
        kinds=("build_pairs",),
        step=_job(user, "build_pairs") if unpaired else None,
    )


def _scored(user: User) -> Link:
    rows = [row for row in metric_coverage() if not row["remedy"]]
    missing = sum(row["wanted"] - row["scored"] for row in rows)
    wanted = sum(row["wanted"] for row in rows)
    count = ngettext("%(n)s metric", "%(n)s metrics", len(rows)) % {"n": len(rows)}
    note = _("%(n)s scores missing") % {"n": f"{missing:,}"} if missing else ""
    return _link(
        "scores",
        _("Scores"),
        count,
        missing=note,
        empty=not wanted or missing == wanted,
        kinds=("score",),
        step=_job(user, "score") if wanted else None,
    )


def _campaigns(user: User) -> Link:
    campaigns = list(Campaign.objects.all())
    given = Membership.objects.aggregate(n=Sum("answered", default=0))["n"]
    wanted = sum(campaign.item_count * campaign.overlap for campaign in campaigns)
    count = ngettext("%(n)s campaign", "%(n)s campaigns", len(campaigns)) % {"n": f"{len(campaigns):,}"}
    note = _("%(n)s of %(total)s answers") % {"n": f"{given:,}", "total": f"{wanted:,}"} if given < wanted else ""
    step = Step(_("New campaign"), reverse("campaign_new")) if not campaigns and Pair.objects.exists() else None
    return _link(
        "campaigns",
        _("Campaigns"),
        count,
        missing=note,
        empty=not campaigns,
        address=reverse("campaigns"),
        step=step,
    )


def _labels(user: User) -> Link:
    status = predictor_status.predictor_status()
    answered = Judgement.objects.exists()
    if status.version is None:
        return _link(
            "labels",
            _("Labels"),
            _("no SVM yet"),
            empty=True,
            address=reverse("predictors"),
            kinds=("fit_predictor", "autolabel"),
            step=_job(user, "fit_predictor") if answered else None,
        )
    labelled = AutoLabel.objects.filter(predictor=status.version).count()
    simulated = status.version.simulated_labels
    text = _("%(people)s of people, %(svm)s of the SVM")
    if simulated:
        text = _("%(people)s of people, %(simulated)s SIMULATED, %(svm)s of the SVM")
    return _link(
        "labels",
        _("Labels"),
        text
        % {
            "people": f"{status.version.labels - simulated:,}",
            "simulated": f"{simulated:,}",
            "svm": f"{labelled:,}",
        },
        missing=_("newer answers wait") if status.waiting else "",
        address=reverse("predictors"),
        kinds=("fit_predictor", "autolabel"),
    )


def _gold(user: User) -> Link:
    gold_sets = list(GoldSet.objects.select_related("campaign").order_by("pk"))
    open_ones = [gold_set for gold_set in gold_sets if gold_set.frozen_at is None]
    count = ngettext("%(n)s gold set", "%(n)s gold sets", len(gold_sets)) % {"n": len(gold_sets)}
    address = reverse("campaign", args=[(open_ones or gold_sets)[0].campaign.slug]) if gold_sets else ""
    step: Step | None = _job(user, "make_gold")
    missing = _("not frozen yet") if open_ones else ""
    if open_ones:
        campaign = open_ones[0].campaign
        given = Membership.objects.filter(campaign=campaign).aggregate(n=Sum("answered", default=0))["n"]
        wanted = campaign.item_count * campaign.overlap
        step = _job(user, "freeze_gold")
        if given < wanted:  # people have to judge first, as in a campaign
            missing, step = _("%(n)s of %(total)s answers") % {"n": f"{given:,}", "total": f"{wanted:,}"}, None
    elif not Pair.objects.filter(face__split="gold").exists():
        step = None
    return _link(
        "gold",
        _("Gold set"),
        count,
        missing=missing,
        empty=not gold_sets,
        address=address,
        kinds=("make_gold", "freeze_gold"),
        step=step,
    )


def _with_unused_restorer(link: Link, user: User, runs: list[RunFolder]) -> Link:
    """Add to the restorations that the newest trained restorer has restored nothing yet."""
    trained = [run for run in runs if run.kind in ("base", "refl") and run.state == "done"]
    newest = next((run for kind in ("refl", "base") for run in trained if run.kind == kind), None)
    if link.name != "restorations" or link.state == EMPTY or newest is None:
        return link
    if Restorer.objects.filter(name=newest.name).exists():
        return link
    note = _("%(name)s has not restored the faces yet") % {"name": newest.name}
    step = _job(user, "restore", restorer=newest.name)
    return replace(link, state=MISSING, note=f"{link.note}; {note}" if link.note else note, step=step)


def _trained(user: User, runs: list[RunFolder]) -> list[Link]:
    """Return the links that are read from the run folders."""
    kinds = {run.kind for run in runs if run.state == "done"}
    base = [] if "base" in kinds else [("frm" in kinds, _job(user, "train_base"))]
    return [
        _runs("train_frm", _("Reward models"), "frm", runs, [(Judgement.objects.exists(), _job(user, "train_frm"))]),
        _runs("refl", _("Tuned restorers"), "refl", runs, [*base, ("frm" in kinds, _job(user, "refl"))]),
        _runs("evaluate", _("Evaluations"), "evaluation", runs, [("refl" in kinds, _job(user, "evaluate"))]),
    ]


def _runs(name: str, title: str, kind: str, all_runs: list[RunFolder], steps: Iterable[tuple[bool, Step]]) -> Link:
    runs = [run for run in all_runs if run.kind == kind]
    running = [run for run in runs if run.state == "running"]
    done = [run for run in runs if run.state == "done"]
    count = _("%(n)s finished") % {"n": len(done)}
    step = next((step for holds, step in steps if holds), None)
    link = _link(name, title, count, empty=not done, address=reverse("runs"), kinds=(name,), step=step)
    if running:
        share = f"{running[0].step / max(1, running[0].total):.0%}"
        address = reverse("run", args=[running[0].name])
        return replace(link, state=RUNNING, note=f"{running[0].name}: {share}", address=address)
    return link


LINKS: tuple[Callable[[User], Link], ...] = (
    _faces, _captions, _degraded, _restored, _paired, _scored, _campaigns, _labels, _gold,
)  # fmt: skip
