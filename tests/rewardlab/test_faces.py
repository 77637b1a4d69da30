"""Faces of real photographs: detection, alignment to the FFHQ layout, identity."""

import io
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image

from rewardlab import assets, face_alignment, images

SIZE = 192
pytestmark = pytest.mark.skipif(
    not (assets.is_available("demo-faces") and assets.is_available("yunet")),
    reason="requirements-demo.txt is not installed",
)


@cache
def photograph(index: int) -> np.ndarray:
    return images.read(sorted(assets.find("demo-faces").glob("*.jpg"))[index])


@cache
def aligned(index: int) -> face_alignment.AlignedFace:
    return face_alignment.align(photograph(index), SIZE)


def degraded(image: np.ndarray, factor: int) -> np.ndarray:
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def test_aligned_eyes_match_template():
    template = face_alignment.TEMPLATE[:2] * SIZE / face_alignment.TEMPLATE_SIZE
    reported, found_again = [], []
    for index in range(0, 160, 10):
        face = aligned(index)
        assert face.image.shape == (SIZE, SIZE, 3) and face.image.dtype == np.uint8 and face.scale <= 1
        reported += np.linalg.norm(face.landmarks[:2] - template, axis=1).tolist()
        again = face_alignment.detect(face.image)[0].landmarks
        found_again += np.linalg.norm(again[:2] - template, axis=1).tolist()
    assert np.median(reported) < 2 and max(reported) < 5
    assert np.median(found_again) < 4  # the detector's own results vary by 3 px between scales


def test_landmarks_of_crop_match_its_pixels():
    """Paint a dot on a landmark of the photograph and find it at that landmark of the crop."""
    photo = photograph(3).copy()
    nose = face_alignment.detect(photo)[0].landmarks[2]
    for size in (96, 192):
        matrix = face_alignment._similarity(
            face_alignment.detect(photo)[0].landmarks.astype(float),
            face_alignment.TEMPLATE * size / face_alignment.TEMPLATE_SIZE,
        )
        scale = float(np.hypot(*matrix[:, 0]))
        dotted = np.zeros_like(photo)
        cv2.circle(dotted, (round(float(nose[0])), round(float(nose[1]))), 4, (255, 255, 255), -1)
        light = face_alignment._warp(dotted, matrix, scale, size)[..., 0].astype(float)
        rows, columns = np.mgrid[:size, :size]
        centre = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
        expected = matrix @ np.append(np.round(nose), 1)
        assert np.abs(centre - expected).max() < 0.2


def test_rotated_photograph_with_exif_gives_same_crop():
    exif = Image.Exif()
    exif[0x0112] = 8
    rotated = io.BytesIO()
    Image.fromarray(photograph(5)).transpose(Image.Transpose.ROTATE_270).save(rotated, "PNG", exif=exif)
    face = face_alignment.align(images.decode(rotated.getvalue()), SIZE)
    assert np.array_equal(face.image, aligned(5).image)


def test_large_photograph_is_cropped_at_full_resolution():
    large = cv2.resize(photograph(0), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    face = face_alignment.align(large, 512)
    assert face.scale < 0.5
    small = cv2.resize(face.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert np.linalg.norm(face_alignment.detect(small)[0].landmarks - aligned(0).landmarks, axis=1).mean() < 8


def test_largest_of_several_faces_is_first():
    face = aligned(0).image
    other = cv2.resize(aligned(10).image, (96, 96), interpolation=cv2.INTER_AREA)
    both = np.full((SIZE, 320, 3), 255, np.uint8)
    both[:, :SIZE], both[:96, 210:306] = face, other
    found = face_alignment.detect(both)
    assert len(found) == 2 and found[0].area > found[1].area
    assert found[0].landmarks[:, 0].max() < SIZE < found[1].landmarks[:, 0].min()


def test_small_face_is_refused_and_error_suggests_size():
    photo = photograph(0)
    with pytest.raises(
        face_alignment.FaceError, match=r"is \d+ px wide but 512 px are needed; use --size \d+"
    ) as caught:
        face_alignment.align(photo, 512)
    assert caught.value.reason == "too_small"
    possible = int(str(caught.value).split("--size ")[1].split()[0])
    assert face_alignment.align(photo, possible).scale <= 1
    assert face_alignment.align(photo, 512, allow_upscale=True).scale > 1


def test_photograph_without_face_is_refused():
    with pytest.raises(face_alignment.FaceError) as caught:
        face_alignment.align(np.full((300, 300, 3), 200, np.uint8), SIZE)
    assert caught.value.reason == "no_face"


def test_prealigned_image_is_only_resized():
    face = aligned(20)
    half = face_alignment.align_prealigned(face.image, SIZE // 2)
    expected = cv2.resize(face.image, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    assert np.array_equal(half.image, expected) and half.scale == 0.5
    assert np.linalg.norm(half.landmarks - face.landmarks / 2, axis=1).mean() < 4
    assert face_alignment.align_prealigned(np.zeros((256, 256, 3), np.uint8), SIZE).landmarks is None
    for reason, picture in (("not_square", photograph(0)), ("too_small", half.image)):
        with pytest.raises(face_alignment.FaceError) as caught:
            face_alignment.align_prealigned(picture, SIZE)
        assert caught.value.reason == reason


def test_identity_angle_of_degraded_face_is_below_other_people():
    def embedding(image, face):
        return face_alignment.identity_embedding(image, face.landmarks)

    people = [aligned(index) for index in range(0, 50, 10)]
    originals = [embedding(face.image, face) for face in people]
    for vector in originals:
        assert vector.shape == (128,) and vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    for index, face in enumerate(people):
        others = [
            face_alignment.identity_angle(originals[index], other) for i, other in enumerate(originals) if i != index
        ]
        angles = [
            face_alignment.identity_angle(originals[index], embedding(degraded(face.image, factor), face))
            for factor in (2, 4, 6)
        ]
        assert angles == sorted(angles) and angles[-1] < min(others)
