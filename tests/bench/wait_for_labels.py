"""For each line on standard input, print a line as soon as the predictor has used every answer."""

import sys
import time

import django

django.setup()

from annotate.predictor.status import labels_wait  # noqa: E402

if __name__ == "__main__":
    for _ in sys.stdin:
        while labels_wait():
            time.sleep(0.05)
        print(flush=True)
