import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from annotate.management.run_options import (
    add_config_options,
    config_from,
    default_name,
    differences,
    images_folder,
)
from annotate.management.stage_command import require_migrated, usable_device


class Command(BaseCommand):
    help = (
        "Train a Face Reward Model (Sec. 3.1, App. A.2). Without --manifest the database's preferences are frozen "
        "first. The same command goes on with a run that was stopped; `accelerate launch manage.py train_frm ...` "
        "uses several processes. The defaults in brackets are those of hpsv2, the paper's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from rewardlab.configs import PRESETS, TrainConfig

        parser.add_argument("--run", help="the run's name (default: made from the configuration)")
        parser.add_argument("--backbone", choices=list(PRESETS), default="hpsv2", help="with the defaults for it")
        parser.add_argument("--checkpoint", type=Path, help="HPSv2's file, for the backbone hpsv2")
        parser.add_argument("--manifest", type=Path, help="train on this snapshot; no database is needed then")
        parser.add_argument("--images", type=Path, help="the images' folder (default: beside the manifest, or media)")
        parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
        add_config_options(parser, TrainConfig, without=("backbone",))

    def handle(self, *args: Any, **options: Any) -> None:
        from accelerate import PartialState

        from rewardlab import runs
        from rewardlab.configs import FREE_TO_CHANGE, PRESETS
        from rewardlab.train import TrainError

        if options["device"]:
            usable_device(options["device"])
        config = config_from(options, PRESETS[options["backbone"]])
        try:
            run = runs.open_run(Path(settings.RUN_ROOT), options["run"] or default_name("frm", config, FREE_TO_CHANGE))
            state = PartialState(cpu=options["device"] == "cpu")
            with state.main_process_first():
                if state.is_main_process:
                    self.make_ready(run, config, options)
            train_with_bar(self, run, options, show=state.is_main_process)
        except (TrainError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped by hand. The same command goes on.") from None
        if state.is_main_process:
            self.stdout.write(f"{run.name}: done. The model is in {run.model}")
            self.stdout.write(f"Judge it on the gold set: manage.py evaluate_frm {run.name}")

    def make_ready(self, run: Any, config: Any, options: dict[str, Any]) -> None:
        """A new run, or one that goes on. A run of that name that is done, or has saved something under another
        configuration, is refused; one that has saved nothing yet starts anew."""
        from rewardlab.configs import FREE_TO_CHANGE
        from rewardlab.prepare import prepare_run

        if run.exists() and (different := differences(run, config, options["manifest"], FREE_TO_CHANGE)):
            if run.checkpoint.exists():
                raise CommandError(
                    f"The run {run.name} exists with another configuration ({'; '.join(different)}). "
                    "Give the new one another name with --run."
                )
            shutil.rmtree(run.folder)
        if not run.exists():
            source = options["manifest"] or freeze(run)
            prepare_run(run, config, source, images=images_folder(options), checkpoint_file=options["checkpoint"])
            self.stdout.write(f"{run.name}: new, in {run.folder}")
            return
        if run.is_done():
            raise CommandError(
                f"The run {run.name} is done: `manage.py evaluate_frm {run.name}`, or --run OTHER for another."
            )
        run.reconfigure(config)
        self.stdout.write(f"{run.name}: goes on where it was stopped (snapshot {run.manifest})")


def freeze(run: Any) -> Path:
    """The database's preferences of training and gold faces, frozen into the run's folder."""
    from annotate.exports import NothingToFreeze, snapshot

    require_migrated()
    try:
        return Path(snapshot(run.folder, splits=["train", "gold"], overwrite=True).path)
    except NothingToFreeze as error:
        raise CommandError(f"{error} Run build_pairs and judge pairs first.") from error


def train_with_bar(command: BaseCommand, run: Any, options: dict[str, Any], *, show: bool) -> None:
    from rewardlab.train import Progress, train

    with tqdm(desc=run.name, unit="step", disable=not (show and command.stderr.isatty())) as bar:

        def tell(progress: Progress) -> None:
            if bar.total is None:
                bar.reset(progress.total)
                bar.n = bar.initial = progress.step  # what an earlier start did does not count for the pace
            bar.update(progress.step - bar.n)
            shown = {"loss": progress.loss, "gold": progress.gold}
            bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items() if value is not None})

        train(run, images=images_folder(options), device=options["device"], tell=tell)
