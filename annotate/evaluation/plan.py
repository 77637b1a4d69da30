"""Plan of an evaluation: restorers, faces, metrics and rewards, validated before anything is measured."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Count, Q, QuerySet

from annotate.evaluation.metric_columns import Subjects
from annotate.models import Candidate, Face, Restorer
from annotate.pipeline.datasets import DatasetError, find_dataset
from annotate.pipeline.ground_truth import lacking, of_sets, refusal, with_original, without_original
from refl import dataset
from rewardlab import metrics
from rewardlab.assets import MissingAsset
from rewardlab.errors import ModelError
from rewardlab.metrics import fid, fid_statistics
from rewardlab.metrics.fid_statistics import FeatureStatistics
from rewardlab.reward_model import reward_sources
from rewardlab.reward_model.reward_sources import RewardSource
from rewardlab.training import runs
from rewardlab.training.runs import Run

TRAININGS = ("base", "refl")  # whose runs are restorers
FID = "fid"
DEG_RULE = "arcface_over1"  # the mean of Deg. without values below one degree, as in the field's script
DEG_RULE_TITLE = "Deg. (ArcFace, degrees; values below 1 left out)"
LEAST_DEGREES = 1.0
REFERENCES = {Candidate.LQ: "Input", Candidate.HQ: "Original"}
ORDER = (  # as in Table 1; substitutes follow the metrics that they replace
    "ssim", "psnr", "lpips", "clipscore", "arcface", "sface", "landmarks98", "landmarks68", "musiq", "maniqa",
    "clipiqa", "niqe", FID, "aesthetic",
)  # fmt: skip


class EvaluationError(ValueError):
    """The comparison is not possible. The message says what to do."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Options of an evaluation. metrics None: all metrics that can run here."""

    restorers: tuple[str, ...]
    base: str | None = None
    faces: str = "test"
    dataset: str | None = None
    metrics: tuple[str, ...] | None = None
    frm: str | None = None
    judge: str | None = None
    trained_on: tuple[str, ...] = ()
    limit: int | None = None
    skip_missing: bool = False
    with_monitored: bool = False
    fid_stats: str | None = None  # the file of statistics that FID is computed against, in place of the originals
    rewards: tuple[str, ...] | None = None  # further reward models

    @property
    def sources(self) -> list[str]:
        """The rows of the table: input, base, other restorers, original."""
        chosen = self.restorers if self.base is None or self.base in self.restorers else (self.base, *self.restorers)
        return [Candidate.LQ, *(name for name in dict.fromkeys(chosen) if name not in REFERENCES), Candidate.HQ]


@dataclass(frozen=True)
class Reward:
    """A trained reward model and its role."""

    role: str  # frm: restorers were trained with it; judge: no restorer was; reward-NAME: a further one
    source: RewardSource

    @property
    def is_null_text(self) -> bool:
        return self.source.null_text

    @property
    def is_simulated(self) -> bool:
        return self.source.is_simulated

    @property
    def title(self) -> str:
        note = {"frm": ", trained with", "judge": ", held out"}.get(self.role, "")
        return f"FaceReward ({self.source.name}{note})"


@dataclass(frozen=True)
class Plan:
    """What is measured on which images. unavailable: title of a metric -> remedy."""

    config: EvaluationConfig
    subjects: Subjects
    monitored_left_out: int  # faces left out because they were used to monitor training
    names: tuple[str, ...]  # of the metrics, in the order of the table
    features: str | None  # behind fid
    statistics: FeatureStatistics | None  # that fid is computed against, in place of the originals
    rewards: tuple[Reward, ...]
    unavailable: dict[str, str]

    @property
    def has_originals(self) -> bool:
        return Candidate.HQ in self.subjects.sources


