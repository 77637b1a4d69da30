"""Evaluation of restorers on the same faces, as in Table 1: measure values, then write tables to a run folder."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from annotate.common import image_store
from annotate.engine.interface import Engine
from annotate.evaluation import results_file
from annotate.evaluation.metric_columns import DegreesColumn, FeatureColumn, RewardColumn, ScoreColumn
from annotate.evaluation.plan import (
    DEG_RULE,
    DEG_RULE_TITLE,
    FID,
    LEAST_DEGREES,
    REFERENCES,
    EvaluationConfig,
    EvaluationError,
    Plan,
)
from annotate.models import Candidate
from annotate.pipeline.stage import Step
from refl.evaluation import tables
from refl.evaluation.paired_differences import Summary, merged, summarise, summarise_sets
from rewardlab import images, metrics
from rewardlab.files import sha256, write_atomic
from rewardlab.metrics import fid, fid_statistics
from rewardlab.training import runs
from rewardlab.training.runs import Run

KIND = "evaluation"
DIGITS = {
    "psnr": 2, "psnr_corrected": 2, "arcface": 2, DEG_RULE: 2, "niqe_pyiqa": 3,
    "sface": 2, "landmarks98": 3, "landmarks68": 3, "musiq": 2, "niqe": 3, FID: 2,
}  # fmt: skip
DEFAULT_DIGITS = 4
PICTURES = 12
UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]+")


def open_evaluation(run: Run, config: EvaluationConfig) -> None:
    """Create the run folder, or reopen it with the same options. Raises `EvaluationError` if the name is taken."""
    if run.exists():
        described = run.description()
        if described.kind != KIND:
            raise EvaluationError(f"{run.folder} is a run of kind {described.kind}: choose another --name.")
        known, wanted = described.config, json.loads(json.dumps(asdict(config)))
        if changed := [
            f"{key} {known.get(key)} -> {value}" for key, value in wanted.items() if known.get(key) != value
        ]:
            raise EvaluationError(
                f"The evaluation {run.name} exists with other options ({'; '.join(changed)}): choose another --name."
            )
    else:
        run.create(kind=KIND, config=config, start={}, images=Path(settings.MEDIA_ROOT))


class Evaluation:
    """Execution of a plan: measure its values step by step, then write the results to the run folder."""

    def __init__(self, plan: Plan, run: Run, *, device: str = "cpu") -> None:
        """Open the columns. Raises `ValueError` if a cache is damaged."""
        self.plan, self.run = plan, run
        folder = run.folder / "cache"
        self.scores = {name: _score_column(name, device) for name in plan.names if name != FID}
        self.rewards = {
            reward.role: RewardColumn(reward.source, folder=folder, device=device) for reward in plan.rewards
        }
        self.features = FeatureColumn(plan.features, folder=folder, device=device) if plan.features else None

    @property
    def columns(self) -> list[ScoreColumn | RewardColumn | FeatureColumn]:
        return [*self.scores.values(), *([self.features] if self.features else []), *self.rewards.values()]

    def count(self) -> tuple[int, int]:
        """Return the number of missing values and of all values."""
        missing = sum(len(column.todo(self.plan.subjects)) for column in self.columns)
        return missing, sum(column.total(self.plan.subjects) for column in self.columns)

    def measure(self, engine: Engine) -> Iterator[Step]:
        """Measure missing values, column by column."""
        for column in self.columns:
            yield from column.measure(engine, column.todo(self.plan.subjects))

    def finish(self, *, on_progress: Callable[[int, int], None] = lambda done, all_: None) -> dict[str, Any]:
        """Write evaluation/ (pictures, tables, results.json last) and return the results.

        on_progress: progress callback of FID's intervals (draws done, all draws); with many faces a draw takes seconds.
        """
        results = self._results(self._summary(on_progress))
        folder = self.run.folder / "evaluation"
        self._write_pictures(folder / "pictures", results["pictures"])
        write_atomic(folder / "table.md", tables.markdown(results).encode())
        write_atomic(folder / "table.csv", tables.to_csv(results).encode())
        write_atomic(folder / "table.tex", tables.latex(results).encode())
        write_atomic(folder / "results.json", results_file.encode(results))
        return results

    def _summary(self, on_progress: Callable[[int, int], None]) -> Summary:
        config, subjects = self.plan.config, self.plan.subjects
        measured = {name: column.values(subjects) for name, column in (self.scores | self.rewards).items()}
        summary = summarise(
            {source: {name: of[source] for name, of in measured.items()} for source in subjects.sources},
            higher_is_better={name: self._is_higher_better(name) for name in measured},
            base=config.base,
            own_faces=(DEG_RULE,),
        )
        if self.features is None:
            return summary
        matrices, statistics = self.features.vectors(subjects), self.plan.statistics
        reference = None if statistics else matrices.pop(Candidate.HQ)
        of_sets = summarise_sets(
            matrices,
            reference,
            distance=(
                (lambda features, _of_originals: fid_statistics.distance(features, statistics))
                if statistics
                else fid.frechet_distance
            ),
            metric=FID,
            base=config.base,
            on_progress=on_progress,
        )
        return merged(summary, of_sets)

    def _results(self, summary: Summary) -> dict[str, Any]:
        config, subjects = self.plan.config, self.plan.subjects
        identified_by = Candidate.HQ if self.plan.has_originals else Candidate.LQ
        hashes = sorted(candidate.sha256 for candidate in subjects.of(identified_by))
        runs_of = {reward.role: reward.source.name for reward in self.plan.rewards}
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "faces": {
                "split": config.faces,
                "dataset": config.dataset or "",
                "has_originals": self.plan.has_originals,
                "count": len(subjects.faces),
                "monitored_left_out": self.plan.monitored_left_out,
                "with_monitored": config.with_monitored,
                "sha256": sha256("\n".join(hashes).encode()),
            },
            "base": config.base,
            "simulated": any(reward.is_simulated for reward in self.plan.rewards),
            "frm": {"train": runs_of.get("frm"), "judge": runs_of.get("judge")},
            "metrics": [self._metric(name, summary) for name in (*self.plan.names, *runs_of)],
            "rows": [
                {
                    "restorer": source,
                    "title": REFERENCES.get(source, source),
                    "values": {name: asdict(found) for name, found in summary.values.get(source, {}).items()},
                    "against_base": {
                        name: asdict(found)
                        for name, found in summary.against_base.get(source, {}).items()
                        if source not in REFERENCES
                    },
                }
                for source in subjects.sources
            ],
            "unavailable": self.plan.unavailable,
            "pictures": {
                "faces": [f"{number:02d}" for number in range(min(PICTURES, len(subjects.faces)))],
                "columns": safe_names(subjects.sources),
            },
            "code": runs.code_version(),
        }

    def _is_higher_better(self, name: str) -> bool:
        return name not in (FID, DEG_RULE) and (name not in metrics.METRICS or metrics.METRICS[name].higher_is_better)

    def _metric(self, name: str, summary: Summary) -> dict[str, Any]:
        config = self.plan.config
        reward = next((reward for reward in self.plan.rewards if reward.role == name), None)
        notes, licence = [], ""
        if reward:
            title = reward.title
            notes += ["trained on labels by SIMULATED annotators"] if reward.is_simulated else []
            notes += ["scored without captions, as in its training"] if reward.is_null_text else []
        elif name == FID and self.features:
            known = fid.FEATURES[self.features.features]
            title, licence = known.title, known.licence
            against = "the originals of the same faces"
            if (statistics := self.plan.statistics) is not None:
                of_images = f", {statistics.images} images" if statistics.images else ""
                against = f"the statistics {Path(config.fid_stats or '').name}{of_images}"
            notes.append(
                f"{known.note} Computed against {against}. With {len(self.plan.subjects.faces)} "
                f"faces and {known.width} features it is biased upwards: compare it at the same number of faces only"
            )
        elif name == DEG_RULE:
            title, licence = DEG_RULE_TITLE, metrics.METRICS["arcface"].licence
            notes.append("each restorer's mean is over its own faces with at least one degree")
        else:
            title, licence = metrics.METRICS[name].title, metrics.METRICS[name].licence
        if "non-commercial" in licence:
            notes.append("for non-commercial use only")
        if name not in summary.left_out:
            notes.append("no value for any face")
        elif (left_out := summary.left_out[name]) and name != DEG_RULE:
            notes.append(f"{left_out} of {len(self.plan.subjects.faces)} faces left out: a row has no value for them")
        return {
            "name": name,
            "title": title,
            "higher_is_better": self._is_higher_better(name),
            "digits": DIGITS.get(name, DEFAULT_DIGITS),
            "trained_on": name == "frm" or name in self.plan.config.trained_on,
            "note": "; ".join(notes),
        }

    def _write_pictures(self, folder: Path, pictures: Mapping[str, Sequence[str]]) -> None:
        """Write the pictures in place of earlier ones. Raises `BrokenImage`."""
        shutil.rmtree(folder, ignore_errors=True)
        for source, column in zip(self.plan.subjects.sources, pictures["columns"], strict=True):
            for candidate, face in zip(self.plan.subjects.of(source), pictures["faces"], strict=False):
                write_atomic(folder / column / f"{face}.png", images.encode_png(image_store.load(candidate)))


def _score_column(name: str, device: str) -> ScoreColumn:
    if name == DEG_RULE:
        return DegreesColumn("arcface", device, least=LEAST_DEGREES)
    return ScoreColumn(name, device)


def safe_names(names: Sequence[str]) -> list[str]:
    """Make distinct folder names; names that are already safe are kept."""
    safe: list[str] = []
    for name in names:
        plain = UNSAFE.sub("_", name).lstrip("._+=@-")[:80] or "restorer"
        number = 2
        while plain in safe:
            plain, number = f"{plain}-{number}", number + 1
        safe.append(plain)
    return safe
