"""A z-buffer in NumPy: which triangle each pixel sees, and where on it.

Triangles of similar size are rasterised together, so that a body of some thousand small triangles
costs a few array operations instead of thousands of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.sample.surface import Array

_TILE_SIZES = (3, 5, 8, 14, 24, 48)
_NEAR_M = 0.15


@dataclass(frozen=True, slots=True)
class Fragments:
    """The visible spot of every covered pixel, M of them.

    Attributes:
        pixels: int64 (M,), flat index into the picture.
        faces: int64 (M,), row of the face.
        barycentric: float32 (M, 3), perspective-correct, sums to 1.
        depth: float32 (M,), metres.
    """

    pixels: Array
    faces: Array
    barycentric: Array
    depth: Array

    def interpolate(self, faces: Array, values: Array) -> Array:
        """Per-vertex float values (V, C) at every fragment, float32 (M, C)."""
        corners = faces[self.faces]
        values = values.astype(np.float32)
        weighted: Array = self.barycentric[:, :1] * values[corners[:, 0]]
        weighted += self.barycentric[:, 1:2] * values[corners[:, 1]]
        weighted += self.barycentric[:, 2:] * values[corners[:, 2]]
        return weighted


def rasterize(
    image_points: Array, depth: Array, faces: Array, *, size: tuple[int, int]
) -> Fragments:
    """Resolve visibility at pixel centres.

    Args:
        image_points: float (V, 2), pixels; the centre of the top-left pixel is (0, 0).
        depth: float (V,), distance along the optical axis, metres.
        faces: int (F, 3), counter-clockwise from outside; back faces are culled.
        size: height and width of the picture.
    """
    height, width = size
    x, y = image_points.astype(np.float32).T
    xa, xb, xc = (x[faces[:, corner]] for corner in range(3))
    ya, yb, yc = (y[faces[:, corner]] for corner in range(3))
    left = np.maximum(np.ceil(np.minimum(np.minimum(xa, xb), xc)), 0.0)
    top = np.maximum(np.ceil(np.minimum(np.minimum(ya, yb), yc)), 0.0)
    right = np.minimum(np.floor(np.maximum(np.maximum(xa, xb), xc)), width - 1.0)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(ya, yb), yc)), height - 1.0)
    twice_area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
    near = depth <= _NEAR_M
    # The picture's y axis points down, so faces that look at the camera turn negative.
    drawn = (twice_area < -1e-9) & (right >= left) & (bottom >= top)
    drawn &= ~(near[faces[:, 0]] | near[faces[:, 1]] | near[faces[:, 2]])
    number = np.flatnonzero(drawn)
    if not len(number):
        nothing = np.zeros(0, np.int64)
        return Fragments(nothing, nothing, np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    xa, xb, xc, ya, yb, yc = (values[number] for values in (xa, xb, xc, ya, yb, yc))
    left, top, right, bottom = (values[number] for values in (left, top, right, bottom))
    # Weights of corners a and b are linear in the pixel: their slopes along x and y.
    slopes = np.stack([yb - yc, xc - xb, yc - ya, xa - xc]) / twice_area[number]
    at_first = np.stack(
        [
            slopes[0] * (left - xc) + slopes[1] * (top - yc),
            slopes[2] * (left - xc) + slopes[3] * (top - yc),
        ]
    )
    columns, rows = (right - left).astype(int) + 1, (bottom - top).astype(int) + 1
    found = []
    for batch, width_px, height_px in _batches(columns, rows):
        covered = _cover(at_first[:, batch], slopes[:, batch], width_px, height_px)
        found.append((batch[covered[0]], *covered[1:]))
    face, column, row, weight_a, weight_b = (
        np.concatenate(parts) for parts in zip(*found, strict=True)
    )
    column = column + left[face].astype(np.int64)
    row = row + top[face].astype(np.int64)
    inside = (column < width) & (row < height)
    face, weight_a, weight_b = number[face[inside]], weight_a[inside], weight_b[inside]
    pixel = (row * width + column)[inside]
    nearness = (1.0 / np.maximum(depth, _NEAR_M)).astype(np.float32)
    inverse_a = weight_a * nearness[faces[face, 0]]
    inverse_b = weight_b * nearness[faces[face, 1]]
    inverse_c = (1.0 - weight_a - weight_b) * nearness[faces[face, 2]]
    total = inverse_a + inverse_b + inverse_c
    pixel, first = _nearest(pixel, total, n_pixels=height * width)
    weights = np.stack([inverse_a[first], inverse_b[first], inverse_c[first]], axis=1)
    total = total[first]
    return Fragments(pixel, face[first], weights / total[:, None], 1.0 / total)


def _batches(columns: Array, rows: Array) -> Iterator[tuple[Array, int, int]]:
    """Faces of similar size with a size that holds them; very large ones each alone."""
    extent = np.maximum(columns, rows)
    smaller = 0
    for tile in _TILE_SIZES:
        batch = np.flatnonzero((extent > smaller) & (extent <= tile))
        smaller = tile
        if len(batch):
            yield batch, tile, tile
    for face in np.flatnonzero(extent > smaller):
        yield np.array([face]), int(columns[face]), int(rows[face])


def _cover(at_first: Array, slopes: Array, columns: int, rows: int) -> tuple[Array, ...]:
    """Pixels inside faces: which face, column and row from its own corner, two weights."""
    x = np.arange(columns, dtype=np.float32)
    y = np.arange(rows, dtype=np.float32)[:, None]
    ax, ay, bx, by = slopes[:, :, None, None]
    weight_a = ax * x + (ay * y + at_first[0][:, None, None])
    weight_b = bx * x + (by * y + at_first[1][:, None, None])
    inside = (weight_a >= 0) & (weight_b >= 0) & (weight_a + weight_b <= 1)
    flat = np.flatnonzero(inside)
    face, pixel = np.divmod(flat, rows * columns)
    row, column = np.divmod(pixel, columns)
    return face, column, row, weight_a.ravel()[flat], weight_b.ravel()[flat]


def _nearest(pixel: Array, nearness: Array, *, n_pixels: int) -> tuple[Array, Array]:
    """Covered pixels and the fragment that wins each.

    A float's bits sort as the float does, so that one integer holds nearness and, below it, the
    fragment's number, which settles ties the same way everywhere.
    """
    key = nearness.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    key |= np.arange(len(pixel), dtype=np.uint64)
    best = np.zeros(n_pixels, np.uint64)
    np.maximum.at(best, pixel, key)
    covered = np.flatnonzero(best)
    return covered, (best[covered] & np.uint64(0xFFFFFFFF)).astype(np.int64)
