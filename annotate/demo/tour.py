"""The tour: the full pipeline on the demo's faces, from photographs to a report, with SIMULATED annotators.

A tour is a list of steps. FOLDER/tour.json records the completed ones, so that an interrupted tour can resume.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotate.demo import portraits
from annotate.models import Face
from annotate.models.faces import Split
from annotate.pipeline import ingest
from annotate.pipeline.stage import Step as StageStep
from rewardlab.files import write_atomic
from rewardlab.training import runs

PIXELS = 128  # image size of the compact restorers
PRESET = "paper"  # degradation
FRM, JUDGE, BASE, TUNED, COMPARISON = "frm", "judge", "base", "tuned", "comparison"  # the runs
STRUCTURE_METRIC = "lpips"  # a loss term of refl, so not an independent metric
MOST_FACES = 10_000
POINTS_PER_CHECKPOINT = 3  # points of a training curve


class TourError(ValueError):
    """The tour cannot run; the message says what to do."""


@dataclass(frozen=True)
class TourSize:
    """Size of a tour. Steps are optimizer steps; a batch counts faces."""

    train: int  # faces
    gold: int
    test: int
    annotators: int
    overlap: int
    frm_steps: int
    base_steps: int
    refl_steps: int
    held_out: int  # test faces that monitor the trainings
    batch: int = 8
    log_every: int = 10
    evaluations: int = 4  # per training, on the held-out faces or the gold set, after the initial one
    metrics: tuple[str, ...] = ()  # of the comparison; empty: all available ones

    @property
    def faces(self) -> dict[str, int]:
        """Faces by split, in the order in which the demo's faces are assigned."""
        return {Split.GOLD.value: self.gold, Split.TEST.value: self.test, Split.TRAIN.value: self.train}


