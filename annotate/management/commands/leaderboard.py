from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import add_simulated, find_preference_campaign, require_migrated
from annotate.models import User
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split


class Command(BaseCommand):
    help = (
        "Print the leaderboard of restorers: Bradley-Terry strengths from people's votes, with intervals by face and "
        "by annotator, and the rankings by every metric, predictor and reward model on the same pairs. Plot: "
        "/leaderboard."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--split", nargs="+", choices=Split.values, default=[], help="only faces of these splits")
        parser.add_argument(
            "--rule", nargs="+", choices=Criterion.values, default=[], help="only votes decided by these criteria"
        )
        parser.add_argument("--annotator", nargs="+", default=[], metavar="NAME", help="only votes of these people")
        parser.add_argument("--campaign", metavar="SLUG", help="only votes of this campaign")
        add_simulated(parser)
        parser.add_argument(
            "--csv", type=Path, metavar="FILE", help="write the figures to this file; it contains no names"
        )
        parser.add_argument("--latex", type=Path, metavar="FILE", help="write two LaTeX tables to this file")

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.leaderboard.board import leaderboard
        from annotate.leaderboard.files import as_csv, as_latex, as_text
        from rewardlab.files import write_atomic

        require_migrated()
        board = leaderboard(
            splits=options["split"],
            criteria=options["rule"],
            annotators=find_annotators(options["annotator"]),
            campaign=find_preference_campaign(options["campaign"]) if options["campaign"] else None,
            with_simulated=options["simulated"],
        )
        self.stdout.write(as_text(board))
        for path, render in ((options["csv"], as_csv), (options["latex"], as_latex)):
            if path:
                try:
                    write_atomic(path, render(board).encode())
                except OSError as error:
                    raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
                self.stdout.write(f"Wrote {path}")


def find_annotators(names: list[str]) -> list[int]:
    found = dict(User.objects.filter(username__in=names).values_list("username", "pk"))
    if missing := [name for name in names if name not in found]:
        raise CommandError(f"There is no user {', '.join(missing)}. Use the names with which people sign in.")
    return list(found.values())
