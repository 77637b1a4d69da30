from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.stage_command import StageCommand, usable_device
from annotate.models import Campaign


class Command(StageCommand):
    help = (
        "The agreement report of a campaign. On a gold set every scorer is asked first: metrics, predictors, reward "
        "models and the backbones they began from. The report is on the campaign's page too."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", nargs="?", help="default: the gold set, if there is one alone")
        parser.add_argument("--frm", nargs="+", default=[], metavar="RUN", help="reward models (default: all runs)")
        parser.add_argument("--people-only", action="store_true", help="ask no scorer; earlier answers are kept")
        parser.add_argument("--out", type=Path, metavar="FOLDER", help="write agreement.html, .csv and .tex there")
        parser.add_argument("--device", default="cpu", help="cpu, cuda, mps ... for the reward models")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.report_on(options)
        except KeyboardInterrupt:
            raise CommandError("Stopped by hand. What was asked is kept; the same command goes on.") from None

    def report_on(self, options: dict[str, Any]) -> None:
        from annotate.agreement.report import agreement_report

        campaign = self.find_campaign(options["campaign"])
        if options["out"]:
            self.require_folder(options["out"])
        summaries = [] if options["people_only"] else self.ask_scorers(campaign, options)
        report = agreement_report(campaign, pseudonyms=True)
        self.show(report)
        if options["out"]:
            self.write(campaign, options["out"])
        self.stdout.write(f"With plots and pictures: /campaigns/{campaign.slug}/agreement")
        self.finish(*summaries, options=options)

    def find_campaign(self, slug: str | None) -> Campaign:
        from annotate.agreement.gold_hashes import find_gold_set

        if slug and (campaign := Campaign.objects.filter(slug=slug, kind=Campaign.Kind.PREFERENCE).first()):
            return campaign
        if slug:
            known = ", ".join(Campaign.objects.filter(kind=Campaign.Kind.PREFERENCE).values_list("slug", flat=True))
            raise CommandError(f"There is no campaign {slug} about preferences. Known: {known or 'none'}.")
        try:
            return find_gold_set().campaign
        except LookupError as error:
            raise CommandError(str(error)) from error

    def require_folder(self, folder: Path) -> None:
        """Before anything long is done."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"--out {folder} is not a folder that can be written: {error.strerror}.") from error

    def ask_scorers(self, campaign: Campaign, options: dict[str, Any]) -> list:
        from annotate.agreement import ask_scorers as agreement_ask_machines
        from annotate.agreement.gold_hashes import GoldChanged
        from annotate.labels.gold_guard import GoldLeak
        from annotate.models import GoldSet
        from rewardlab.snapshot_images import DataError
        from rewardlab.training.runs import RunError

        gold_set = GoldSet.objects.filter(campaign=campaign).first()
        if gold_set is None:
            self.stdout.write("This campaign is not a gold set, so only people are compared.")
            return []
        device = usable_device(options["device"])
        try:
            reward_models = agreement_ask_machines.open_runs(options["frm"])
            steps = agreement_ask_machines.measure(gold_set, reward_models=reward_models, device=device)
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
        if not report.people:
            self.stdout.write("Nobody has answered yet.")
            return
        for line in [*report.people.overall, report.people.retest, report.people.left]:
            self.stdout.write(f"  {line.title}: {in_words(line.estimate)}")
        if not report.scorers:
            return
        for ceiling in report.scorers.ceilings:
            self.stdout.write(
                f"  ceiling, {ceiling.stratum}: two annotators agree {ceiling.two_agree or 'nowhere'}; one agrees with "
                f"the majority of the others {ceiling.one_against_rest or 'nowhere'}"
            )
        for scorer in report.scorers.answering:
            shares = "; ".join(f"{row.stratum} {row.share} of {row.share.count}" for row in scorer.rows if row.share)
            self.stdout.write(f"  {scorer.answers.title}: {shares}")

    def write(self, campaign: Campaign, folder: Path) -> None:
        from annotate.agreement.files import FORMS, render
        from rewardlab.files import write_atomic
        from rewardlab.training.runs import code_version

        for form in FORMS:
            content = render(campaign, form, code=code_version().get("commit", ""))
            write_atomic(folder / f"agreement.{form}", content.encode())
        self.stdout.write(f"Written: {', '.join(f'agreement.{form}' for form in FORMS)} in {folder}")


def in_words(estimate: Any) -> str:
    if estimate.value is None:
        return f"not defined: {estimate.why}"
    interval = f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.low is not None else f" ({estimate.why})"
    return f"{estimate.value:.3f}{interval} of {estimate.count}"
