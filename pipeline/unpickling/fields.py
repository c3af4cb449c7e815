"""Columns from the attributes of many examples at once: paths, boxes, coordinates, surface points.

Every function takes the examples of one split and returns one row for each of them, in their
order. An attribute that cannot be read never raises: its row says so and holds the fill value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes, attributes_of
from pipeline.unpickling.arrays import (
    INTEGERS,
    decode_fixed,
    decode_one,
    decode_ragged,
    flags_per_run,
    ranges,
)
from pipeline.unpickling.standins import SparseCoords

_SURFACE_VERTICES = 6890  # of SMPL's mesh
_BODY_MODELS = ("smpl", "smplh", "smplx")
_POSE_WIDTH = 165  # SMPL-X: 55 joints
_WIDEST_SHAPE = 400  # SMPL-X ships 300 shape and 100 expression components


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


def column(examples: Sequence[Attributes], name: str) -> list[Any]:
    """One attribute of every example, None where an example has none of that name."""
    try:
        return list(map(itemgetter(name), examples))
    except KeyError:
        return [attributes.get(name) for attributes in examples]


def readings(values: Sequence[object], read: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """READ where `read`, ABSENT where the value is None, else MALFORMED: uint8 (N,)."""
    absent = np.fromiter((value is None for value in values), dtype=np.bool_, count=len(values))
    codes = np.where(absent, Reading.ABSENT, Reading.MALFORMED)
    return np.where(read, Reading.READ, codes).astype(np.uint8)


def image_paths(examples: Sequence[Attributes]) -> list[str | None]:
    """The `image_path` of each example, None where it is absent, empty or not a possible path."""
    return [_path(value) for value in column(examples, "image_path")]


def boxes(examples: Sequence[Attributes]) -> CoordinateColumn:
    """`bbox` as float32 (N, 4): x, y, width, height in pixels; float16 and float64 sources too."""
    return _fixed(column(examples, "bbox"), (4,), np.float32)


def coords2d(examples: Sequence[Attributes], *, n_joints: int) -> CoordinateColumn:
    """`coords` of 2D examples as float32 (N, J, 2) in pixels."""
    return _fixed(column(examples, "coords"), (n_joints, 2), np.float32)


def world_coords(examples: Sequence[Attributes], *, n_joints: int) -> CoordinateColumn:
    """`world_coords`, dense or SparseCoords, as float64 (N, J, 3) in millimetres."""
    values = column(examples, "world_coords")
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


def surface_points(examples: Sequence[Attributes]) -> SurfacePoints:
    """`densepose` of 2D examples; the unfinished (pixels, (I, U, V)) form is MALFORMED."""
    values = column(examples, "densepose")
    triples = [
        value if type(value) in (tuple, list) and len(value) == 3 else (None, None, None)
        for value in values
    ]
    pixels, lengths, read = decode_ragged(
        [triple[0] for triple in triples], row_shape=(2,), dtype=np.float32
    )
    vertices, n_vertices, vertices_read = decode_ragged(
        [triple[1] for triple in triples], row_shape=(3,), dtype=np.int64, kinds=INTEGERS
    )
    weights, n_weights, weights_read = decode_ragged(
        [triple[2] for triple in triples], row_shape=(3,), dtype=np.float32
    )
    read &= vertices_read & weights_read & (n_vertices == lengths) & (n_weights == lengths)
    no_vertex = ((vertices < 0) | (vertices >= _SURFACE_VERTICES)).any(axis=1)
    read &= flags_per_run(no_vertex, n_vertices) == 0
    with np.errstate(all="ignore"):
        balanced = np.isclose(weights.sum(axis=1), 1, rtol=0, atol=0.01)
    read &= flags_per_run(~balanced, n_weights) == 0
    read &= flags_per_run(~np.isfinite(pixels).all(axis=1), lengths) == 0
    return SurfacePoints(
        reading=readings(values, read),
        lengths=np.where(read, lengths, 0).astype(np.int32),
        pixels=pixels[np.repeat(read, lengths)],
        vertices=vertices[np.repeat(read, n_vertices)].astype(np.int32),
        weights=weights[np.repeat(read, n_weights)],
    )


def body_columns(examples: Sequence[Attributes]) -> BodyColumns:
    """`parameters` of 3D examples.

    A row is MALFORMED if the model is unknown, a pose or shape is not finite or has an impossible
    length; pose, shape and translation may each be missing (length 0, zeros).
    """
    values = column(examples, "parameters")
    states = [value if type(value) is dict else {} for value in values]
    model = [_lower(state.get("type")) for state in states]
    read = np.array([name in _BODY_MODELS for name in model], dtype=np.bool_)
    pose, pose_length = _padded(states, "pose", _POSE_WIDTH, read)
    read &= pose_length % 3 == 0
    shape, shape_length = _padded(states, "shape", _WIDEST_SHAPE, read)
    translation = _optional(states, "trans", (3,), 0.0, read)
    kid_factor = _optional(states, "kid_factor", (), 0.0, read)
    scale = _optional(states, "scale", (), 1.0, read)
    widest = int(shape_length[read].max(initial=0))
    dropped = ~read
    for array, fill in ((pose, 0), (shape, 0), (translation, 0), (kid_factor, 0), (scale, 1)):
        array[dropped] = fill
    return BodyColumns(
        reading=readings(values, read),
        model=[name if ok else "" for name, ok in zip(model, read.tolist(), strict=True)],
        gender=[
            _lower(state.get("gender")) if ok else ""
            for state, ok in zip(states, read.tolist(), strict=True)
        ],
        pose=pose,
        pose_length=np.where(read, pose_length, 0).astype(np.int32),
        shape=shape[:, :widest],
        shape_length=np.where(read, shape_length, 0).astype(np.int32),
        translation=translation,
        kid_factor=kid_factor,
        scale=scale,
    )


def _fixed(
    values: Sequence[object], shape: tuple[int, ...], dtype: npt.DTypeLike
) -> CoordinateColumn:
    out = np.full((len(values), *shape), np.nan, dtype=dtype)
    return CoordinateColumn(out, readings(values, decode_fixed(values, out)))


def _padded(
    states: Sequence[Attributes], name: str, width: int, read: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """One vector per example, zero-padded (N, width), and lengths; clears `read` where bad."""
    values = column(states, name)
    flat, lengths, decoded = decode_ragged(values, row_shape=(), dtype=np.float32)
    absent = np.array([value is None for value in values], dtype=np.bool_)
    finite = flags_per_run(~np.isfinite(flat), lengths) == 0
    fits = decoded & finite & (lengths <= width)
    read &= absent | fits
    out = np.zeros((len(values), width), dtype=np.float32)
    kept = np.where(fits, lengths, 0)
    columns = ranges(np.zeros_like(kept), kept)
    out[np.repeat(np.arange(len(values)), kept), columns] = flat[np.repeat(fits, lengths)]
    return out, kept


def _optional(
    states: Sequence[Attributes],
    name: str,
    shape: tuple[int, ...],
    default: float,
    read: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """A vector or number per example, `default` where absent; clears `read` where bad."""
    values = column(states, name)
    out = np.full((len(values), *shape), default, dtype=np.float32)
    decoded = decode_fixed(values, out)
    for i, value in enumerate(values):
        if value is not None and not decoded[i]:  # an array of one number is a number too
            array = decode_one(value)
            if array is not None and array.size == out[i].size:
                with np.errstate(all="ignore"):
                    out[i] = array.reshape(shape)
                decoded[i] = True
    absent = np.array([value is None for value in values], dtype=np.bool_)
    read &= (absent | decoded) & np.isfinite(out.reshape(len(values), -1)).all(axis=1)
    return out


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


def _lower(value: object) -> str:
    return value.lower() if type(value) is str and len(value) < 32 else ""
