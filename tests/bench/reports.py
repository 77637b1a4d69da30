"""Time exports and reports: `python -m tests.bench.reports [--pairs 117540 1000000] [--formats jsonl parquet ...]`.

Exports without images from databases with these numbers of pairs, each in a fresh process: seconds and peak memory,
compared with a baseline that puts all rows in one list and calls json.dump. Every row has six metrics. A simulated
annotator has judged 5,000 contested pairs, and an SVM has labelled the others. Then the agreement report of 360 pairs x
20 annotators is timed (`tests.bench.reports_agreement`).
"""

import argparse
import json
import os
import shutil
import subprocess

from tests.bench.machine import describe
from tests.support.servers import Deployment

FORMATS = ("jsonl", "parquet", "datasets", "hpdv2", "imagereward", "dpo", "csv", "label-studio")
AGREEMENT = (
    "import json, django; django.setup(); from tests.bench.reports_agreement import measure; "
    "print(json.dumps(measure()))"
)
PAIRS_PER_FACE = 6
JUDGED = 5000


def exports(pairs: int, formats: list[str], database: str) -> dict:
    with Deployment(database) as site:
        faces = str(pairs // PAIRS_PER_FACE)
        site.ask("tests.bench.seed", "--faces", faces, "--annotators", "1", "--scores", "--labels", str(JUDGED))
        site.python("-m", "tests.bench.reports_labels")
        found = {}
        for form in ("baseline", *formats):
            folder = site.folder / form
            found[form] = site.ask("tests.bench.reports_exports", form, str(folder))
            shutil.rmtree(folder)
            print(f"{pairs} pairs, {form}: {found[form]}", flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="*", default=[117540, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    options = parser.parse_args()
    result = {"machine": describe("django", "pyarrow"), "load": os.getloadavg(), "database": options.database}
    result["exports"] = {pairs: exports(pairs, options.formats, options.database) for pairs in options.pairs}
    with Deployment(options.database) as site:
        printed = site.python("-c", AGREEMENT, stdout=subprocess.PIPE).stdout
        result["agreement"] = json.loads(printed.strip().splitlines()[-1])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