def make_plan(config: EvaluationConfig, *, root: Path) -> Plan:
    """Validate the options and select faces and metrics.

    Raises `EvaluationError` or `rewardlab.training.runs.RunError`.
    """
    known = [*metrics.METRICS, DEG_RULE, FID]
    if unknown := [name for name in (*(config.metrics or ()), *config.trained_on) if name not in known]:
        raise EvaluationError(f"Unknown metric: {', '.join(unknown)}. Known: {', '.join(known)}.")
    if config.frm and config.frm == config.judge:
        raise EvaluationError(
            f"--frm and --judge are both {config.frm}. The judge must be a model that no restorer was trained with: "
            "train another one."
        )
    roles = (("frm", config.frm), ("judge", config.judge))
    rewards = tuple(open_reward(root, name, role) for role, name in roles if name)
    rewards += tuple(open_further(root, name) for name in config.rewards or ())
    if len({reward.role for reward in rewards}) < len(rewards):
        raise EvaluationError("Two models of --rewards have the same name: rename the folder of one.")
    subjects, left_out = find_subjects(config, monitored_faces(config.sources, root))
    uncaptioned = sum(not face.caption for face in subjects.faces)
    if uncaptioned and not all(reward.is_null_text for reward in rewards):
        raise EvaluationError(f"{uncaptioned} of {len(subjects.faces)} faces have no caption: run manage.py caption.")
    uses_captions = [name for name in config.metrics or () if name in metrics.METRICS and needs_caption(name)]
    if uncaptioned and uses_captions:
        raise EvaluationError(
            f"{uncaptioned} of {len(subjects.faces)} faces have no caption, which {', '.join(uses_captions)} compares "
            "with: run manage.py caption."
        )
    wild = None if Candidate.HQ in subjects.sources else subjects.faces[0]
    names, features, unavailable = choose_metrics(config.metrics, wild, has_statistics=config.fid_stats is not None)
    statistics = open_statistics(config.fid_stats, features) if config.fid_stats else None
    if not names and not rewards:
        raise EvaluationError(f"None of these metrics can run here. {' '.join(unavailable.values())}")
    return Plan(config, subjects, left_out, names, features, statistics, rewards, unavailable)


def needs_caption(name: str) -> bool:
    return metrics.METRICS[name].needs_caption


def open_statistics(path: str, features: str | None) -> FeatureStatistics:
    """Read the file of --fid-stats for these features. Raises `EvaluationError`."""
    if features is None:
        raise EvaluationError("--fid-stats needs the metric fid, which is not chosen or cannot run here.")
    try:
        found = fid_statistics.read(Path(path))
    except ModelError as error:
        raise EvaluationError(str(error)) from error
    wanted = fid.FEATURES[features]
    if found.features not in ("", features) or len(found.mean) != wanted.width:
        raise EvaluationError(
            f"{path} has statistics of {found.features or f'{len(found.mean)} features'}, but here {features} "
            f"({wanted.width} features) is computed. {fid.availability('inception') or 'Use another file.'}"
        )
    return found


def monitored_faces(sources: Sequence[str], root: Path) -> set[str]:
    """Return the sha256 of the photographs that were used to monitor the training of these restorers.

    People and early stopping choose settings by these faces, so they are not test faces.
    """
    seen: set[str] = set()
    for source in sources:
        name = source.partition("@")[0]  # the run, without the interpolation share
        if runs.NAME.fullmatch(name) and (run := Run(root / name)).exists():
            described = run.description()
            if described.kind in TRAININGS:
                _, rows = dataset.read(run.faces)
                seen |= {Path(row.hq).stem for row in dataset.monitored_rows(rows, described.config["held_out"])}
    return seen


