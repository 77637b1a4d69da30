from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from annotate.common import progress_file
from annotate.common.stores import StoreError
from annotate.exchange.export import NAMES, export
from annotate.exchange.preference_rows import NothingToFreeze
from annotate.labels.consensus import METHODS
from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import command_error, interrupted, require_migrated
from annotate.models import Pair, Preference
from annotate.models.faces import Split
from annotate.predictor.simulated_labels import left_out_notice


class Command(BaseCommand):
    help = (
        "Write the preferences to the folder OUT in a format that other tools load: the manifest (jsonl), Parquet, a "
        "folder for Hugging Face datasets, HPDv2 JSON, ImageReward JSON, DPO (chosen / rejected), CSV, or Label Studio "
        "tasks. answers-csv, answers-jsonl and answers-parquet contain each single answer instead, and can be imported "
        "with import_judgements in another installation. Annotators appear by pseudonym. An interrupted export leaves "
        "no partial file; run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("out", type=Path)
        parser.add_argument("--format", required=True, choices=NAMES, help="format of the files")
        parser.add_argument(
            "--split", nargs="+", choices=Split.values, help="only faces of these splits (default: all)"
        )
        parser.add_argument(
            "--origin", nargs="+", choices=Preference.Origin.values, help="only labels of these origins (default: all)"
        )
        parser.add_argument(
            "--consensus",
            choices=METHODS,
            default="majority",
            help="how several answers are combined into one probability",
        )
        parser.add_argument(
            "--with-images",
            action="store_true",
            help="also export the images: inside the files of datasets, otherwise copied",
        )
        parser.add_argument("--overwrite", action="store_true", help="replace an existing export in OUT")

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        try:
            done = export(
                options["out"],
                options["format"],
                splits=options["split"],
                origins=options["origin"],
                consensus=options["consensus"],
                with_images=options["with_images"],
                overwrite=options["overwrite"],
                progress=lambda rows: self.with_progress(rows, options),
            )
        except (NothingToFreeze, GoldLeak, StoreError, OSError) as error:
            raise command_error(error) from error
        except KeyboardInterrupt:
            raise interrupted("Interrupted. No partial file is left. Run the same command to start again.") from None
        counts = ", ".join(f"{name} {count}" for name, count in done.counts.items()) or "nothing"
        rows = "answers" if options["format"].startswith("answers-") else "preferences"
        self.stdout.write(f"{done.path}: {done.rows} {rows} of {done.faces} faces ({counts})")
        for reason, count in done.left_out.items():
            self.stdout.write(f"left out: {count} ({reason})")
        if done.sha256:
            self.stdout.write(f"sha256 {done.sha256}")
        if simulated := sum(count for name, count in done.counts.items() if name.endswith("/simulated")):
            self.stdout.write(f"{simulated} of these are SIMULATED; to leave them out: manage.py count_simulated no")
        elif notice := left_out_notice():
            self.stdout.write(notice)

    def with_progress(self, rows: Iterator[Any], options: dict[str, Any]) -> Iterator[Any]:
        pairs = Pair.objects.filter(face__split__in=options["split"]) if options["split"] else Pair.objects.all()
        total = None if options["origin"] else pairs.count()  # counting preferences takes as long as reading them
        with tqdm(rows, total=total, desc="export", unit="", disable=not self.stderr.isatty()) as bar:
            for done, row in enumerate(bar, start=1):
                progress_file.report(done, total, "export")
                yield row
