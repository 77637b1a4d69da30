import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.agreement.gold_sets import (
    MIN_ANNOTATORS,
    PAIRS,
    REPEAT_SHARE,
    TOO_FEW_ANNOTATORS,
    make_gold_set,
)
from annotate.common.refusals import Refused
from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import positive, require_migrated, seed
from annotate.models import User


def enough_annotators(text: str) -> int:
    """Parse the number of annotators per pair."""
    if positive(text) < MIN_ANNOTATORS:
        raise argparse.ArgumentTypeError(TOO_FEW_ANNOTATORS.rstrip("."))
    return int(text)


class Command(BaseCommand):
    help = (
        "Create a gold set: a campaign with all pairs of some gold faces, including those with the photograph. No "
        "model is trained on it. Once it is answered, run freeze_gold, then agreement."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="gold", help="address of its campaign (default: gold)")
        parser.add_argument(
            "--pairs", type=positive, default=PAIRS, help=f"number of pairs (default: {PAIRS}, as in the paper)"
        )
        parser.add_argument(
            "--overlap",
            type=enough_annotators,
            default=3,
            help=f"annotators per pair, at least {MIN_ANNOTATORS} (default: 3, App. A.1)",
        )
        parser.add_argument(
            "--repeat-share",
            type=float,
            default=REPEAT_SHARE,
            help="share of the answers that are asked again, mirrored (default: .1)",
        )
        parser.add_argument("--annotators", nargs="+", default=[], metavar="USER", help="annotators to invite")
        parser.add_argument(
            "--seed", type=seed, default=0, help="seed with which faces are drawn (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        people = list(User.objects.filter(username__in=options["annotators"]))
        if unknown := set(options["annotators"]) - {person.username for person in people}:
            raise CommandError(f"There is no user {sorted(unknown)[0]}. Add them in the admin first.")
        if not 0 <= options["repeat_share"] <= 0.5:
            raise CommandError(f"--repeat-share {options['repeat_share']} must be between 0 and 0.5.")
        try:
            made = make_gold_set(
                slug=options["name"],
                pairs=options["pairs"],
                overlap=options["overlap"],
                repeat_share=options["repeat_share"],
                seed=options["seed"],
                annotators=people,
            )
        except (GoldLeak, Refused) as error:
            raise CommandError(str(error)) from error
        items = made.campaign.items
        anchored = items.filter(pair__kind="anchored").count()
        self.stdout.write(
            f"{made}: {items.count()} pairs of {items.values('pair__face').distinct().count()} faces, "
            f"{items.count() - anchored} contested and {anchored} anchored; "
            f"annotators per pair: {made.campaign.overlap}\n"
            f"sha256 {made.pairs_sha256}"
        )
