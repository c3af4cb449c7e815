"""A z-buffer in NumPy: which triangle each pixel sees, and where on it.

Triangles of similar size are rasterised together, so that a body of some thousand small triangles
costs a few array operations instead of thousands of calls.
"""

from __future__ import annotations

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
        corners = values.astype(np.float32)[faces[self.faces]]
        weighted: Array = np.einsum("mk,mkc->mc", self.barycentric, corners)
        return weighted


def rasterize(image_points: Array, depth: Array, faces: Array, *, size: tuple[int, int]) -> Fragments:
    """Resolve visibility at pixel centres.

    Args:
        image_points: float (V, 2), pixels; the centre of the top-left pixel is (0, 0).
        depth: float (V,), distance along the optical axis, metres.
        faces: int (F, 3), counter-clockwise from outside; back faces are culled.
        size: height and width of the picture.
    """
    height, width = size
    corners = image_points[faces].astype(np.float32)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    twice_area = _cross(b - a, c - a)
    low = np.ceil(corners.min(1)).astype(np.int32)
    high = np.floor(corners.max(1)).astype(np.int32)
    low = np.maximum(low, 0)
    high = np.minimum(high, np.array([width - 1, height - 1], np.int32))
    # The picture's y axis points down, so faces that look at the camera turn negative.
    ahead = (depth > _NEAR_M)[faces].all(1)
    drawn = (twice_area < -1e-9) & ahead & (high >= low).all(1)
    candidates = np.flatnonzero(drawn)
    extent = (high - low).max(1)[candidates] + 1
    pixels, chosen, weights = [], [], []
    smaller = 0
    for tile in (*_TILE_SIZES, None):
        limit = np.inf if tile is None else tile
        group = candidates[(extent > smaller) & (extent <= limit)]
        smaller = limit  # type: ignore[assignment]
        batches = [group] if tile is not None else [group[i : i + 1] for i in range(len(group))]
        for batch in batches:
            if len(batch):
                found = _cover(batch, corners, twice_area, low, high, tile)
                pixels.append(found[1][:, 1].astype(np.int64) * width + found[1][:, 0])
                chosen.append(found[0])
                weights.append(found[2])
    if not pixels:
        nothing = np.zeros(0, np.int64)
        return Fragments(nothing, nothing, np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    pixel, face, weight = (np.concatenate(parts) for parts in (pixels, chosen, weights))
    inverse = weight / depth.astype(np.float32)[faces[face]]
    total = inverse.sum(1)
    # Pixel by pixel, the nearest first; stable, so that ties have one winner on any machine.
    order = np.lexsort((-total, pixel))
    first = order[np.flatnonzero(np.diff(pixel[order], prepend=-1))]
    return Fragments(
        pixels=pixel[first],
        faces=face[first],
        barycentric=inverse[first] / total[first, None],
        depth=1.0 / total[first],
    )


def _cover(
    batch: Array, corners: Array, twice_area: Array, low: Array, high: Array, tile: int | None
) -> tuple[Array, Array, Array]:
    """Pixels inside the faces of one batch: face, pixel (x, y) and screen-space weights."""
    if tile is None:
        columns, rows = (high - low)[batch[0]] + 1
    else:
        columns = rows = tile
    offsets = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    pixel = low[batch][:, None] + offsets.astype(np.int32)
    point = pixel.astype(np.float32)
    a, b, c = (corners[batch, i][:, None] for i in range(3))
    area = twice_area[batch][:, None]
    weight_a = _cross(b - point, c - point) / area
    weight_b = _cross(c - point, a - point) / area
    weight_c = 1.0 - weight_a - weight_b
    inside = (weight_a >= 0) & (weight_b >= 0) & (weight_c >= 0)
    inside &= (pixel <= high[batch][:, None]).all(-1)
    row, column = np.nonzero(inside)
    weights = np.stack([weight[row, column] for weight in (weight_a, weight_b, weight_c)], axis=1)
    return batch[row], pixel[row, column], weights


def _cross(first: Array, second: Array) -> Array:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
