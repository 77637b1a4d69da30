import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.urls import reverse

from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import StageCommand
from annotate.models import Campaign, Predictor

LEAST_MAX_ERROR = 0.001


def share(text: str) -> float:
    """Parse an option's number between 0 and 1, both excluded."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


class Command(StageCommand):
    help = (
        "Label the contested pairs that neither people nor the current predictor have labelled. With --max-error, fit "
        "a new version that labels only pairs for which the upper bound of the error, measured on a random audit "
        "sample, does not exceed the limit. The audit sample is never trained on. The version abstains from the other "
        "pairs, which people are asked about first."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--max-error", type=share, help="largest error of the labels, below 0.5; also applies to later versions"
        )
        how.add_argument("--all", action="store_true", help="use every label again, as in the paper")
        parser.add_argument("--confidence", type=share, help="confidence of the bound (default: 0.95)")
        parser.add_argument(
            "--audit-share", type=share, help="share of the training faces reserved for the audit (default: 0.2)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.predictor import versions
        from rewardlab.predictor.svm import TooFewLabels

        bound = self.check_options(options)
        if options["max_error"] is None and not options["all"]:
            self.finish(self.run_stage("autolabel", versions.autolabel()), options=options)
            return
        try:
            version = versions.fit_under_policy(max_error=options["max_error"], **bound)
        except (GoldLeak, TooFewLabels) as error:
            raise CommandError(str(error)) from error
        self.print_version(version)

    def check_options(self, options: dict[str, Any]) -> dict[str, float]:
        """Return the options of the bound. Raises `CommandError` for options that contradict each other."""
        max_error = options["max_error"]
        bound = {name: options[name] for name in ("confidence", "audit_share") if options[name] is not None}
        if max_error is None and bound:
            given = " and ".join(f"--{name.replace('_', '-')}" for name in bound)
            raise CommandError(f"{given} sets the bound of the error and needs --max-error.")
        if max_error is not None and not LEAST_MAX_ERROR <= max_error < 0.5:
            raise CommandError(
                f"--max-error {max_error:g} must be at least {LEAST_MAX_ERROR} (less needs thousands of audited pairs "
                "without an error) and below 0.5 (the error of random labels)."
            )
        if bound.get("confidence", 1) <= 0.5:
            raise CommandError(f"--confidence {bound['confidence']:g} must be above 0.5.")
        return bound

    def print_version(self, version: Predictor) -> None:
        used = version.pairs_labelled - version.pairs_abstained
        if version.max_error is None:
            self.stdout.write(f"{version}: all {used} labels are used.")
            return
        audit = version.audit
        simulated = " (by SIMULATED annotators, as people have judged none)" if audit["simulated"] else ""
        self.stdout.write(
            f"{version}: audited on {audit['pairs']} judged pairs{simulated}, drawn at random, one per identity"
            f" (excluding {audit['ties']} ties and {audit['unscored']} pairs without metrics)"
        )
        for level in audit["levels"]:
            mark = "*" if level == audit["chosen"] else " "
            self.stdout.write(
                f" {mark} most certain {level['coverage']:.0%}: error {level['error']:.1%} of {level['pairs']} pairs, "
                f"upper bound {level['bound']:.1%}"
            )
        if audit["chosen"]:
            self.stdout.write(
                f"{used} labels are used, with an error of at most {audit['chosen']['bound']:.1%} "
                f"(confidence {audit['confidence']:.0%}); the version abstains from {version.pairs_abstained}."
            )
        else:
            self.stdout.write(
                f"No part of the sample has a bound of at most {100 * version.max_error:.3g}%, so the version abstains "
                f"from all {version.pairs_abstained} pairs. This needs at least {audit['least_pairs']} audited pairs "
                "without an error. Judge more pairs, allow more error, or use every label again with --all."
            )
        if version.pairs_abstained:
            self.stdout.write(self.campaigns_asking())

    def campaigns_asking(self) -> str:
        asking = Campaign.objects.filter(open=True, order=Campaign.Order.UNCERTAIN).values_list("name", flat=True)
        if asking:
            return f"Pairs that it abstains from are asked first in: {', '.join(asking)}."
        return (
            "No open campaign asks people about these pairs first. Create a campaign of the pairs that the SVM "
            f"abstains from on {reverse('campaign_new')}."
        )
