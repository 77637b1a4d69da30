"""A management command as the process of a job, which ends with the process that started it.

Its own process group, so that it can be ended with everything it started.
"""

import argparse
import os
import sys
import zipfile
from pathlib import Path

from annotate.common.lifeline import Lifeline

NICENESS = 10  # the site and refits go first


def pack(folder: Path, target: Path) -> None:
    """Pack a folder's files for download. Images are compressed already."""
    new = target.with_suffix(".new")
    with zipfile.ZipFile(new, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            compression = zipfile.ZIP_STORED if file.suffix in (".png", ".parquet") else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(folder), compression)
    new.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--pack", type=Path, nargs=2, metavar=("FOLDER", "FILE"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    Lifeline(options.lifeline)
    os.nice(NICENESS)
    sys.argv = ["manage.py", *options.command]
    from annotate import command_line  # after the lifeline, since this takes a second

    command_line.main()
    if options.pack:
        pack(*options.pack)


if __name__ == "__main__":
    main()