def find_subjects(config: EvaluationConfig, monitored: Collection[str] = ()) -> tuple[Subjects, int]:
    """Select faces with their candidates, and count the monitored faces left out (none with `with_monitored`).

    The sources of faces without ground truth have no original. Raises `EvaluationError` for unknown restorers or data
    sets, missing candidates, faces of which only some have an original, or if no face is left.
    """
    sources = config.sources
    kinds = dict(Restorer.objects.values_list("name", "kind"))
    if unknown := [name for name in sources if name not in kinds and name not in REFERENCES]:
        raise EvaluationError(
            f"Unknown restorer: {', '.join(unknown)}. Known: {', '.join(sorted(kinds)) or 'none'}. "
            f"To add it, run manage.py restore --restorer {unknown[0]}."
        )
    if config.base == Candidate.HQ or len(sources) == len(REFERENCES):
        raise EvaluationError("Name at least one restorer besides lq and hq; --base must be a restorer or lq.")
    faces = Face.objects.filter(split=config.faces).select_related("dataset").order_by("pk")
    of_set = ""
    if config.dataset is not None:
        try:
            faces = faces.filter(dataset=find_dataset(config.dataset))
        except DatasetError as error:
            raise EvaluationError(str(error)) from error
        of_set = f" of data set {config.dataset}"
    if not faces.exists():
        raise EvaluationError(
            f"Split {config.faces}{of_set} has no faces: choose another split with --faces, or ingest photographs with "
            f"--split {config.faces}."
        )
    sources = _with_originals_or_not(sources, faces)
    left_out = 0
    if monitored and not config.with_monitored:
        known = faces.filter(candidates__source=Candidate.HQ, candidates__sha256__in=monitored).values_list(
            "pk", flat=True
        )
        of_trainings = set(known)
        left_out = len(of_trainings)
        faces = faces.exclude(pk__in=of_trainings)
        if not faces.exists():
            raise EvaluationError(
                f"All {left_out} faces of split {config.faces} were used to monitor the training of these restorers, "
                "so they are not test faces. Ingest more photographs, train with a smaller --held-out, or include "
                "these faces with --with-monitored."
            )
    if config.skip_missing:
        have = Count("candidates", filter=Q(candidates__source__in=sources))
        faces = faces.annotate(have=have).filter(have=len(sources))
        if not faces.exists():
            raise EvaluationError(f"No face of split {config.faces} has candidates from all of {', '.join(sources)}.")
    chosen = tuple(faces[: config.limit])
    numbers = {face.pk for face in chosen}
    rows = Candidate.objects.filter(face__split=config.faces, source__in=sources).select_related("face")
    candidates = {(row.source, row.face_id): row for row in rows if row.face_id in numbers}
    _require_complete(sources, chosen, candidates, kinds)
    return Subjects(tuple(sources), chosen, candidates), left_out


def _with_originals_or_not(sources: list[str], faces: QuerySet[Face]) -> list[str]:
    """Return the sources without the original if no face has one. Raises `EvaluationError` if only some have one."""
    wild = without_original(faces)
    if not wild.exists():
        return sources
    if with_original(faces).exists():
        raise EvaluationError(
            f"{of_sets(wild)} have no original, and {of_sets(with_original(faces))} have one: evaluate one data set at "
            "a time, with --dataset."
        )
    return [source for source in sources if source != Candidate.HQ]


def _require_complete(
    sources: Sequence[str],
    faces: Sequence[Face],
    candidates: Mapping[tuple[str, int], Candidate],
    kinds: Mapping[str, str],
) -> None:
    problems = []
    for source in sources:
        if missing := sum((source, face.pk) not in candidates for face in faces):
            option = "--from-folder {}=PATH" if kinds.get(source) == Restorer.Kind.FOLDER else "--restorer {}"
            restore = f"restore {option.format(source)} --faces {faces[0].split}"
            degrade = "degrade" if Candidate.HQ in sources else "ingest --lq"
            remedy = {Candidate.LQ: degrade, Candidate.HQ: "ingest"}.get(source, restore)
            problems.append(f"{source} is missing for {missing} of {len(faces)} faces: run manage.py {remedy}")
    if problems:
        raise EvaluationError(
            f"{'. '.join(problems)}. Or compare only the faces that all of them have, with --skip-missing."
        )


