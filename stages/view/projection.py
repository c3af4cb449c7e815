"""Where the points of an example lie in its picture, and which of them the camera cannot see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cameras import camera_to_image, distort, make_camera, undistort

MIN_DEPTH_M = 1e-3


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
        normalized = points[:, :2] / points[:, 2:]
        back = undistort(distort(normalized, camera.distortion), camera.distortion)
        is_folded = np.abs(back - normalized).max(axis=1, initial=0) > 1e-3
        plain = camera_to_image(points, make_camera(intrinsics))
        pixels = np.where(is_folded[:, None], plain, pixels)
    return Projection(pixels, is_ahead)
