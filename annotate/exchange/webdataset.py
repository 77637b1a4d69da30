"""Write preferences with their images as tar shards in WebDataset's layout: SPLIT-00000.tar, SPLIT-00001.tar, ...

A sample is a pair: `PAIR.first.png`, `PAIR.second.png`, and `PAIR.json` with the columns of the other formats.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.exchange.json_and_csv import metric_names
from annotate.exchange.output_files import Exported, HashedFile, Tally, whole_folder
from annotate.exchange.record_formats import columns, flat
from rewardlab.files import write_atomic
from rewardlab.manifest import PreferenceRow

BYTES_PER_SHARD = 500_000_000
ROWS_AT_ONCE = 100  # whose images are read together


class _Shard:
    def __init__(self, path: Path) -> None:
        self.file = HashedFile(path)
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - `close`

    def add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        self.tar.close()
        self.file.close()


def write_webdataset(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    """Write the shards of each split to the folder `target`, and their provenance next to it."""
    tally.with_images = True
    with whole_folder(target) as folder:
        files = write_shards(folder, rows, tally)
    metadata = tally.metadata() | {"sha256": files}
    write_atomic(target.with_name(f"{target.name}.meta.json"), json.dumps(metadata, indent=2).encode() + b"\n")
    return tally.exported(target)


def write_shards(
    folder: Path, rows: Iterable[PreferenceRow], tally: Tally, *, bytes_per_shard: int = BYTES_PER_SHARD
) -> dict[str, str]:
    """Write the shards, and return file name -> sha256."""
    metrics = metric_names()
    names, open_shards, numbers, files = list(columns(metrics)), dict[str, _Shard](), dict[str, int](), dict[str, str]()

    def close(split: str) -> None:
        shard = open_shards.pop(split)
        shard.close()
        files[shard.file.path.name] = shard.file.sha256

    for batch in batches(rows, ROWS_AT_ONCE):
        images = image_store.read_all([path for row in batch for path in (row.first, row.second)])
        for row, first, second in zip(batch, images, images, strict=True):
            if row.split not in open_shards:
                numbers[row.split] = number = numbers.get(row.split, -1) + 1
                open_shards[row.split] = _Shard(folder / f"{row.split}-{number:05}.tar")
            shard, key = open_shards[row.split], f"{row.pair:09}"
            shard.add(f"{key}.first.png", first)
            shard.add(f"{key}.second.png", second)
            shard.add(f"{key}.json", json.dumps(dict(zip(names, flat(row, metrics), strict=True))).encode())
            tally.count(row)
            if shard.file.tell() >= bytes_per_shard:
                close(row.split)
    for split in list(open_shards):
        close(split)
    return dict(sorted(files.items()))
