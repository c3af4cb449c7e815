"""Cameras of every era as columns: cameralib, cameravision and deltacamera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes, Examples, attributes_of
from pipeline.unpickling.arrays import decode_fixed, decode_ragged, flags_per_run, padded
from pipeline.unpickling.fields import Reading, readings
from pipeline.unpickling.standins import BrownConradyEx, Camera, FisheyeKannalaBrandt

_LENGTHS = (0, 5, 8, 12, 14)  # numbers of coefficients of OpenCV's pinhole models
_FISHEYE_LENGTH = 4
_LARGEST = 1e30  # what float32 still holds after any conversion of units


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


def camera_columns(examples: Examples) -> CameraColumns:
    """`camera` of each example; an object shared by many examples is converted once.

    A camera is MALFORMED if R, t or the intrinsic matrix is missing, of the wrong shape or not
    finite, or the distortion is of no known length; FISHEYE if its distortion model is
    Kannala-Brandt's (four coefficients). `world_up` is only a hint: a malformed one is zero.
    """
    cameras = examples.column("camera")
    distinct = {id(camera): camera for camera in cameras}
    if len(distinct) == len(cameras):
        return _convert(cameras)
    numbers = {key: number for number, key in enumerate(distinct)}
    rows = np.fromiter((numbers[id(camera)] for camera in cameras), np.intp, count=len(cameras))
    once = _convert(list(distinct.values()))
    return CameraColumns(
        reading=once.reading[rows],
        rotation=once.rotation[rows],
        optical_centre=once.optical_centre[rows],
        intrinsics=once.intrinsics[rows],
        distortion=once.distortion[rows],
        distortion_length=once.distortion_length[rows],
        world_up=once.world_up[rows],
    )


def _convert(cameras: Sequence[object]) -> CameraColumns:
    n_cameras = len(cameras)
    states = Examples([_state_of(camera) for camera in cameras])
    rotation = np.zeros((n_cameras, 3, 3))
    optical_centre = np.zeros((n_cameras, 3))
    intrinsics = np.zeros((n_cameras, 3, 3))
    read = np.ones(n_cameras, dtype=np.bool_)
    parts = (("R", rotation), ("t", optical_centre), ("intrinsic_matrix", intrinsics))
    for name, array in parts:
        read &= decode_fixed(states.column(name), array)
        in_range = np.abs(array) < _LARGEST  # False for NaN too
        read &= in_range.all(axis=tuple(range(1, array.ndim)))

    distortion, distortion_length, fisheye, distortion_read = _distortions(states)
    read &= distortion_read & ~fisheye
    world_up = np.zeros((n_cameras, 3))
    decode_fixed(states.column("world_up"), world_up)
    reading = readings(cameras, read)
    reading[fisheye] = Reading.FISHEYE
    dropped = ~read
    rotation[dropped] = np.eye(3)
    to_clear: tuple[npt.NDArray[Any], ...] = (
        optical_centre,
        intrinsics,
        distortion,
        distortion_length,
        world_up,
    )
    for array in to_clear:
        array[dropped] = 0
    return CameraColumns(
        reading=reading,
        rotation=rotation,
        optical_centre=optical_centre,
        intrinsics=intrinsics,
        distortion=distortion,
        distortion_length=distortion_length,
        world_up=_unit(world_up),
    )


def _distortions(
    states: Examples,
) -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]
]:
    """Coefficients (M, 14), their number (M,), which are fisheye (M,), which are readable (M,)."""
    # deltacamera's objects have the one, those of cameralib and cameravision the other.
    pairs = zip(states.column("_distortion_model"), states.column("distortion_coeffs"), strict=True)
    models = [coefficients if model is None else model for model, coefficients in pairs]
    coefficients = [
        value if type(value) is not BrownConradyEx else _coefficients_of(value) for value in models
    ]
    flat, lengths, decoded = decode_ragged(coefficients, row_shape=(), dtype=np.float32)
    is_fisheye_model = [type(value) is FisheyeKannalaBrandt for value in models]
    fisheye = np.array(is_fisheye_model, dtype=np.bool_) | (decoded & (lengths == _FISHEYE_LENGTH))
    fits = decoded & np.isin(lengths, _LENGTHS)
    fits &= flags_per_run(~np.isfinite(flat), lengths) == 0
    distortion, kept = padded(
        flat[np.repeat(fits, lengths)], np.where(fits, lengths, 0), width=_LENGTHS[-1]
    )
    absent = np.array([value is None for value in coefficients], dtype=np.bool_)
    return distortion, kept, fisheye, absent | fits


def _state_of(camera: object) -> Attributes:
    return (attributes_of(camera) if type(camera) is Camera else None) or {}


def _coefficients_of(model: object) -> object:
    """What is not there is not the same as no distortion."""
    return (attributes_of(model) or {}).get("coeffs", "missing")


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / lengths
    return np.where(np.isfinite(unit), unit, 0).astype(np.float32)
