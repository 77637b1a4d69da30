import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from annotate.labels.consensus import METHODS
from annotate.management.run_options import add_config_options, config_from, default_name, differences, images_folder
from annotate.management.run_progress import errors_in_words, reported
from annotate.management.stage_command import require_migrated, usable_device


class Command(BaseCommand):
    help = (
        "Train a Face Reward Model (Sec. 3.1, App. A.2). Without --manifest the database's preferences are frozen "
        "first. The same command goes on with a run that was stopped; `accelerate launch manage.py train_frm ...` "
        "uses several processes. The defaults in brackets are those of hpsv2, the paper's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from rewardlab.reward_model.configs import PRESETS, TrainConfig

        parser.add_argument("--run", help="the run's name (default: made from the configuration)")
        parser.add_argument("--backbone", choices=list(PRESETS), default="hpsv2", help="with the defaults for it")
        parser.add_argument("--checkpoint", type=Path, help="HPSv2's file, for the backbone hpsv2")
        parser.add_argument("--manifest", type=Path, help="train on this snapshot; no database is needed then")
        parser.add_argument(
            "--consensus", choices=METHODS, help="how several answers become one probability (default: majority)"
        )
        parser.add_argument("--images", type=Path, help="the images' folder (default: beside the manifest, or media)")
        parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
        add_config_options(parser, TrainConfig, without=("backbone",))

    def handle(self, *args: Any, **options: Any) -> None:
        from accelerate import PartialState

        from rewardlab.reward_model.configs import FREE_TO_CHANGE, PRESETS
        from rewardlab.training import runs

        if options["device"]:
            usable_device(options["device"])
        config = config_from(options, PRESETS[options["backbone"]])
        if options["checkpoint"] and options["backbone"] != "hpsv2":
            raise CommandError("--checkpoint is for the backbone hpsv2.")
        if options["consensus"] and options["manifest"]:
            raise CommandError("--consensus is for a snapshot that is made now; a --manifest has one already.")
        with errors_in_words():
            run = runs.open_run(
                Path(settings.RUN_ROOT),
                options["run"] or default_name(f"frm-{config.backbone}", config, FREE_TO_CHANGE),
            )
            state = PartialState(cpu=options["device"] == "cpu")
            with state.main_process_first():
                if state.is_main_process:
                    with run.held():
                        self.make_ready(run, config, options)
            train_with_bar(self, run, options, show=state.is_main_process)
        if state.is_main_process:
            self.stdout.write(f"{run.name}: done. The model is in {run.model}")
            self.stdout.write(f"Judge it on the gold set: manage.py evaluate_frm {run.name}")

    def make_ready(self, run: Any, config: Any, options: dict[str, Any]) -> None:
        """A new run, or one that goes on. A run of that name that is done, or has saved something under another
        configuration, is refused; one that has saved nothing yet starts anew."""
        from rewardlab.reward_model.configs import FREE_TO_CHANGE
        from rewardlab.reward_model.prepare import prepare_run
        from rewardlab.training.checkpoint import saved_step

        if run.exists() and (
            different := differences(run, config, options["manifest"], FREE_TO_CHANGE)
            + other_consensus(run, options["consensus"])
        ):
            if run.checkpoint.exists():
                raise CommandError(
                    f"The run {run.name} exists with another configuration ({'; '.join(different)}). "
                    "Give the new one another name with --run."
                )
            shutil.rmtree(run.folder)
        if not run.exists():
            source = options["manifest"] or freeze(run, options["consensus"] or "majority")
            images = images_folder(options, run)
            prepare_run(run, config, source, images=images, checkpoint_file=options["checkpoint"])
            self.stdout.write(f"{run.name}: new, in {run.folder}")
            settled = ", ".join(f"{name} {value}" for name, value in run.description().config.items())
            self.stdout.write(f"  {settled}")
            return
        if run.is_done():
            raise CommandError(
                f"The run {run.name} is done: `manage.py evaluate_frm {run.name}`, or --run OTHER for another."
            )
        run.reconfigure(config)
        step = saved_step(run.checkpoint)
        self.stdout.write(f"{run.name}: goes on from step {step}, with its own snapshot ({run.manifest})")


def other_consensus(run: Any, wanted: str | None) -> list[str]:
    """What this consensus would change of a run."""
    from rewardlab import manifest

    if wanted is None:
        return []
    known = manifest.read_header(run.manifest).get("consensus", {}).get("method", "majority")
    return [f"consensus {known} -> {wanted}"] if wanted != known else []


def freeze(run: Any, consensus: str) -> Path:
    """The database's preferences of training and gold faces, frozen into the run's folder."""
    from annotate.exchange.preference_rows import NothingToFreeze
    from annotate.exchange.snapshot import snapshot

    try:
        require_migrated()
        return Path(snapshot(run.folder, splits=["train", "gold"], consensus=consensus, overwrite=True).path)
    except NothingToFreeze as error:
        raise CommandError(f"{error} Run build_pairs and judge pairs first.") from error
    except OperationalError as error:
        reason = str(error).splitlines()[0]
        raise CommandError(
            f"The database cannot be reached ({reason}). Fix DATABASE_URL, or use --manifest."
        ) from error


def train_with_bar(command: BaseCommand, run: Any, options: dict[str, Any], *, show: bool) -> None:
    from rewardlab.reward_model.train import train

    with reported(command, run, show=show) as tell:
        train(run, images=images_folder(options, run), device=options["device"], tell=tell)
