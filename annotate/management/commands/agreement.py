from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.stage_command import (
    StageCommand,
    add_device_option,
    add_simulated,
    find_preference_campaign,
    interrupted,
    usable_device,
)
from annotate.models import Campaign


class Command(StageCommand):
    help = (
        "Print the agreement report of a campaign. On a gold set, first run every scorer: metrics, predictors, reward "
        "models and their untuned backbones. The campaign's page shows the same report."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "campaign", nargs="?", help="address of the campaign (default: the gold set, if there is exactly one)"
        )
        parser.add_argument("--frm", nargs="+", default=[], metavar="RUN", help="reward models (default: all runs)")
        parser.add_argument(
            "--people-only", action="store_true", help="do not run the scorers; their earlier answers are kept"
        )
        parser.add_argument(
            "--out", type=Path, metavar="FOLDER", help="write agreement.html, .csv and .tex to this folder"
        )
        add_simulated(parser)
        add_device_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.report_on(options)
        except KeyboardInterrupt:
            raise interrupted("Interrupted. Finished scorers are kept. Run the same command to resume.") from None

    def report_on(self, options: dict[str, Any]) -> None:
        from annotate.agreement.report import agreement_report

        campaign = self.find_campaign(options["campaign"])
        if options["out"]:
            self.require_folder(options["out"])
        summaries = [] if options["people_only"] else self.run_scorers(campaign, options)
        report = agreement_report(campaign, pseudonyms=True, with_simulated=options["simulated"])
        self.show(report)
        if options["out"]:
            self.write(campaign, options["out"], with_simulated=options["simulated"])
        self.stdout.write(f"With plots and pictures: /campaigns/{campaign.slug}/agreement")
        self.finish(*summaries, options=options)

    def find_campaign(self, slug: str | None) -> Campaign:
        from annotate.agreement.gold_hashes import find_gold_set

        if slug:
            return find_preference_campaign(slug)
        try:
            return find_gold_set().campaign
        except LookupError as error:
            raise CommandError(str(error)) from error

    def require_folder(self, folder: Path) -> None:
        """Create the folder before the long computations."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"--out {folder} cannot be written to: {error.strerror}.") from error

    def run_scorers(self, campaign: Campaign, options: dict[str, Any]) -> list:
        from annotate.agreement import ask_scorers
        from annotate.agreement.gold_hashes import GoldChanged
        from annotate.labels.gold_guard import GoldLeak
        from annotate.models import GoldSet
        from rewardlab.snapshot_images import DataError
        from rewardlab.training.runs import RunError

        gold_set = GoldSet.objects.filter(campaign=campaign).first()
        if gold_set is None:
            self.stdout.write("This campaign is not a gold set, so the report compares only people.")
            return []
        device = usable_device(options["device"])
        try:
            reward_models = ask_scorers.open_runs(options["frm"])
            steps = ask_scorers.measure(gold_set, reward_models=reward_models, device=device)
            return [self.run_stage("agreement", steps)]
        except (GoldChanged, GoldLeak, DataError, RunError) as error:
            raise CommandError(str(error)) from error

    def show(self, report: Any) -> None:
        simulated = f", {report.simulated} of them SIMULATED" if report.simulated else ""
        self.stdout.write(
            f"{report.campaign}: {report.answers} answers to {report.answered} of {report.pairs} pairs of "
            f"{report.faces} faces, by {report.annotators} annotators{simulated}; {report.state}"
        )
        if report.changed:
            raise CommandError(report.changed)
        if report.left_out:
            self.stdout.write(
                f"{report.left_out} answers of simulated annotators are left out. Include them with --simulated."
            )
        if not report.people:
            self.stdout.write("No person has answered yet." if report.left_out else "There are no answers yet.")
            return
        for line in [*report.people.overall, report.people.retest, report.people.left]:
            self.stdout.write(f"  {line.title}: {format_estimate(line.estimate)}")
        if not report.scorers:
            return
        for ceiling in report.scorers.ceilings:
            self.stdout.write(
                f"  ceiling, {ceiling.stratum}: two annotators agree {ceiling.two_agree or 'undefined'}; one agrees "
                f"with the majority of the others {ceiling.one_against_rest or 'undefined'}"
            )
        for scorer in report.scorers.answering:
            shares = "; ".join(f"{row.stratum} {row.share} of {row.share.count}" for row in scorer.rows if row.share)
            self.stdout.write(f"  {scorer.answers.title}: {shares}")

    def write(self, campaign: Campaign, folder: Path, *, with_simulated: bool | None) -> None:
        from annotate.agreement.files import FORMS, render
        from rewardlab.files import write_atomic
        from rewardlab.training.runs import code_version

        for form in FORMS:
            code = code_version().get("commit", "")
            content = render(campaign, form, code=code, with_simulated=with_simulated)
            write_atomic(folder / f"agreement.{form}", content.encode())
        self.stdout.write(f"Wrote {', '.join(f'agreement.{form}' for form in FORMS)} in {folder}")


def format_estimate(estimate: Any) -> str:
    if estimate.value is None:
        return f"not defined: {estimate.why}"
    interval = f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.low is not None else f" ({estimate.why})"
    return f"{estimate.value:.3f}{interval} of {estimate.count}"
