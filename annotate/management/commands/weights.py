import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from rewardlab import assets, weight_store
from rewardlab.assets import Asset
from rewardlab.downloads import DownloadError


class Command(BaseCommand):
    help = (
        "Show, fetch and verify the pretrained files that the project can use. They are kept in the folder "
        "REWARDLAB_WEIGHTS. An interrupted fetch is continued by the same command."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("list", help="show every file, whether it is here, its size, licence and source")
        fetch = actions.add_parser("fetch", help="fetch files into the weights folder")
        fetch.add_argument("names", nargs="+", metavar="NAME", help="names of the list")
        fetch.add_argument(
            "--from",
            dest="source",
            default="",
            metavar="ADDRESS_OR_FILE",
            help="an https:// address or a file of this machine, in place of the file's own source",
        )
        fetch.add_argument("--sha256", default="", metavar="HASH", help="the hash that the file must have")
        fetch.add_argument(
            "--accept-licence",
            action="store_true",
            help="agree to a licence that forbids commercial use or redistribution, or that is not stated",
        )
        fetch.add_argument("--again", action="store_true", help="fetch files that are already here")
        check = actions.add_parser("check", help="verify sizes and hashes, and open the headers")
        check.add_argument("names", nargs="*", metavar="NAME", help="names of the list (default: all that are here)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            {"list": self.show, "fetch": self.fetch, "check": self.verify}[options["action"]](options)
        except DownloadError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted. What has arrived is kept: run the same command to continue.") from None

    def show(self, options: dict[str, Any]) -> None:
        found = weight_store.inventory()
        for one in found:
            self.stdout.write(f"{one.asset.name:<20} {one.place:<15} {in_bytes(one.size):>8}  {one.asset.licence}")
            self.stdout.write(f"  {one.asset.file}, from {one.asset.source}")
        missing = sum(one.path is None for one in found)
        self.stdout.write(
            f"{len(found) - missing} of {len(found)} files are here. The folder is {assets.weights_folder()}."
        )

    def fetch(self, options: dict[str, Any]) -> None:
        chosen = [weight_store.known(name) for name in dict.fromkeys(options["names"])]
        if options["source"] and len(chosen) > 1:
            raise CommandError("--from is the source of one file: name one.")
        if options["sha256"] and len(chosen) > 1:
            raise CommandError("--sha256 is the hash of one file: name one.")
        for asset in chosen:
            if assets.is_available(asset.name) and not (options["again"] or options["source"]):
                self.stdout.write(f"{asset.name}: already here, {assets.find(asset.name)}")
                continue
            self.ask_for_consent(asset, accepted=options["accept_licence"])
            path = self.fetch_one(asset, options)
            self.stdout.write(f"{asset.name}: {path}")

    def fetch_one(self, asset: Asset, options: dict[str, Any]) -> Any:
        with tqdm(
            desc=asset.name, unit="B", unit_scale=True, unit_divisor=1024, disable=not self.stderr.isatty()
        ) as bar:

            def on_progress(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            return weight_store.fetch(
                asset, source=options["source"], sha256=options["sha256"].lower(), on_progress=on_progress
            )

    def ask_for_consent(self, asset: Asset, *, accepted: bool) -> None:
        """Show the licence. Raises `CommandError` if it is restrictive and nobody agrees to it."""
        self.stdout.write(f"{asset.name}: {asset.licence}")
        if not asset.is_restricted or accepted:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                f"{asset.name} has a restrictive licence: {asset.licence}. If you agree to it, repeat the command with "
                "--accept-licence."
            )
        if input("Do you agree to this licence? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Not fetched.")

    def verify(self, options: dict[str, Any]) -> None:
        names = set(options["names"])
        for name in names:
            weight_store.known(name)
        faulty = 0
        for found in weight_store.inventory():
            if found.asset.name not in names if names else found.path is None:
                continue
            try:
                self.stdout.write(f"{found.asset.name}: {weight_store.check(found)}")
            except (DownloadError, OSError) as error:
                faulty += 1
                self.stderr.write(f"{found.asset.name}: {error}")
        if faulty:
            raise CommandError(f"Missing or damaged: {faulty}, see above.")


def in_bytes(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
