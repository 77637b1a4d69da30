"""Data sets: how one gets its name, and which faces a file belongs to."""

import os
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.utils.text import slugify

from annotate.common.pseudonyms import hashed
from annotate.models import Dataset
from annotate.models.faces import Split


class DatasetError(ValueError):
    """The data set cannot be used as requested. The message says what to do."""


@dataclass(frozen=True)
class DatasetOptions:
    """A requested data set. name, kind and licence are None or empty if they were not given."""

    name: str | None = None
    kind: str | None = None
    licence: str = ""
    has_ground_truth: bool = True  # False: its pictures are of low quality, and there are no photographs of them


def find_or_create_dataset(path: Path, options: DatasetOptions, *, names_a_person: bool = False) -> Dataset:
    """Return the data set for the photographs of `path`, a folder, a table or a file.

    Without a name it is called by the folder. names_a_person: the folder's name is the identity of its photographs, and
    names of people are never stored. Raises `DatasetError`.
    """
    folder = Path(os.path.normpath((path if path.is_dir() else path.parent).absolute()))
    name, folder_key = options.name, ""
    if name is None:
        if names_a_person:
            raise DatasetError(
                f"The folder {folder} names a person here, and names of people are not stored. Name the data set with "
                "--dataset."
            )
        name, folder_key = slugify(folder.name)[:60], hashed(folder.resolve().as_posix())
        if not name:
            raise DatasetError(f"No name can be derived from the folder {folder}. Name the data set with --dataset.")
    else:
        require_name(name)
    return _get_or_create(name, folder_key, folder, options)


def require_name(name: str) -> None:
    """Raise `DatasetError` unless a data set can have this name."""
    if not name or name != slugify(name)[:60]:
        raise DatasetError(
            f"--dataset “{name}”: use at most 60 small letters, digits, hyphens and underscores, such as ffhq."
        )


@transaction.atomic
def _get_or_create(name: str, folder_key: str, folder: Path, options: DatasetOptions) -> Dataset:
    created = {
        "kind": options.kind or Dataset.Kind.TRAINING,
        "licence": options.licence,
        "folder_key": folder_key,
        "has_ground_truth": options.has_ground_truth,
    }
    row, _ = Dataset.objects.get_or_create(name=name, defaults=created)
    if not row.faces.exists():
        Dataset.objects.filter(pk=row.pk).update(**created)  # an earlier attempt may have had other options
        row.refresh_from_db()
        return row
    if folder_key and row.folder_key != folder_key:
        raise DatasetError(
            f"There is a data set {name} already, which is not from {folder}. To add to it: --dataset {name}. If these "
            "are other photographs, choose another name with --dataset."
        )
    if row.has_ground_truth != options.has_ground_truth:
        here, wanted = ("photographs", "low-quality pictures without photographs")[:: 1 if row.has_ground_truth else -1]
        raise DatasetError(
            f"The data set {name} consists of {here}, so {wanted} cannot be added. Choose another name with --dataset."
        )
    if options.kind and options.kind != row.kind:
        raise DatasetError(f"The data set {name} is of kind {row.kind}, not {options.kind}. Choose another name.")
    if options.licence and options.licence != row.licence:
        if row.licence:
            raise DatasetError(f"The data set {name} has another licence note: “{row.licence}”. Edit it in the admin.")
        row.licence = options.licence
        row.save(update_fields=["licence"])
    return row


def find_dataset(name: str | None) -> Dataset | None:
    """Return the data set of this name; None for no name. Raises `DatasetError`, naming the known ones."""
    if name is None:
        return None
    if row := Dataset.objects.filter(name=name).first():
        return row
    known = ", ".join(Dataset.objects.order_by("name").values_list("name", flat=True))
    raise DatasetError(f"There is no data set {name}. Known: {known or 'none'}.")


def allowed_shares(dataset: Dataset, shares: dict[str, float] | None, default: dict[str, float]) -> dict[str, float]:
    """Return the shares of the splits: those given, or the default of the kind. Raises `DatasetError`."""
    if dataset.kind != Dataset.Kind.EVALUATION:
        return shares or default
    if shares and shares.get(Split.TRAIN):
        raise DatasetError(
            f"The data set {dataset} is for evaluation, so no face can be in split train. Use --split test or gold."
        )
    return shares or {Split.TEST.value: 1.0}
