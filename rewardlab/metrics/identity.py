"""Identity: SFace's angle between a restored face and its photograph."""

import torch
from torch import Tensor

from rewardlab import face_alignment
from rewardlab.face_alignment import Detection
from rewardlab.images import Pixels, to_arrays
from rewardlab.metrics.registry import FullReferenceMeasure, UndefinedMetric


def reference_faces(references: list[Pixels], metric: str) -> list[Detection]:
    """Detect the largest face of each uint8 (H, W, 3) reference. Raises `UndefinedMetric` if one has no face."""
    found = []
    for index, reference in enumerate(references):
        detections = face_alignment.detect(reference)
        if not detections:
            raise UndefinedMetric(f"{metric} is undefined: no face was found in the reference of image {index}")
        found.append(detections[0])
    return found


def build_sface(device: str) -> FullReferenceMeasure:
    """Build the angle between SFace's embeddings in degrees, [0, 180]; always on the CPU (OpenCV). Not ArcFace's Deg.

    Both images are aligned with the reference's landmarks, so that only pixels are compared and a restoration without
    a detectable face has a value. Identical images are within .05 degrees (float32 rounding).
    """

    def measure(images: Tensor, reference: Tensor) -> Tensor:
        originals = to_arrays(reference)
        angles = [
            face_alignment.identity_angle(
                face_alignment.identity_embedding(restored, face.landmarks),
                face_alignment.identity_embedding(original, face.landmarks),
            )
            for restored, original, face in zip(
                to_arrays(images), originals, reference_faces(originals, "SFace angle"), strict=True
            )
        ]
        return torch.tensor(angles)

    return measure
