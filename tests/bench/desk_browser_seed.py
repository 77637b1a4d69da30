"""Create a campaign with real pictures for `desk_browser`: `python -m tests.bench.desk_browser_seed --help`.

The pictures are portraits of the demo, resized, with different noise for each candidate so that all files differ.
"""

import argparse
import json

import django

django.setup()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from annotate.common import image_store  # noqa: E402
from annotate.models import (  # noqa: E402
    Campaign,
    Candidate,
    User,
)
from rewardlab import assets  # noqa: E402
from tests.bench.seed import fill  # noqa: E402
from tests.support.factories import PASSWORD  # noqa: E402


def add_pictures(size: int) -> None:
    portraits = sorted(assets.find("demo-faces").glob("*.jpg"))
    random = np.random.default_rng(0)
    for number, candidate in enumerate(Candidate.objects.order_by("pk")):
        with Image.open(portraits[number % len(portraits)]) as portrait:
            image = np.asarray(portrait.convert("RGB").resize((size, size), Image.Resampling.LANCZOS), np.int16)
        noisy = (image + random.integers(-3, 4, image.shape)).clip(0, 255).astype(np.uint8)
        Candidate.objects.filter(pk=candidate.pk).update(sha256=image_store.store_png(noisy))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    fill(options.answers // 3 + 20, 1, 1, contested_only=True, scores=False, labels=0)
    add_pictures(options.size)
    user = User.objects.get(username="bench0")
    user.set_password(PASSWORD)
    user.save()
    print(json.dumps({"items": Campaign.objects.get().item_count}))
