import argparse
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count

from annotate.management.stage_command import StageCommand, positive, seed
from annotate.models import Dataset, Face
from annotate.pipeline.datasets import (
    DatasetError,
    DatasetOptions,
    allowed_shares,
    find_or_create_dataset,
    require_name,
)
from annotate.pipeline.given_pictures import add_given, check_given
from annotate.pipeline.ingest import DEFAULT_SHARES, IngestConfig, ingest
from annotate.pipeline.sources import IDENTITY_RULES, Found, SourceError, read_sources
from annotate.pipeline.stage import Summary
from rewardlab.assets import MissingAsset
from rewardlab.face_sets import FACE_SETS, FaceSetError, find_face_set, find_folders


class Command(StageCommand):
    help = (
        "Turn photographs into faces: detect, align, crop, and split by identity. Metadata and names are removed. "
        "Low-quality pictures can be given beside the photographs, or alone."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        config = IngestConfig()
        parser.add_argument(
            "path",
            type=Path,
            nargs="?",
            help="a folder of photographs, or a CSV, JSON or JSONL with path, caption, identity",
        )
        parser.add_argument(
            "--lq",
            type=Path,
            metavar="DIR",
            help="given low-quality pictures of the photographs, matched by path or name, in place of degrade; "
            "needs --aligned. Without PATH: of the faces of --dataset, or else faces without ground truth",
        )
        parser.add_argument(
            "--preset", choices=list(FACE_SETS), help="a published data set in PATH: its folders, splits and licence"
        )
        parser.add_argument(
            "--dataset", metavar="NAME", help="name of the data set, which is stored as it is (default: the folder's)"
        )
        parser.add_argument(
            "--dataset-kind",
            choices=Dataset.Kind.values,
            help="evaluation: its faces are of split test or gold, never of train (default: training)",
        )
        parser.add_argument("--licence", default="", metavar="NOTE", help="note on the data set's licence")
        parser.add_argument("--captions", type=Path, help="CSV, JSON or JSONL: path (inside PATH), caption, identity")
        parser.add_argument(
            "--identity-from",
            choices=IDENTITY_RULES,
            default="file",
            help="what tells people apart (default: %(default)s)",
        )
        parser.add_argument(
            "--split",
            type=parse_shares,
            metavar="train=.8,gold=.1,test=.1",
            help="shares of identities, or one split for all (default: train=0.8,gold=0.1,test=0.1; for a data set of "
            "kind evaluation: test)",
        )
        parser.add_argument(
            "--size", type=positive, default=config.size, help="size of the faces in pixels (default: %(default)s)"
        )
        parser.add_argument("--aligned", action="store_true", help="the photographs are FFHQ-aligned: only resize them")
        parser.add_argument(
            "--seed", type=seed, default=config.seed, help="seed of the faces' random numbers (default: %(default)s)"
        )
        parser.add_argument("--limit", type=positive, metavar="N", help="only the first N photographs")

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse what can be refused before anything is read."""
        if options["path"] is None and options["lq"] is None:
            raise CommandError("Pass the folder of the photographs, or with --lq that of low-quality pictures.")
        if options["preset"] and (options["path"] is None or options["lq"]):
            raise CommandError(
                "--preset needs PATH, the folder of the data set, in which it finds its pictures; no --lq."
            )
        if options["path"] and options["lq"] and not options["aligned"]:
            raise CommandError(
                "--lq needs --aligned: a given low-quality picture shows the same section as its photograph, so the "
                "photograph must not be cropped or turned."
            )
        try:
            IngestConfig(size=options["size"])
            if options["dataset"] is not None:
                require_name(options["dataset"])
        except (DatasetError, ValueError) as error:
            raise CommandError(str(error)) from error

    def handle(self, *args: Any, **options: Any) -> None:
        self.check_options(options)
        if options["preset"]:
            options |= with_preset(options)
        try:
            if options["path"] is None and (dataset := self.photographs_of(options["dataset"])):
                summaries = [self.add_pictures(options["lq"], dataset)]
            else:
                summaries = self.ingest(options)
        except (SourceError, DatasetError, MissingAsset, ValueError) as error:
            raise CommandError(str(error)) from error
        self.print_splits()
        self.finish(*summaries, options=options)

    def photographs_of(self, name: str | None) -> Dataset | None:
        """Return the data set of this name if it has photographs, to which low-quality pictures are added."""
        return Dataset.objects.filter(name=name, has_ground_truth=True, faces__isnull=False).distinct().first()

    def add_pictures(self, folder: Path, dataset: Dataset) -> Summary:
        return self.run_stage("given_lq", add_given(folder, dataset=dataset), total=dataset.faces.count())

    def ingest(self, options: dict[str, Any]) -> list[Summary]:
        path, rule, lq = options["path"] or options["lq"], options["identity_from"], options["lq"]
        is_low_quality = options["path"] is None
        found = read_sources(path, captions=options["captions"], identity_from=rule)
        if lq and not is_low_quality:
            check_given(lq)
        wanted = DatasetOptions(
            options["dataset"], options["dataset_kind"], options["licence"], has_ground_truth=not is_low_quality
        )
        names_a_person = rule == "folder" and any("/" not in source.relative for source in found.sources)
        dataset = find_or_create_dataset(path, wanted, names_a_person=names_a_person)
        config = IngestConfig(
            size=options["size"],
            aligned=options["aligned"],
            shares=allowed_shares(dataset, options["split"], DEFAULT_SHARES),
            seed=options["seed"],
            is_low_quality=is_low_quality,
        )
        found = found.limited(options["limit"])
        steps = chain(ingest(found.sources, dataset=dataset, config=config), found.unusable, found.others, found.rows)
        summaries = [self.run_stage("ingest", steps, total=found.steps)]
        self.print_files(dataset, found, summaries[0])
        if options["preset"]:
            known = FACE_SETS[options["preset"]]
            self.stdout.write(
                f"  {known.title} has {known.count:,} pictures; to compare: dataset check {known.name} PATH"
            )
        if not dataset.faces.exists():  # not even one picture could be used
            dataset.delete()
        elif lq and not is_low_quality:
            summaries.append(self.add_pictures(lq, dataset))
        return summaries

    def print_files(self, dataset: Dataset, found: Found, summary: Summary) -> None:
        counts = {
            "done": summary.done,
            "already there": summary.already,
            "skipped": len(summary.skipped),
            "left out": len(summary.left_out),
            "caption files": found.captions,
        }
        shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        files = "1 file" if found.files == 1 else f"{found.files} files"
        self.stdout.write(f"  data set {dataset}: {files} ({shown})")

    def print_splits(self) -> None:
        rows = Face.objects.values_list("split").annotate(faces=Count("pk"), people=Count("identity", distinct=True))
        counts = ", ".join(f"{split} {faces} of {people}" for split, faces, people in rows.order_by("split"))
        self.stdout.write(f"  faces of identities, by split: {counts or 'none'}")


def with_preset(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a published data set. Options that were given have precedence. Raises `CommandError`."""
    known = find_face_set(options["preset"])
    try:
        folders = find_folders(known, options["path"])
    except FaceSetError as error:
        raise CommandError(str(error)) from error
    return {
        "path": folders.photographs,
        "lq": folders.low_quality,
        "dataset": options["dataset"] or known.name,
        "dataset_kind": options["dataset_kind"] or known.kind,
        "licence": options["licence"] or known.licence,
        "split": options["split"] or known.shares,
        "aligned": True,
    }


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
