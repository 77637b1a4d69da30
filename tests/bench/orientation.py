"""Measure how many photographs that lie on their side are stored upright: `python -m tests.bench.orientation [COUNT]`.

Turns COUNT portraits of the demo (default 30) by 0 to 270 degrees, without EXIF. A face counts as upright if its crop
correlates with that of the upright photograph. Also prints the time of one alignment.
"""

import sys
import time

import numpy as np

from rewardlab import assets, face_alignment, images

SIZE = 192
SAME = 0.95  # correlation of two crops of one photograph


def main(count: int) -> None:
    paths = sorted(assets.find("demo-faces").glob("*.jpg"))[:count]
    photographs = [images.read(path) for path in paths]
    crops = [face_alignment.align(photograph, SIZE, True).image for photograph in photographs]
    for turn in range(4):
        accepted = upright = 0
        started = time.perf_counter()
        for photograph, crop in zip(photographs, crops, strict=True):
            try:
                found = face_alignment.align(np.ascontiguousarray(np.rot90(photograph, turn)), SIZE, True).image
            except face_alignment.FaceError:
                continue
            accepted += 1
            upright += np.corrcoef(found.ravel(), crop.ravel())[0, 1] > SAME
        milliseconds = 1000 * (time.perf_counter() - started) / count
        print(f"turned by {90 * turn:3}: {accepted} of {count} accepted, {upright} upright, {milliseconds:.0f} ms each")
    shapes = ((50, 4000), (1000, 64_000), (1, 100_000), (2, 300), (30, 3000), (100, 2000), (100, 5000))
    noise = np.random.default_rng(0)
    thin = sum(bool(face_alignment.detect(noise.integers(0, 256, (*s, 3), dtype=np.uint8))) for s in shapes)
    print(f"thin images: a face is found in {thin} of {len(shapes)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
