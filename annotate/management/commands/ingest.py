import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count

from annotate.management.stage_command import StageCommand, positive, seed
from annotate.models import Face
from annotate.pipeline.ingest import DEFAULT_SHARES, IngestConfig, ingest
from annotate.pipeline.sources import IDENTITY_RULES, SourceError, read_sources
from rewardlab.assets import MissingAsset


class Command(StageCommand):
    help = "Turn photographs into faces: detect, align, crop, and split by identity. Metadata and names are removed."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        config = IngestConfig()
        parser.add_argument(
            "path", type=Path, help="a folder of photographs, or a CSV, JSON or JSONL with path, caption, identity"
        )
        parser.add_argument("--captions", type=Path, help="CSV, JSON or JSONL: path (inside PATH), caption, identity")
        parser.add_argument("--identity-from", choices=IDENTITY_RULES, default="file")
        parser.add_argument(
            "--split",
            type=parse_shares,
            default=DEFAULT_SHARES,
            metavar="train=.8,gold=.1,test=.1",
            help="shares of identities, or one split for all",
        )
        parser.add_argument(
            "--size", type=positive, default=config.size, help="size of the faces in pixels (default: %(default)s)"
        )
        parser.add_argument("--aligned", action="store_true", help="the photographs are FFHQ-aligned: only resize them")
        parser.add_argument("--seed", type=seed, default=config.seed)
        parser.add_argument("--limit", type=positive, metavar="N", help="only the first N photographs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = IngestConfig(
                size=options["size"], aligned=options["aligned"], shares=options["split"], seed=options["seed"]
            )
            sources = read_sources(
                options["path"],
                captions=options["captions"],
                identity_from=options["identity_from"],
                limit=options["limit"],
            )
            summary = self.run_stage("ingest", ingest(sources, config=config), total=len(sources))
        except (SourceError, MissingAsset, ValueError) as error:
            raise CommandError(str(error)) from error
        self.print_splits()
        self.finish(summary, options=options)

    def print_splits(self) -> None:
        rows = Face.objects.values_list("split").annotate(faces=Count("pk"), people=Count("identity", distinct=True))
        counts = ", ".join(f"{split} {faces} of {people}" for split, faces, people in rows.order_by("split"))
        self.stdout.write(f"  faces of identities, by split: {counts or 'none'}")


def parse_shares(text: str) -> dict[str, float]:
    """Parse `gold`, or `train=.8,gold=.1,test=.1` (summing to 1)."""
    if text in DEFAULT_SHARES:
        return {text: 1.0}
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"--split {text}: write it as train=.8,gold=.1,test=.1") from None
    if unknown := set(shares) - set(DEFAULT_SHARES):
        raise argparse.ArgumentTypeError(f"--split {text}: there is no split {', '.join(sorted(unknown))}")
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise argparse.ArgumentTypeError(f"--split {text}: the shares must sum to 1")
    return shares
