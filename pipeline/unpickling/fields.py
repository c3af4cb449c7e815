"""Columns from the attributes of many examples at once: paths, boxes, coordinates, surface points.

Every function takes the examples of one split and returns one row for each of them, in their
order. An attribute that cannot be read never raises: its row says so and holds the fill value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes


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


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """DensePose-like annotations: pixels and their places on the body surface, ragged by example.

    Attributes:
        reading: uint8 (N,), `Reading` codes.
        lengths: int32 (N,), points of each example; 0 unless READ.
        pixels: float32 (sum of lengths, 2), examples one after the other.
        vertices: int32 (sum of lengths, 3), body-mesh vertex ids below 6890.
        weights: float32 (sum of lengths, 3), barycentric.
    """

    reading: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.float32]
    vertices: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BodyColumns:
    """Body-model parameters. Rows that are not READ hold zeros, empty strings and scale 1.

    Attributes:
        reading: uint8 (N,), `Reading` codes.
        model: N lower-case names (`smpl`, `smplh`, `smplx`).
        gender: N lower-case names as written, `""` where there is none.
        pose: float32 (N, 165), rotation vectors, zero-padded.
        pose_length: int32 (N,), how many of them the source has.
        shape: float32 (N, widest), zero-padded.
        shape_length: int32 (N,).
        translation: float32 (N, 3), metres.
        kid_factor: float32 (N,), 0 where absent.
        scale: float32 (N,), 1 where absent.
    """

    reading: npt.NDArray[np.uint8]
    model: list[str]
    gender: list[str]
    pose: npt.NDArray[np.float32]
    pose_length: npt.NDArray[np.int32]
    shape: npt.NDArray[np.float32]
    shape_length: npt.NDArray[np.int32]
    translation: npt.NDArray[np.float32]
    kid_factor: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]


def image_paths(examples: Sequence[Attributes]) -> list[str | None]:
    """The `image_path` of each example, None where it is absent, empty or not text."""
    raise NotImplementedError


def boxes(examples: Sequence[Attributes]) -> CoordinateColumn:
    """`bbox` as float32 (N, 4): x, y, width, height in pixels; float16 and float64 sources too."""
    raise NotImplementedError


def world_coords(examples: Sequence[Attributes], *, n_joints: int) -> CoordinateColumn:
    """`world_coords`, dense or SparseCoords, as float64 (N, J, 3) in millimetres."""
    raise NotImplementedError


def coords2d(examples: Sequence[Attributes], *, n_joints: int) -> CoordinateColumn:
    """`coords` of 2D examples as float32 (N, J, 2) in pixels."""
    raise NotImplementedError


def surface_points(examples: Sequence[Attributes]) -> SurfacePoints:
    """`densepose` of 2D examples; the unfinished (pixels, (I, U, V)) form is MALFORMED."""
    raise NotImplementedError


def body_columns(examples: Sequence[Attributes]) -> BodyColumns:
    """`parameters` of 3D examples."""
    raise NotImplementedError