SIZES = {
    # Checks that the parts work together; its figures are meaningless.
    "tiny": TourSize(
        train=6, gold=2, test=4, annotators=3, overlap=3, frm_steps=2, base_steps=3, refl_steps=2, held_out=2,
        batch=2, log_every=1, evaluations=1, metrics=("psnr", "lpips", "sface", "fid"),
    ),
    # More than 16 minutes on two cores.
    "small": TourSize(
        train=150, gold=50, test=64, annotators=5, overlap=3, frm_steps=200, base_steps=1200, refl_steps=150,
        held_out=16,
    ),
    # Nearly all of the demo's faces, with the default training lengths.
    "full": TourSize(
        train=380, gold=110, test=110, annotators=5, overlap=3, frm_steps=420, base_steps=2000, refl_steps=150,
        held_out=16,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A management command with its arguments (`words`), or a stage function.

    `run` names the run that the step trains, if any; the step is done when the run is.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    stage: Callable[[], Iterator[StageStep]] | None = None
    run: str = ""


def steps(size: TourSize) -> list[Step]:
    def frm(name: str, title: str, seed: int) -> Step:
        words = ("train_frm", "--backbone", "compact", "--seed", str(seed), "--faces-per-step", str(size.batch))
        return Step(name, title, (*words, *_training(name, size.frm_steps, size)), run=name)

    monitoring = ("--batch-size", str(size.batch), "--held-out", str(size.held_out))
    base = ("train_base", "--variant", "one-step", "--degradation", PRESET)
    refl = ("refl", "--base", "compact", "--base-run", BASE, "--frm", FRM, "--judge", JUDGE)
    panel = ("--annotators", str(size.annotators), "--overlap", str(size.overlap))
    score = ("score", "--metrics", "ssim", "psnr", "lpips", "niqe")
    compared = ("--restorers", BASE, TUNED, "--base", BASE, "--frm", FRM, "--judge", JUDGE)
    chosen = ("--metrics", *size.metrics) if size.metrics else ()
    return [
        Step("ingest", "faces from photographs", stage=lambda: ingest_faces(size)),
        Step("caption", "captions", ("caption",)),
        Step("degrade", "degraded images (Eq. 9)", ("degrade", "--preset", PRESET)),
        Step("restore", "restorations by three general restorers", ("restore",)),
        Step("pairs", "pairs", ("build_pairs",)),
        Step("score", "metrics of every image", score),
        Step("judge-pairs", "answers of SIMULATED annotators", ("simulate_annotators", "--as-labels", *panel)),
        Step("svm", "support vector machine", ("fit_predictor",)),
        frm(FRM, "reward model", seed=0),
        frm(JUDGE, "second reward model, used only as judge", seed=1),
        Step("gold", "reward model on the gold set", ("evaluate_frm", FRM)),
        Step(BASE, "base restorer", (*base, *monitoring, *_training(BASE, size.base_steps, size)), run=BASE),
        Step(TUNED, "reward feedback learning", (*refl, *monitoring, *_training(TUNED, size.refl_steps, size)),
             run=TUNED),
        Step("restore-trained", "restorations by base and tuned", ("restore", "--restorer", BASE, "--restorer", TUNED)),
        Step("pairs-trained", "pairs of these restorations, which people can judge", ("build_pairs",)),
        Step("score-trained", "metrics of these restorations", score),
        Step(COMPARISON, "base against tuned on the test faces",
             ("evaluate", "--name", COMPARISON, *compared, "--trained-on", STRUCTURE_METRIC, *chosen)),
    ]  # fmt: skip


def _training(name: str, iterations: int, size: TourSize) -> tuple[str, ...]:
    numbers = {
        "iterations": iterations,
        "log-every": size.log_every,
        "save-every": POINTS_PER_CHECKPOINT * size.log_every,
        "evaluate-every": -(-iterations // size.evaluations),
    }
    return ("--run", name, *(word for option, value in numbers.items() for word in (f"--{option}", str(value))))


def ingest_faces(size: TourSize) -> Iterator[StageStep]:
    """Ingest the required number of faces of each split, the same on every machine. Raises `TourError` if there are too
    few."""
    sources = portraits.demo_sources(MOST_FACES)
    for split, wanted in size.faces.items():
        config = ingest.IngestConfig(size=PIXELS, shares={split: 1.0})
        while (missing := wanted - Face.objects.filter(split=split).count()) > 0:
            if not sources:
                raise TourError(f"The demo has {missing} faces too few for the {split} split. Choose a smaller --size.")
            yield from ingest.ingest(sources[:missing], dataset=portraits.demo_dataset(), config=config)
            sources = sources[missing:]


@dataclass
class Entry:
    """State of a step. `seconds` leaves out attempts that were killed."""

    seconds: float = 0.0
    attempts: int = 0
    done: bool = False
    code: str = ""


@dataclass
class Log:
    """Contents of FOLDER/tour.json."""

    path: Path
    size: str
    started: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)

    def entry(self, step: Step) -> Entry:
        return self.entries.setdefault(step.name, Entry())

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        """Time and record a step, even if it fails. Marks it as done only on success."""
        entry, since = self.entry(step), time.perf_counter()
        entry.attempts += 1
        entry.code = runs.code_version()["commit"]
        self.write()
        try:
            yield
            entry.done = True
        finally:
            entry.seconds += time.perf_counter() - since
            self.write()

    def write(self) -> None:
        found: dict[str, Any] = {"size": self.size, "started": self.started}
        found["steps"] = {name: asdict(entry) for name, entry in self.entries.items()}
        write_atomic(self.path, json.dumps(found, indent=1).encode())


def open_log(folder: Path, size: str) -> Log:
    """Start a tour or resume one. Raises `TourError` for a folder that holds something else."""
    path = folder / "tour.json"
    if not path.exists():
        if Face.objects.exists():
            raise TourError(f"{folder} holds faces that are not part of a tour. Choose another folder.")
        return Log(path, size, datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        found = json.loads(path.read_text())
        entries = {name: Entry(**entry) for name, entry in found["steps"].items()}
        log = Log(path, found["size"], found["started"], entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TourError(f"{path} cannot be read ({error}). Choose another folder.") from error
    if log.size != size:
        raise TourError(f"{folder} holds a tour of size {log.size}. Pass --size {log.size}, or choose another folder.")
    return log
