"""The worker of background tasks, as a process that `serve` supervises."""

import argparse
import logging

from annotate.common.lifeline import Lifeline

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifeline", type=int, required=True)
    lifeline = Lifeline(parser.parse_args().lifeline)
    import django

    django.setup()  # after the lifeline, since this takes a second
    from django.db import OperationalError
    from redis import RedisError

    from annotate.serving.task_processes import TaskProcesses

    try:
        TaskProcesses(lifeline).run()
    except (OperationalError, RedisError) as error:
        logger.error("The worker cannot start, because the database or Redis is unavailable: %s", error)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
