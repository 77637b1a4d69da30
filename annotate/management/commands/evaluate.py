import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from annotate.common import progress_file
from annotate.engine.interface import WORKER_DIED
from annotate.management.engine_options import add_engine_options, device_for, engine_for
from annotate.management.restorer_runs import removed_on_refusal
from annotate.management.run_options import default_name
from annotate.management.stage_command import StageCommand, add_device_option, command_error, interrupted, positive
from annotate.models import Face
from annotate.models.faces import Split

if TYPE_CHECKING:
    from annotate.evaluation.evaluate_restorers import Evaluation
    from annotate.evaluation.plan import Plan
    from annotate.pipeline.stage import Step
    from rewardlab.training.run_schema import State
    from rewardlab.training.runs import Run

STATUS_SECONDS = 1.0


class Command(StageCommand):
    help = (
        "Compare restorers on the same faces by every available metric, with intervals, differences from a base, and "
        "the rewards of the model they were trained with and of a held-out one (Table 1). Run the same command again "
        "to resume; it replaces its results. Use --name to keep several results."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--restorers",
            nargs="+",
            required=True,
            metavar="NAME",
            help="restorers to compare",
        )
        parser.add_argument("--base", metavar="NAME", help="the restorer (or lq) with which the others are compared")
        parser.add_argument("--faces", choices=Split.values, default=Split.TEST.value, help="split (default: test)")
        parser.add_argument(
            "--dataset", metavar="NAME", help="only faces of this data set; needed if some have no original"
        )
        parser.add_argument(
            "--metrics", nargs="+", metavar="NAME", help="metrics, including fid (default: all that are available)"
        )
        parser.add_argument(
            "--fid-stats", type=Path, metavar="FILE", help="compute FID against these statistics (see fid_stats)"
        )
        parser.add_argument(
            "--frm", metavar="RUN", help="the reward model that the restorers were trained with; also hpsv2, a folder"
        )
        parser.add_argument("--judge", metavar="RUN", help="a reward model that none of the restorers was trained with")
        parser.add_argument(
            "--rewards",
            nargs="+",
            metavar="MODEL",
            help="further reward models: runs of train_frm, model folders, hpsv2, hpsv2.1",
        )
        parser.add_argument(
            "--trained-on",
            nargs="+",
            default=[],
            metavar="METRIC",
            help="metrics that were training losses, to be marked",
        )
        parser.add_argument("--name", help="name of the evaluation's folder (default: derived from the options)")
        add_device_option(parser)
        add_engine_options(parser)
        parser.add_argument("--limit", type=positive, help="only the first N faces", metavar="N")
        parser.add_argument("--skip-missing", action="store_true", help="only faces that every restorer has restored")

        parser.add_argument(
            "--with-monitored", action="store_true", help="also faces that monitored the training of a restorer"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.common.image_store import BrokenImage
        from annotate.evaluation.evaluate_restorers import Evaluation, open_evaluation
        from annotate.evaluation.plan import EvaluationConfig, make_plan
        from refl.evaluation import tables as evaluation_tables
        from rewardlab.training import runs

        config = EvaluationConfig(
            restorers=tuple(dict.fromkeys(options["restorers"])),
            base=options["base"],
            faces=options["faces"],
            dataset=options["dataset"],
            metrics=tuple(options["metrics"]) if options["metrics"] else None,
            frm=options["frm"],
            judge=options["judge"],
            trained_on=tuple(sorted(set(options["trained_on"]))),
            limit=options["limit"],
            skip_missing=options["skip_missing"],
            with_monitored=options["with_monitored"],
            fid_stats=str(options["fid_stats"].resolve()) if options["fid_stats"] else None,
            rewards=tuple(dict.fromkeys(options["rewards"])) if options["rewards"] else None,
        )
        device, root = device_for(options), Path(settings.RUN_ROOT)
        try:
            run = runs.open_run(
                root, options["name"] or default_name("evaluation", config, () if config.dataset else ("dataset",))
            )
            progress_file.report_run(run.name)
            plan = make_plan(config, root=root)
            self.print_plan(plan)
            with self.holding(f"evaluate-{run.name}"), run.held():
                with removed_on_refusal(run):
                    open_evaluation(run, config)
                    evaluation = Evaluation(plan, run, device=device)
                results = self.evaluate(evaluation, options)
        except (OSError, ValueError, BrokenImage) as error:
            raise command_error(error) from error
        except KeyboardInterrupt:
            raise interrupted() from None
        self.stdout.write("\n" + evaluation_tables.text(results))
        self.stdout.write(f"Also written as Markdown, CSV and LaTeX, with pictures, to {run.folder / 'evaluation'}.")

    def print_plan(self, plan: "Plan") -> None:
        count, name = len(plan.subjects.faces), plan.config.dataset
        of_split = Face.objects.filter(split=plan.config.faces, **({"dataset__name": name} if name else {})).count()
        of_set = f" of data set {name}" if name else ""
        self.stdout.write(f"{count} of the {of_split} faces of split {plan.config.faces}{of_set}")
        if not plan.has_originals:
            self.stdout.write("  these faces have no originals: only metrics that need none are computed")
        if plan.monitored_left_out:
            self.stdout.write(
                f"  without {plan.monitored_left_out} that were used to monitor training (--with-monitored)"
            )
        if plan.unavailable:
            self.stdout.write(f"  without {', '.join(plan.unavailable)}: see the notes below the table")

    def evaluate(self, evaluation: "Evaluation", options: dict[str, Any]) -> dict[str, Any]:
        """Measure the missing images, aggregate, and return the results."""
        missing, total = evaluation.count()
        status = Status(evaluation.run, step=total - missing, total=total)
        with status.guarded():
            with engine_for(options) as engine:
                steps = status.count(evaluation.measure(engine))
                summary = self.run_stage("evaluate", steps, total=missing, already=total - missing)
            if broken := summary.reasons()["broken_image"]:
                raise CommandError(f"{broken} images are broken, see above. Restore the files and run it again.")
            if lost := summary.reasons()[WORKER_DIED]:
                raise CommandError(f"{lost} images have no value, since workers died, see above. Run it again.")
            with tqdm(desc="intervals", unit="draw", disable=not self.stderr.isatty()) as bar:

                def on_progress(done: int, all_: int) -> None:
                    bar.total = all_
                    bar.update(done - bar.n)
                    progress_file.report(done, all_, "intervals")
                    status.write()

                return evaluation.finish(on_progress=on_progress)


class Status:
    """The run's status file, written at most once a second."""

    def __init__(self, run: "Run", *, step: int, total: int) -> None:
        self.run, self.step, self.total = run, step, total
        self.written_at = 0.0

    def write(self, state: "State" = "running", error: str = "") -> None:
        if state == "running" and time.monotonic() - self.written_at < STATUS_SECONDS:
            return
        self.written_at = time.monotonic()
        self.run.write_status(state, step=self.step, total=self.total, error=error, unit="images")

    def count(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """Yield the steps and count the measured images."""
        for step in steps:
            self.step += step.done
            self.write()
            yield step

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Write the final state: done, failed or stopped."""
        self.write()
        try:
            yield
        except KeyboardInterrupt:
            self.write("stopped", "Interrupted. Run the same command to resume.")
            raise
        except Exception as error:
            self.write("failed", str(error) or repr(error))
            raise
        self.write("done")
