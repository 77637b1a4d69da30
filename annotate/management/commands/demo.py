import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.campaigns import lifecycle
from annotate.demo import portraits
from annotate.management.stage_command import require_migrated
from annotate.models import StageRun, User
from rewardlab.assets import MissingAsset


class Command(BaseCommand):
    help = "Set up the demo: users, a campaign, and portraits, which the worker prepares once `serve` runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--faces", type=int, default=int(os.environ.get("FACES", 48)))
        parser.add_argument("--annotators", type=int, default=int(os.environ.get("DEMO_ANNOTATORS", 3)))
        parser.add_argument("--address", default="http://localhost:8000/")
        parser.add_argument("--new-passwords", action="store_true", help="replace the demo users' passwords")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("The demo does not run in production. Unset DEPLOYMENT=production.")
        require_migrated()
        if not 1 <= options["faces"] <= 609 or not 1 <= options["annotators"] <= 99:
            raise CommandError("FACES must be 1 to 609 and DEMO_ANNOTATORS 1 to 99.")
        try:
            run = portraits.start_demo(options["faces"])
        except MissingAsset as error:
            raise CommandError(str(error)) from error
        passwords = self.set_up_users(options["annotators"], renew=options["new_passwords"])
        lifecycle.invite(campaign=portraits.demo_campaign(), annotators=User.objects.filter(username__in=passwords))
        self.print_access(options["address"], run, passwords)

    def set_up_users(self, annotators: int, *, renew: bool) -> dict[str, str | None]:
        """Create the users. Return name -> password; None if an earlier start has set a random one."""
        common = os.environ.get("DEMO_PASSWORD")
        passwords: dict[str, str | None] = {}
        for name in ["admin", *(f"annotator{number}" for number in range(1, annotators + 1))]:
            user = User.objects.filter(username=name).first() or User(username=name)
            user.is_staff = user.is_superuser = name == "admin"
            passwords[name] = None
            # Do not set the same password again: it would sign everyone out.
            if user.pk is None or renew or (common and not user.check_password(common)):
                passwords[name] = common or secrets.token_urlsafe(9)
                user.set_password(passwords[name])
            elif common:
                passwords[name] = common
            user.save()
        return passwords

    def print_access(self, address: str, run: StageRun, passwords: dict[str, str | None]) -> None:
        self.stdout.write(f"\n  DiffusionReward is at {address.rstrip('/')}{settings.URL_PREFIX}/\n\n")
        for name, password in passwords.items():
            self.stdout.write(f"    {name:<12} {password or '(password unchanged)'}")
        if None in passwords.values():
            self.stdout.write("\n  To set new passwords: make run NEW_PASSWORDS=1")
        if run.state == StageRun.State.RUNNING:
            self.stdout.write(
                f"\n  {run.done} of {run.total} photographs are ready; the others are prepared in the background.\n"
                "  The first pair is ready after a minute or two."
            )
        self.stdout.write("  Stop with Ctrl-C.\n\n")
