from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.common import progress_file
from annotate.management.commands.train_frm import train_with_progress
from annotate.management.run_options import differences, images_folder
from annotate.management.stage_command import add_device_option, command_error, interrupted, usable_device


class Command(BaseCommand):
    help = (
        "Evaluate a trained run on its gold set: agreement with people, compared with its untuned backbone, the SVM, "
        "the MLPs and every metric. The runs for Tables 11 and 12 are trained first, or resumed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="the reward model, a run of train_frm")
        parser.add_argument("--baseline", nargs="+", default=[], metavar="RUN", help="runs or model folders to compare")
        parser.add_argument("--null-text", action="store_true", help="Table 11: also train without captions")
        parser.add_argument(
            "--human-fraction", nargs="+", type=float, default=[], metavar="F",
            help="Table 12: also train with this share of the human labels, and the SVM's labels for the other pairs; "
            "0 is the untuned backbone",
        )  # fmt: skip
        parser.add_argument("--images", type=Path, help="the image folder (default: media)")
        add_device_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab.evaluation import report, tables
        from rewardlab.training import runs
        from rewardlab.training.loop import TrainError

        device = usable_device(options["device"])
        self.root = Path(settings.RUN_ROOT)
        try:
            run = runs.open_run(self.root, options["run"])
            if not run.exists():
                known = ", ".join(sorted(path.parent.name for path in self.root.glob("*/config.json"))) or "none"
                raise CommandError(f"There is no run {run.name} in {self.root}. Known: {known}.")
            report.require_done(run)
            progress_file.report_run(run.name)
            results = report.evaluate_run(
                run,
                images=images_folder(options, run),
                null_text=self.null_text(run, options),
                fractions=self.fractions(run, options),
                others=[self.other(name) for name in options["baseline"]],
                device=device,
                log=lambda message: self.stderr.write(f"{run.name}: {message}"),
            )
        except (TrainError, OSError, ValueError) as error:
            raise command_error(error) from error
        except KeyboardInterrupt:
            raise interrupted() from None
        self.stdout.write(report.heading(results) + tables.text(results["rows"]))
        self.stdout.write(f"Also in {run.folder / 'evaluation'} as Markdown and CSV, and on the run's page.")

    def null_text(self, run: Any, options: dict[str, Any]) -> Any:
        """Return the run without captions if it is requested or was trained before, else None."""
        from rewardlab.evaluation import report
        from rewardlab.training import runs

        known = runs.open_run(self.root, report.ablation_name(run, null_text=True))
        is_trained = known.is_done() and not self.other_differences(run, known, null_text=True)
        return self.ablation_run(run, options, null_text=True) if options["null_text"] or is_trained else None

    def fractions(self, run: Any, options: dict[str, Any]) -> dict[float, Any]:
        """Return share of human labels -> run, for the requested shares and those trained before."""
        from rewardlab.evaluation import report
        from rewardlab.training import runs

        wanted = set(options["human_fraction"])
        if wrong := sorted(share for share in wanted if not 0 <= share <= 1):
            raise CommandError(f"--human-fraction {wrong[0]} must be between 0 and 1.")
        for folder in self.root.glob(f"{run.name}-human-*"):
            known = runs.Run(folder)
            if not known.is_done():
                continue
            fraction = report.run_config(known).human_fraction
            if not self.other_differences(run, known, human_fraction=fraction):
                wanted |= {0.0, fraction, 1.0}
        return {
            share: None if share in (0, 1) else self.ablation_run(run, options, human_fraction=share)
            for share in wanted
        }

    def ablation_run(self, run: Any, options: dict[str, Any], **changes: Any) -> Any:
        """Return the run that differs only in `changes`; train it if it is not done. Raises `CommandError`."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model.prepare import checkpoint_of, prepare_run
        from rewardlab.training import runs

        ablation = runs.open_run(self.root, report.ablation_name(run, **changes))
        if ablation.exists() and (different := self.other_differences(run, ablation, **changes)):
            raise CommandError(
                f"The run {ablation.name} differs from {run.name} in more than the ablation ({'; '.join(different)}). "
                f"Move {ablation.folder} away to train it again."
            )
        if ablation.is_done():
            return ablation
        if not ablation.exists():
            start = run.description().start
            with ablation.held():
                prepare_run(
                    ablation,
                    replace(report.run_config(run), **changes),
                    run.manifest,
                    images=images_folder(options, run),
                    checkpoint_file=checkpoint_of(start, run) if "checkpoint" in start else None,
                )
        train_with_progress(self, ablation, options, show=True)
        return ablation

    def other_differences(self, run: Any, ablation: Any, **changes: Any) -> list[str]:
        """List the differences between the runs beyond `changes`, including the snapshot."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model.configs import FREE_TO_CHANGE

        return differences(ablation, replace(report.run_config(run), **changes), run.manifest, FREE_TO_CHANGE)

    def other(self, name: str) -> tuple[str, Any, bool]:
        """Open a model folder or a run. Return its title, the model, and whether it was trained without captions."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model import model
        from rewardlab.training import runs

        if (folder := Path(name)).is_dir():
            return folder.resolve().name, model.load(folder), False
        run = runs.open_run(self.root, name)
        report.require_done(run)
        return name, model.load(run.model), report.run_config(run).null_text
