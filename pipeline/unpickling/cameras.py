"""Cameras of every era as columns: cameralib, cameravision and deltacamera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes


@dataclass(frozen=True, slots=True)
class CameraColumns:
    """x_camera = R (x_world - t). Rows that are not READ: identity rotation, the rest zero.

    Attributes:
        reading: uint8 (N,), `Reading` codes.
        rotation: float64 (N, 3, 3), world to camera.
        optical_centre: float64 (N, 3), in the world, millimetres.
        intrinsics: float64 (N, 3, 3), pixels.
        distortion: float32 (N, 14), OpenCV order, zero-padded.
        distortion_length: int32 (N,), how many coefficients the source has (0, 5, 8, 12 or 14).
        world_up: float32 (N, 3), unit length, zero where none.
    """

    reading: npt.NDArray[np.uint8]
    rotation: npt.NDArray[np.float64]
    optical_centre: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    distortion: npt.NDArray[np.float32]
    distortion_length: npt.NDArray[np.int32]
    world_up: npt.NDArray[np.float32]


def camera_columns(examples: Sequence[Attributes]) -> CameraColumns:
    """`camera` of each example; an object shared by many examples is converted once."""
    raise NotImplementedError
