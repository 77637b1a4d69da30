"""The process that runs jobs, which `serve` supervises."""

import argparse
import logging

from annotate.common.lifeline import Lifeline

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--queue", action="append", required=True)
    options = parser.parse_args()
    lifeline = Lifeline(options.lifeline)
    import django

    django.setup()  # after the lifeline, since this takes a second
    from django.db import OperationalError

    from annotate.serving.job_runner import JobRunner

    try:
        JobRunner(lifeline, options.queue).run()
    except OperationalError as error:
        logger.error("Jobs cannot be run, because the database is unavailable: %s", error)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