def open_further(root: Path, name: str) -> Reward:
    """Open a model of --rewards. Raises `EvaluationError` or `rewardlab.training.runs.RunError`."""
    try:
        source = reward_sources.find(name, root, "--rewards")
    except MissingAsset as error:
        raise EvaluationError(str(error)) from error
    return Reward(f"reward-{source.name}", source)


def open_reward(root: Path, name: str, role: str) -> Reward:
    """Open a finished run of train_frm, a model folder or a released model.

    Raises `EvaluationError` or `rewardlab.training.runs.RunError` otherwise.
    """
    if name in reward_sources.RELEASED or not runs.NAME.fullmatch(name):
        return Reward(role, open_further(root, name).source)
    run = runs.open_run(root, name)
    if not run.exists():
        known = ", ".join(sorted(path.parent.name for path in root.glob("*/config.json"))) or "none"
        raise EvaluationError(f"There is no run {name} in {root}. Known: {known}.")
    described = run.description()
    if described.kind != "frm":
        raise EvaluationError(
            f"The run {name} is of kind {described.kind}, not a reward model: name a run of train_frm."
        )
    if not run.is_done():
        raise EvaluationError(f"The run {name} is not finished: rerun its train_frm command.")
    return Reward(role, RewardSource("run", run.name, run.folder))


def choose_metrics(
    wanted: Sequence[str] | None, wild: Face | None = None, *, has_statistics: bool = False
) -> tuple[tuple[str, ...], str | None, dict[str, str]]:
    """Return the metrics that can run here, the features of FID, and title -> remedy for the other metrics.

    wild: one of the faces, if they have no originals. has_statistics: FID compares with a file instead of originals.
    Raises `EvaluationError` if a metric that needs originals is wanted for faces without them.
    """
    names: list[str] = []
    features, unavailable = None, {}
    if wild:
        lacks = [
            name
            for name in dict.fromkeys((*(wanted or ()), *ORDER, *metrics.DEFAULT_METRICS))
            if _needs_original(name, has_statistics=has_statistics)
        ]
        if refused := [name for name in wanted or () if name in lacks]:
            instead = ", or pass --fid-stats to compare with a file of statistics" if FID in refused else ""
            named = ", ".join(map(_title, refused))
            raise EvaluationError(f"{refusal(wild, named)}. Leave it out of --metrics{instead}.")
        if not wanted:
            needs = {name: "FID needs without --fid-stats" if name == FID else "the metric needs" for name in lacks}
            unavailable = {_title(name): lacking(wild, who_needs) for name, who_needs in needs.items()}
        wanted = wanted or [name for name in dict.fromkeys((*ORDER, *metrics.DEFAULT_METRICS)) if name not in lacks]
    for name in dict.fromkeys(wanted or (*ORDER, *metrics.DEFAULT_METRICS)):
        if name == FID:
            for known in fid.FEATURES.values():
                if not (remedy := fid.availability(known.name)):
                    features = known.name
                    names.append(FID)
                    break
                unavailable[known.title] = remedy.removeprefix(f"{known.title}: ")
        elif name == DEG_RULE:
            if remedy := metrics.availability("arcface"):
                unavailable[DEG_RULE_TITLE] = remedy.partition(": ")[2]
            else:
                names.append(name)
        elif name in metrics.METRICS:
            title = metrics.METRICS[name].title
            if remedy := metrics.availability(name):
                unavailable[title] = remedy.removeprefix(f"{title}: ")
            else:
                names.append(name)
    return tuple(names), features, unavailable


def _needs_original(name: str, *, has_statistics: bool) -> bool:
    """Return whether the metric compares with the photograph. FID compares with the photographs as a set, or with
    statistics from a file."""
    if name == FID:
        return not has_statistics
    return name == DEG_RULE or metrics.METRICS[name].needs_reference


def _title(name: str) -> str:
    return {FID: "FID", DEG_RULE: DEG_RULE_TITLE}.get(name) or metrics.METRICS[name].title
