import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from annotate.labels.consensus import METHODS
from annotate.management.restorer_runs import removed_on_refusal, require_unfinished
from annotate.management.run_options import (
    add_config_options,
    add_continue_option,
    add_dataset_option,
    add_run_option,
    add_weights_root_option,
    config_from,
    config_of,
    default_name,
    differences,
    images_folder,
    other_datasets,
    parent_of,
    remove_unsaved,
    require_datasets,
    require_in_file,
)
from annotate.management.run_progress import command_errors, show_progress
from annotate.management.stage_command import add_device_option, require_migrated, usable_device

# Options that a run takes from the one that it continues.
DATA_OPTIONS = ("checkpoint", "manifest", "consensus", "dataset")


class Command(BaseCommand):
    help = (
        "Train a Face Reward Model (Sec. 3.1, App. A.2). Without --manifest, the database's preferences are frozen "
        "first. Run the same command again to resume. `accelerate launch manage.py train_frm ...` uses several "
        "processes. The defaults in brackets are those of hpsv2, from the paper."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from rewardlab.reward_model.configs import PRESETS, TrainConfig

        add_run_option(parser)
        parser.add_argument("--backbone", choices=list(PRESETS), default="hpsv2", help="backbone, with its defaults")
        parser.add_argument("--checkpoint", type=Path, help="weights of HPSv2, for --backbone hpsv2")
        parser.add_argument("--manifest", type=Path, help="train on this snapshot, without a database")
        parser.add_argument(
            "--consensus",
            choices=METHODS,
            help="how several answers are combined (default: majority)",
        )
        add_continue_option(parser)
        add_weights_root_option(parser)
        add_dataset_option(parser, "preferences")
        parser.add_argument("--images", type=Path, help="the image folder (default: next to the manifest, or media)")
        add_device_option(parser)
        add_config_options(parser, TrainConfig, without=("backbone",))

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the configuration. Raises `CommandError` for options that contradict each other."""
        from rewardlab.reward_model.configs import PRESETS, TrainConfig

        if parent := parent_of(options, "frm", DATA_OPTIONS):
            return config_from(options, config_of(parent, TrainConfig))
        if options["checkpoint"] and not options["checkpoint"].is_file():
            raise CommandError(
                f"--checkpoint {options['checkpoint']} does not exist. Pass the file of HPSv2's weights."
            )
        if options["checkpoint"] and options["backbone"] != "hpsv2":
            raise CommandError("--checkpoint is only for --backbone hpsv2.")
        if options["consensus"] and options["manifest"]:
            raise CommandError("--consensus cannot be used with --manifest, whose consensus is fixed.")
        return config_from(options, PRESETS[options["backbone"]])

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab import assets
        from rewardlab.reward_model.configs import FREE_TO_CHANGE
        from rewardlab.training import processes, runs

        if options["device"]:
            usable_device(options["device"])
        config = self.check_options(options)
        parent = parent_of(options, "frm", DATA_OPTIONS)
        with command_errors(), assets.weights_root(options["weights_root"]):
            kind = f"{parent.run.name}-from-{parent.step}" if parent else f"frm-{config.backbone}"
            name = options["run"] or default_name(kind, config, FREE_TO_CHANGE, options["dataset"])
            run = runs.open_run(Path(settings.RUN_ROOT), name)
            state = processes.start(options["device"])
            with state.main_process_first():
                if state.is_main_process:
                    with run.held(), removed_on_refusal(run):
                        self.create_or_resume(run, config, options, parent)
            train_with_progress(self, run, options, show=state.is_main_process)
        if state.is_main_process:
            self.stdout.write(f"{run.name}: done. The model is in {run.model}")
            self.stdout.write(f"To evaluate it on the gold set: manage.py evaluate_frm {run.name}")

    def create_or_resume(self, run: Any, config: Any, options: dict[str, Any], parent: Any) -> None:
        """Create and prepare a new run, or update an existing one to resume it.

        A run without a saved state is created again if its configuration differs. Raises `CommandError` for a run that
        is done, or that has a saved state and another configuration. parent: the state that a new run continues.
        """
        with tempfile.TemporaryDirectory() as folder:
            given = options["manifest"]
            if given and options["dataset"]:
                given = write_selected(given, Path(folder) / given.name, options["dataset"])
            self.create_or_resume_with(given, run, config, options, parent)

    def create_or_resume_with(
        self, given: Path | None, run: Any, config: Any, options: dict[str, Any], parent: Any
    ) -> None:
        from rewardlab.reward_model.configs import FIXED_WHEN_CONTINUED, FREE_TO_CHANGE
        from rewardlab.reward_model.prepare import prepare_run
        from rewardlab.training import continued
        from rewardlab.training.checkpoint import saved_step

        if run.exists():
            different = differences(run, config, given, FREE_TO_CHANGE) + other_consensus(run, options["consensus"])
            if options["dataset"]:
                different += other_datasets(datasets_of(run), options["dataset"])
            if different:
                remove_unsaved(run, different)
        if not run.exists() and parent:
            continued.create(run, parent, config, fixed=FIXED_WHEN_CONTINUED)
            self.stdout.write(f"{run.name}: new, continues {parent}, in {run.folder}")
            return
        if not run.exists():
            source = given or freeze(run, options["consensus"] or "majority", options["dataset"])
            images = images_folder(options, run)
            prepare_run(run, config, source, images=images, checkpoint_file=options["checkpoint"])
            self.stdout.write(f"{run.name}: new, in {run.folder}")
            values = ", ".join(f"{name} {value}" for name, value in run.description().config.items())
            self.stdout.write(f"  {values}")
            return
        if run.is_done():
            raise CommandError(
                f"The run {run.name} is done: `manage.py evaluate_frm {run.name}`, or choose another --run."
            )
        require_unfinished(run, parent)
        run.reconfigure(config)
        step = saved_step(run.checkpoint)
        self.stdout.write(f"{run.name}: resumes from step {step} with its snapshot ({run.manifest})")


def other_consensus(run: Any, wanted: str | None) -> list[str]:
    """List the difference between a run's consensus and the wanted one; empty if they agree or none is wanted."""
    from rewardlab import manifest

    if wanted is None:
        return []
    known = manifest.read_header(run.manifest).get("consensus", {}).get("method", "majority")
    return [f"consensus {known} -> {wanted}"] if wanted != known else []


def datasets_of(run: Any) -> set[str]:
    """Return the data sets to which the run's manifest was limited, or else those of its rows."""
    from rewardlab import manifest

    limited = manifest.read_header(run.manifest)["filters"].get("datasets")
    return set(limited or {row.dataset for row in manifest.read_rows(run.manifest)})


def write_selected(source: Path, target: Path, datasets: Sequence[str]) -> Path:
    """Write the preferences of these data sets. Raises `CommandError` if a data set has none in the manifest."""
    from rewardlab import manifest

    header, rows = manifest.read(source)
    require_in_file(source, "preferences", {row.dataset for row in rows}, datasets)
    manifest.write(
        target,
        (row for row in rows if row.dataset in datasets),
        filters=header["filters"] | {"datasets": sorted(set(datasets))},
        consensus=header.get("consensus"),
        predictor=header.get("predictor"),
    )
    return target


def freeze(run: Any, consensus: str, datasets: Sequence[str] | None) -> Path:
    """Freeze the database's preferences for training and gold faces to the run's folder; return the manifest."""
    from annotate.exchange.preference_rows import NothingToFreeze
    from annotate.exchange.snapshot import snapshot

    try:
        require_migrated()
        require_datasets(datasets)
        frozen = snapshot(
            run.folder, splits=["train", "gold"], consensus=consensus, datasets=list(datasets or ()), overwrite=True
        )
        return Path(frozen.path)
    except NothingToFreeze as error:
        raise CommandError(f"{error} Run build_pairs and judge pairs first.") from error
    except OperationalError as error:
        reason = str(error).splitlines()[0]
        raise CommandError(
            f"Cannot connect to the database ({reason}). Fix DATABASE_URL, or use --manifest."
        ) from error


def train_with_progress(command: BaseCommand, run: Any, options: dict[str, Any], *, show: bool) -> None:
    """Train the run and show the progress. show: False in all processes except the main one."""
    from rewardlab.reward_model.train import train

    with show_progress(command, run, show=show) as on_progress:
        train(run, images=images_folder(options, run), device=options["device"], on_progress=on_progress)
