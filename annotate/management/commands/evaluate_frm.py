from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.commands.train_frm import train_with_bar
from annotate.management.run_options import differences, images_folder
from annotate.management.stage_command import usable_device


class Command(BaseCommand):
    help = (
        "Judge a trained run on its gold set: agreement with people, against the backbone it started from, the SVM, "
        "the MLPs and every metric. Runs that Tables 11 and 12 need are trained first, and go on if they were stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--baseline", nargs="+", default=[], metavar="RUN", help="other runs, or model folders")
        parser.add_argument("--null-text", action="store_true", help="Table 11: the same run without captions")
        parser.add_argument(
            "--human-fraction", nargs="+", type=float, default=[], metavar="F",
            help="Table 12: the same run with this share of the human labels, the SVM giving the others; "
            "0 is the untuned backbone",
        )  # fmt: skip
        parser.add_argument("--images", type=Path, help="the images' folder (default: media)")
        parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab.evaluation import report, tables
        from rewardlab.training import runs
        from rewardlab.training.loop import TrainError

        if options["device"]:
            usable_device(options["device"])
        self.root = Path(settings.RUN_ROOT)
        try:
            run = runs.open_run(self.root, options["run"])
            if not run.exists():
                known = ", ".join(sorted(path.parent.name for path in self.root.glob("*/config.json"))) or "none"
                raise CommandError(f"There is no run {run.name} in {self.root}. Known: {known}.")
            report.require_done(run)
            results = report.evaluate_run(
                run,
                images=images_folder(options, run),
                null_text=self.null_text(run, options),
                fractions=self.fractions(run, options),
                others=[self.other(name) for name in options["baseline"]],
                device=options["device"] or default_device(),
                tell=lambda what: self.stderr.write(f"{run.name}: {what}"),
            )
        except (TrainError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped by hand. The same command goes on.") from None
        self.stdout.write(report.heading(results) + tables.text(results["rows"]))
        self.stdout.write(f"Also in {run.folder / 'evaluation'} as Markdown and CSV, and on the run's page.")

    def null_text(self, run: Any, options: dict[str, Any]) -> Any:
        """The run without text, if it is asked for or was trained for an earlier table."""
        from rewardlab.evaluation import report
        from rewardlab.training import runs

        known = runs.open_run(self.root, report.ablation_name(run, null_text=True))
        has_one = known.is_done() and not self.strays(run, known, null_text=True)
        return self.sibling(run, options, null_text=True) if options["null_text"] or has_one else None

    def fractions(self, run: Any, options: dict[str, Any]) -> dict[float, Any]:
        """Share of labels -> run: those asked for, and those trained for an earlier table."""
        from rewardlab.evaluation import report
        from rewardlab.training import runs

        wanted = set(options["human_fraction"])
        if wrong := sorted(share for share in wanted if not 0 <= share <= 1):
            raise CommandError(f"--human-fraction {wrong[0]}: it must lie between 0 and 1.")
        for folder in self.root.glob(f"{run.name}-human-*"):
            known = runs.Run(folder)
            if known.is_done() and not self.strays(run, known, human_fraction=report.run_config(known).human_fraction):
                wanted |= {0.0, report.run_config(known).human_fraction, 1.0}
        return {
            share: None if share in (0, 1) else self.sibling(run, options, human_fraction=share) for share in wanted
        }

    def sibling(self, run: Any, options: dict[str, Any], **changes: Any) -> Any:
        """The run that differs in this alone, trained to its end."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model.prepare import prepare_run
        from rewardlab.training import runs

        sibling = runs.open_run(self.root, report.ablation_name(run, **changes))
        if sibling.exists() and (different := self.strays(run, sibling, **changes)):
            raise CommandError(
                f"The run {sibling.name} is not a sibling of {run.name} ({'; '.join(different)}), so the "
                f"comparison would not be fair. Move {sibling.folder} away, and it is trained again."
            )
        if sibling.is_done():
            return sibling
        if not sibling.exists():
            start = run.description().start.get("checkpoint")
            with sibling.held():
                prepare_run(
                    sibling,
                    replace(report.run_config(run), **changes),
                    run.manifest,
                    images=images_folder(options, run),
                    checkpoint_file=Path(start) if start else None,
                )
        train_with_bar(self, sibling, options, show=True)
        return sibling

    def strays(self, run: Any, sibling: Any, **changes: Any) -> list[str]:
        """In what a run of a sibling's name differs beyond `changes`, its snapshot included."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model.configs import FREE_TO_CHANGE

        return differences(sibling, replace(report.run_config(run), **changes), run.manifest, FREE_TO_CHANGE)

    def other(self, name: str) -> tuple[str, Any, bool]:
        """Title, model and whether it was trained without text, of a model folder or a run."""
        from rewardlab.evaluation import report
        from rewardlab.reward_model import model
        from rewardlab.training import runs

        if (folder := Path(name)).is_dir():
            return folder.resolve().name, model.load(folder), False
        run = runs.open_run(self.root, name)
        report.require_done(run)
        return name, model.load(run.model), report.run_config(run).null_text


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
