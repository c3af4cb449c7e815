"""Where the points of an example lie in its picture, and which of them the camera cannot see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cameras import camera_to_image, distort, make_camera

MIN_DEPTH_M = 1e-3
_STEPS = 64


@dataclass(frozen=True, slots=True)
class Projection:
    """Points of one example in its picture.

    Attributes:
        pixels: float64 (P, 2).
        is_ahead: bool (P,), False for points at or behind the optical centre: their pixels mean
            nothing.
    """

    pixels: npt.NDArray[np.float64]
    is_ahead: npt.NDArray[np.bool_]


def project(
    coords3d: npt.NDArray[Any],
    *,
    intrinsics: npt.NDArray[Any],
    distortion: npt.NDArray[Any],
) -> Projection:
    """Project camera-space points through the lens.

    A lens model bends points far outside the picture back into it. Those are projected without
    distortion, so that they stay outside, on the side where they are.

    Args:
        coords3d: (P, 3), metres, camera space.
        intrinsics: (3, 3), pixels.
        distortion: (14,), OpenCV's order.
    """
    camera = make_camera(intrinsics, distortion=distortion)
    points = np.asarray(coords3d, np.float64)
    is_ahead = points[:, 2] > MIN_DEPTH_M
    points = np.where(is_ahead[:, None], points, [0.0, 0.0, 1.0])
    pixels = camera_to_image(points, camera)
    if camera.is_distorted:
        is_folded = _is_folded(points[:, :2] / points[:, 2:], camera.distortion)
        plain = camera_to_image(points, make_camera(intrinsics))
        pixels = np.where(is_folded[:, None], plain, pixels)
    return Projection(pixels, is_ahead)


def _is_folded(
    normalized: npt.NDArray[np.float64], distortion: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Where the lens model turns back somewhere on the way from the axis to the point, (P,)."""
    ways = np.linspace(0, 1, _STEPS)[:, None, None] * normalized
    progress = (distort(ways, distortion) * normalized).sum(axis=-1)
    return np.asarray((np.diff(progress, axis=0) < 0).any(axis=0))
