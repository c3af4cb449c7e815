"""Columns from the attributes of many examples at once: paths, boxes and coordinates.

Every function takes the examples of one split and returns one row for each of them, in their
order. An attribute that cannot be read never raises: its row says so and holds the fill value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Examples, attributes_of
from pipeline.unpickling.arrays import (
    INTEGERS,
    decode_fixed,
    decode_ragged,
    flags_per_run,
)
from pipeline.unpickling.standins import SparseCoords


class Reading(IntEnum):
    """How reading one attribute of one example went."""

    READ = 0
    ABSENT = 1  # None, or no such attribute
    MALFORMED = 2
    FISHEYE = 3  # cameras only: well-formed, but not a pinhole camera


@dataclass(frozen=True, slots=True)
class CoordinateColumn:
    """Attributes:
    values: (N, ...) NaN where missing or not read.
    reading: uint8 (N,), `Reading` codes.
    """

    values: npt.NDArray[np.floating]
    reading: npt.NDArray[np.uint8]


def readings(values: Sequence[object], read: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """READ where `read`, ABSENT where the value is None, else MALFORMED: uint8 (N,)."""
    if read.all():
        return np.full(len(values), Reading.READ, dtype=np.uint8)
    absent = np.array([value is None for value in values], dtype=np.bool_)
    codes = np.where(absent, Reading.ABSENT, Reading.MALFORMED)
    return np.where(read, Reading.READ, codes).astype(np.uint8)


def image_paths(examples: Examples) -> list[str | None]:
    """The `image_path` of each example, None where it is absent, empty or not a possible path."""
    return [_path(value) for value in examples.column("image_path")]


def boxes(examples: Examples) -> CoordinateColumn:
    """`bbox` as float32 (N, 4): x, y, width, height in pixels; float16 and float64 sources too."""
    return _fixed(examples.column("bbox"), (4,), np.float32)


def coords2d(examples: Examples, *, n_joints: int) -> CoordinateColumn:
    """`coords` of 2D examples as float32 (N, J, 2) in pixels."""
    return _fixed(examples.column("coords"), (n_joints, 2), np.float32)


def world_coords(examples: Examples, *, n_joints: int) -> CoordinateColumn:
    """`world_coords`, dense or SparseCoords, as float64 (N, J, 3) in millimetres."""
    values = examples.column("world_coords")
    coords = np.full((len(values), n_joints, 3), np.nan)
    read = decode_fixed(values, coords)
    sparse = [i for i, value in enumerate(values) if type(value) is SparseCoords]
    if sparse:
        rows = np.array(sparse)
        read[rows] = _expand_sparse([values[i] for i in sparse], coords, rows)
    return CoordinateColumn(coords, readings(values, read))


def _expand_sparse(
    values: Sequence[object], coords: npt.NDArray[np.float64], rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Write the points of SparseCoords into `coords[rows]`; False where one is malformed."""
    expected = coords.shape[1:]
    states = [attributes_of(value) or {} for value in values]
    shapes_fit = [_shape(state.get("shape")) == expected for state in states]
    joints, n_joints, joints_read = decode_ragged(
        [state.get("i_valid_joints") for state in states],
        row_shape=(),
        dtype=np.int64,
        kinds=INTEGERS,
    )
    points, n_points, points_read = decode_ragged(
        [state.get("valid_coords") for state in states], row_shape=(3,), dtype=np.float64
    )
    in_range = (joints >= 0) & (joints < expected[0])
    n_out_of_range = flags_per_run(~in_range, n_joints)
    read = joints_read & points_read & (n_joints == n_points) & (n_out_of_range == 0) & shapes_fit
    keep_joints, keep_points = np.repeat(read, n_joints), np.repeat(read, n_points)
    examples = np.repeat(rows[read], n_joints[read])
    coords[examples, joints[keep_joints]] = points[keep_points]
    return cast(npt.NDArray[np.bool_], read)


def _fixed(
    values: Sequence[object], shape: tuple[int, ...], dtype: npt.DTypeLike
) -> CoordinateColumn:
    out = np.full((len(values), *shape), np.nan, dtype=dtype)
    return CoordinateColumn(out, readings(values, decode_fixed(values, out)))


def _path(value: object) -> str | None:
    if type(value) is bytes:
        value = value.decode("utf-8", "replace")
    if type(value) is not str or not value or "\0" in value:
        return None
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _shape(value: object) -> tuple[int, ...] | None:
    if type(value) not in (tuple, list) or any(type(n) is not int for n in cast(Any, value)):
        return None
    return tuple(cast(Sequence[int], value))
