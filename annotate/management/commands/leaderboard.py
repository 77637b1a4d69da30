from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import require_migrated
from annotate.models import Campaign, User
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split


class Command(BaseCommand):
    help = (
        "The leaderboard of restorers: Bradley-Terry strengths by people's votes, with intervals by face and by "
        "annotator, beside the order of every metric, predictor and reward model on the same pairs. Plot: /leaderboard."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--split", nargs="+", choices=Split.values, default=[], help="only faces of these splits")
        parser.add_argument("--rule", nargs="+", choices=Criterion.values, default=[], help="only votes by these rules")
        parser.add_argument("--annotator", nargs="+", default=[], metavar="NAME", help="only votes of these people")
        parser.add_argument("--campaign", metavar="SLUG", help="only votes of this campaign")
        parser.add_argument("--csv", type=Path, metavar="FILE", help="write the figures there; it names nobody")
        parser.add_argument("--latex", type=Path, metavar="FILE", help="write two LaTeX tables there")

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.leaderboard.board import leaderboard
        from annotate.leaderboard.files import as_csv, as_latex, as_text
        from rewardlab.files import write_atomic

        require_migrated()
        board = leaderboard(
            splits=options["split"],
            criteria=options["rule"],
            annotators=find_annotators(options["annotator"]),
            campaign=find_campaign(options["campaign"]),
        )
        self.stdout.write(as_text(board))
        for path, written in ((options["csv"], as_csv), (options["latex"], as_latex)):
            if path:
                try:
                    write_atomic(path, written(board).encode())
                except OSError as error:
                    raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
                self.stdout.write(f"Written: {path}")


def find_campaign(slug: str | None) -> Campaign | None:
    if slug is None:
        return None
    preferences = Campaign.objects.filter(kind=Campaign.Kind.PREFERENCE)
    if campaign := preferences.filter(slug=slug).first():
        return campaign
    known = ", ".join(preferences.order_by("slug").values_list("slug", flat=True))
    raise CommandError(f"There is no campaign {slug} about preferences. Known: {known or 'none'}.")


def find_annotators(names: list[str]) -> list[int]:
    found = dict(User.objects.filter(username__in=names).values_list("username", "pk"))
    if missing := [name for name in names if name not in found]:
        raise CommandError(f"There is no user {', '.join(missing)}. Names are those by which people sign in.")
    return list(found.values())
