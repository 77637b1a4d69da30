import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.urls import reverse

from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import StageCommand
from annotate.models import Campaign, Predictor
from annotate.predictor import versions

LEAST_MAX_ERROR = 0.001


def share(text: str) -> float:
    """An option's number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


class Command(StageCommand):
    help = (
        "Label contested pairs that neither a person nor the current predictor has labelled. With --max-error it fits "
        "a new version that labels only what it may: on a random audit sample, which no version learns from, the "
        "bound of its error must not exceed it. It abstains from the rest, which go to people first."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--max-error", type=share, help="of the labels, below 0.5; kept for all later versions")
        how.add_argument("--all", action="store_true", help="every label counts again, as in the paper")
        parser.add_argument("--confidence", type=share, help="of the bound (default: 0.95)")
        parser.add_argument(
            "--audit-share", type=share, help="of the training faces, kept for the audit (default: 0.2)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab.predictor.svm import TooFewLabels

        bound = {name: options[name] for name in ("confidence", "audit_share") if options[name] is not None}
        self.require_sense(options["max_error"], **bound)
        if options["max_error"] is None and not options["all"]:
            self.finish(self.run_stage("autolabel", versions.autolabel()), options=options)
            return
        try:
            version = versions.fit_under_policy(max_error=options["max_error"], **bound)
        except (GoldLeak, TooFewLabels) as error:
            raise CommandError(str(error)) from error
        self.tell(version)

    def require_sense(self, max_error: float | None, **bound: float) -> None:
        if max_error is None and bound:
            given = " and ".join(f"--{name.replace('_', '-')}" for name in bound)
            raise CommandError(f"{given}: this is about the bound of an error, so give --max-error too.")
        if max_error is not None and not LEAST_MAX_ERROR <= max_error < 0.5:
            raise CommandError(
                f"--max-error {max_error:g}: give a number from {LEAST_MAX_ERROR} (less takes thousands of audited "
                "pairs without an error) to below 0.5 (a coin is wrong in half of the pairs)."
            )
        if bound.get("confidence", 1) <= 0.5:
            raise CommandError(f"--confidence {bound['confidence']:g}: it must lie above 0.5.")

    def tell(self, version: Predictor) -> None:
        counting = version.pairs_labelled - version.pairs_abstained
        if version.max_error is None:
            self.stdout.write(f"{version}: all of its {counting} labels count.")
            return
        audit = version.audit
        simulated = " by SIMULATED annotators, since no person judged any" if audit["simulated"] else ""
        self.stdout.write(
            f"{version}: audited on {audit['pairs']} judged pairs{simulated}, one a person, drawn at random"
            f" ({audit['ties']} more are tied, {audit['unscored']} have no metrics)"
        )
        for level in audit["levels"]:
            mark = "*" if level == audit["chosen"] else " "
            self.stdout.write(
                f" {mark} the surest {level['coverage']:.0%}: error {level['error']:.1%} of {level['pairs']}, "
                f"at most {level['bound']:.1%}"
            )
        if audit["chosen"]:
            self.stdout.write(
                f"{counting} labels count, with an error of at most {audit['chosen']['bound']:.1%} "
                f"(confidence {audit['confidence']:.0%}); it abstains from {version.pairs_abstained}."
            )
        else:
            self.stdout.write(
                f"No part of the sample has a bound of at most {100 * version.max_error:.3g}%: it abstains from all "
                f"{version.pairs_abstained} pairs. That takes {audit['least_pairs']} audited pairs without an error, "
                "at least: judge more pairs, allow more error, or let every label count again with --all."
            )
        if version.pairs_abstained:
            self.stdout.write(self.who_asks())

    def who_asks(self) -> str:
        asking = Campaign.objects.filter(open=True, order=Campaign.Order.UNCERTAIN).values_list("name", flat=True)
        if asking:
            return f"What it abstains from is asked first in: {', '.join(asking)}."
        return (
            "No open campaign asks people about these first: make one, of the pairs that the SVM abstains from, on "
            f"{reverse('campaign_new')}."
        )
