"""Mean faces: each averages enough portraits that nobody in it can be recognised."""

import numpy as np

from tests.pictures.mean_faces import PORTRAITS_EACH, SIZE, groups, mean_face


def test_groups_hold_distinct_portraits_and_differ():
    described = np.random.default_rng(0).normal(size=(120, 6))
    found = groups(described, 20)
    assert PORTRAITS_EACH >= 30
    assert [len(set(members)) for members in found] == [PORTRAITS_EACH] * 20
    assert len({tuple(sorted(members)) for members in found}) == 20


def test_mean_face_of_aligned_portraits_is_pixel_average():
    rng = np.random.default_rng(0)
    portraits = rng.integers(0, 256, (30, SIZE, SIZE, 3), dtype=np.uint8)
    points = np.tile(rng.uniform(20, SIZE - 20, (1, 68, 2)), (30, 1, 1))
    np.testing.assert_allclose(mean_face(portraits, points), portraits.mean(axis=0), atol=1)


def test_mean_face_of_shifted_portraits_aligns_landmarks():
    portraits, points = np.zeros((2, SIZE, SIZE, 3), np.uint8), np.full((2, 1, 2), 128.0)
    for number, place in enumerate((108, 148)):
        points[number, 0, 0] = place
        portraits[number, 128 - 3 : 128 + 4, place - 3 : place + 4] = 255
    face = mean_face(portraits, points)
    assert face[128, 128].min() > 200
    assert face[128, 108].max() < 50
