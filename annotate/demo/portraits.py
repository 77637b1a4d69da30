"""Demo data: real portraits, processed from file to campaign items in small batches in the background."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from django.db.models import QuerySet

from annotate.agreement.gold_sets import make_gold_set
from annotate.campaigns import guideline_examples, items
from annotate.campaigns.lifecycle import CAMPAIGN_SPLITS
from annotate.engine.in_process import InProcess
from annotate.models import Campaign, Dataset, Face, Pair, StageRun
from annotate.models.faces import Split
from annotate.pipeline import captioning, degrading, ingest, pairing, restoring, scoring
from annotate.pipeline.sources import Source
from annotate.pipeline.stage import DEMO, Step
from refl.degradation import PRESETS
from rewardlab import assets, images, metrics
from rewardlab.files import sha256_of

GOLD = "demo-gold"
SIZE = 256
BATCH = 4  # photographs: small enough that the first pair is ready within seconds
SHARES = {"train": 0.7, "gold": 0.15, "test": 0.15}


def demo_sources(count: int) -> list[Source]:
    """Return the first `count` portraits in a fixed random order, each its own identity. Only hashes of their names are
    stored."""
    folder = assets.find("demo-faces")
    files = sorted(
        (file for file in folder.iterdir() if images.has_image_suffix(file)),
        key=lambda file: hashlib.blake2b(file.stem.encode()).digest(),
    )
    return [Source(path=file, caption="", identity=file.stem, relative=file.name) for file in files[:count]]


def demo_dataset() -> Dataset:
    defaults = {"licence": assets.ASSETS["demo-faces"].licence}
    return Dataset.objects.get_or_create(name=DEMO, defaults=defaults)[0]


def demo_campaign() -> Campaign:
    campaign, _ = Campaign.objects.get_or_create(
        slug=DEMO,
        defaults={
            "name": "Demo: restored portraits",
            "overlap": 2,
            "repeat_share": 0.05,
            "guideline": "The portraits are small (256 pixels). Judge what you see in them.",
        },
    )
    return campaign


def start_demo(count: int) -> StageRun:
    """Create or extend the demo's stage run to `count` portraits. It runs until all of them are prepared."""
    run = StageRun.objects.filter(stage=DEMO).order_by("-pk").first() or StageRun.objects.create(stage=DEMO, total=0)
    run.total = max(run.total or 0, len(demo_sources(count)))
    run.state = StageRun.State.DONE if run.done >= run.total else StageRun.State.RUNNING
    run.error = ""
    run.save()
    return run


def prepare_next_part() -> bool:
    """Process the next batch of photographs from file to items. Returns whether more are left.

    Every step does only what is missing, so that a killed batch can be repeated. The stage run records an error, which
    is raised again.
    """
    run = StageRun.objects.filter(stage=DEMO).order_by("-pk").first()
    if run is None or run.total is None or run.done >= run.total:
        return False
    sources = demo_sources(run.total)[run.done : run.done + BATCH]
    try:
        skipped = _prepare(sources)
    except Exception as error:
        run.state, run.error = StageRun.State.FAILED, f"{type(error).__name__}: {error}"
        run.save()
        raise
    run.done += len(sources)
    run.skipped = dict(Counter(run.skipped) + skipped)
    if run.done >= run.total:
        run.state = StageRun.State.DONE
        _make_gold_set()
    run.save()
    if run.done <= BATCH or run.state == StageRun.State.DONE:
        guideline_examples.choose_examples(campaign=demo_campaign())
    return run.state == StageRun.State.RUNNING


def _prepare(sources: list[Source]) -> Counter[str]:
    config = ingest.IngestConfig(size=SIZE, shares=SHARES)
    skipped = _consume(ingest.ingest(sources, dataset=demo_dataset(), config=config))
    faces = Face.objects.filter(source_sha256__in=[sha256_of(source.path) for source in sources])
    skipped += _consume(captioning.caption_faces(faces, engine=_captioner(), source="template"))
    local = InProcess()
    severe = [face.pk for face in faces if face.seed % 2]  # two severities: other faults, other winners
    skipped += _consume(degrading.degrade_faces(faces.filter(pk__in=severe), engine=local, config=PRESETS["demo"]))
    skipped += _consume(
        degrading.degrade_faces(faces.exclude(pk__in=severe), engine=local, config=PRESETS["demo-light"])
    )
    for name in _restorer_names():
        skipped += _consume(restoring.restore_faces(faces, **_restorer(name)))
    skipped += _consume(pairing.build_pairs(faces))
    usable = [name for name in metrics.PAPER_METRICS if metrics.availability(name) is None]
    skipped += _consume(scoring.score_candidates(faces, engine=local, names=usable))
    asked = Pair.objects.different().filter(face__in=faces, face__split__in=CAMPAIGN_SPLITS, kind=Pair.Kind.CONTESTED)
    items.add_items(campaign=demo_campaign(), pairs=_visible(asked.select_related("first", "second")))
    return skipped


def _visible(pairs: QuerySet[Pair]) -> list[int]:
    from annotate.demo.visible_pairs import visible

    return visible(pairs)


def _make_gold_set() -> None:
    """Make the demo's gold set, of all its gold faces, for the members of the demo."""
    people = [member.annotator for member in demo_campaign().memberships.current().select_related("annotator")]
    if Campaign.objects.filter(slug=GOLD).exists() or not Pair.objects.filter(face__split=Split.GOLD).exists():
        return
    make_gold_set(slug=GOLD, name="Demo: gold set", pairs=None, overlap=2, annotators=people)


def _consume(steps: Iterable[Step]) -> Counter[str]:
    return Counter(step.reason for step in steps if step.skipped is not None)


# Cached because a worker prepares many batches.
@cache
def _captioner() -> InProcess:
    engine = InProcess()
    engine.open(captioning.CaptionTask())
    return engine


@cache
def _restorer(name: str) -> dict[str, Any]:
    engine = InProcess()
    return {"engine": engine, "restorer": engine.open(restoring.RestoreTask(name))}


def _restorer_names() -> list[str]:
    from refl.restorers import RESTORERS

    return list(RESTORERS)
