"""DensePose annotations: pixels and their places on the body surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Examples
from pipeline.unpickling.arrays import INTEGERS, decode_ragged, flags_per_run
from pipeline.unpickling.fields import readings

N = TypeVar("N", bound=np.generic)

_SURFACE_VERTICES = 6890  # of SMPL's mesh


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """DensePose-like annotations: pixels and their places on the body surface, ragged by example.

    All that is here is finite.

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


def surface_points(examples: Examples) -> SurfacePoints:
    """`densepose` of 2D examples; the unfinished (pixels, (I, U, V)) form is MALFORMED."""
    values = examples.column("densepose")
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
    if vertices.size and not 0 <= vertices.min() <= vertices.max() < _SURFACE_VERTICES:
        on_mesh = np.all((vertices >= 0) & (vertices < _SURFACE_VERTICES), axis=1)
        read &= flags_per_run(~on_mesh, n_vertices) == 0
    with np.errstate(all="ignore"):
        # Three additions of columns: a sum along so short an axis takes five times as long.
        off_balance = np.abs(weights[:, 0] + weights[:, 1] + weights[:, 2] - 1)
    balanced = np.less(off_balance, 0.01)  # False for NaN
    read &= flags_per_run(~balanced, n_weights) == 0
    is_finite = np.isfinite(pixels)
    if not is_finite.all():
        read &= flags_per_run(~is_finite.all(axis=1), lengths) == 0

    def kept(rows: npt.NDArray[N], n_rows: npt.NDArray[np.intp]) -> npt.NDArray[N]:
        return rows if (read | (n_rows == 0)).all() else rows[np.repeat(read, n_rows)]

    return SurfacePoints(
        reading=readings(values, read),
        lengths=np.where(read, lengths, 0).astype(np.int32),
        pixels=kept(pixels, lengths),
        vertices=kept(vertices, n_vertices).astype(np.int32),
        weights=kept(weights, n_weights),
    )
