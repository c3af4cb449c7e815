"""Closed triangle surfaces from signed distances: primitives, their smooth union, a mesher.

Distances are metres, negative inside. The shapes follow Inigo Quilez' notes on distance functions
(https://iquilezles.org/articles/distfunctions), the mesher is the naive surface nets of Gibson
(MICCAI 1998): one vertex per grid cell that the surface passes through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DistanceField = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Axis-parallel ellipsoid; the distance is exact on the surface, a bound elsewhere."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]

    def distance(self, points: Array) -> Array:
        offset = points - np.asarray(self.center)
        radii = np.asarray(self.radii)
        scaled = np.linalg.norm(offset / radii, axis=-1)
        gradient = np.linalg.norm(offset / radii**2, axis=-1)
        distance: Array = scaled * (scaled - 1.0) / np.maximum(gradient, 1e-9)
        return distance


@dataclass(frozen=True, slots=True)
class RoundCone:
    """A capsule whose radius changes linearly from one end to the other."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_radius: float
    end_radius: float

    def distance(self, points: Array) -> Array:
        start, end = np.asarray(self.start), np.asarray(self.end)
        axis = end - start
        along = np.clip(np.einsum("...i,i->...", points - start, axis) / (axis @ axis), 0.0, 1.0)
        nearest = start + along[..., None] * axis
        radius = self.start_radius + along * (self.end_radius - self.start_radius)
        distance: Array = np.linalg.norm(points - nearest, axis=-1) - radius
        return distance


Primitive = Ellipsoid | RoundCone


def smooth_union(distances: Sequence[Array], *, radius: float) -> Array:
    """Union whose creases are filled over about `radius` metres (polynomial smooth minimum)."""
    union = distances[0]
    for distance in distances[1:]:
        overlap = np.maximum(radius - np.abs(union - distance), 0.0) / radius
        union = np.minimum(union, distance) - overlap**2 * radius / 4.0
    return union


def mirrored_mesh(
    field: DistanceField, *, half_extent: tuple[float, float, float], spacing: float
) -> tuple[Array, Array, Array]:
    """Mesh the zero level of `field`, which only ever sees points with x >= 0.

    The other half is the mirror image, to the last bit.

    Args:
        field: distance of points float64 (..., 3), x >= 0.
        half_extent: half the size of the box around the origin that holds the surface, metres.
        spacing: edge length of a grid cell, about that of a triangle, metres.

    Returns:
        vertices float64 (V, 3); faces int32 (F, 3), counter-clockwise from outside;
        mirror int32 (V,), the twin of each vertex on the other side.
    """
    counts = [int(np.ceil(extent / spacing)) for extent in half_extent]
    axes = [np.arange(-n, n + 1) * spacing for n in counts]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = field(np.abs(nodes) * [1, 0, 0] + nodes * [0, 1, 1])
    vertices, faces, cells = _surface_nets(values)
    vertices = vertices * spacing + [axis[0] for axis in axes]
    twin_cells = cells.copy()
    twin_cells[:, 0] = 2 * counts[0] - 1 - cells[:, 0]
    shape = tuple(n - 1 for n in values.shape)
    order = np.full(shape, -1, dtype=np.int32)
    order[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)
    mirror = order[tuple(twin_cells.T)]
    neighbours = _neighbour_lists(faces, len(vertices))
    for _ in range(4):
        vertices = _relax(vertices, *neighbours)
        vertices = _project(field, vertices, max_step=spacing / 2)
        vertices = _symmetrise(vertices, mirror)
    return vertices, faces, mirror


def _surface_nets(values: Array) -> tuple[Array, Array, Array]:
    """Vertices in grid units, faces and the cell (C, 3) of each vertex."""
    inside = values < 0.0
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    cell_shape = np.array(values.shape) - 1

    def at(grid: Array, offset: Array) -> Array:
        i, j, k = offset
        nx, ny, nz = cell_shape
        return grid[i : i + nx, j : j + ny, k : k + nz]

    count_inside = np.sum([at(inside, c) for c in corners], axis=0)
    cells = np.argwhere((count_inside > 0) & (count_inside < 8))
    total = np.zeros((len(cells), 3))
    crossings = np.zeros(len(cells))
    for a in corners:
        for axis in range(3):
            if a[axis]:
                continue
            b = a.copy()
            b[axis] = 1
            va, vb = (values[tuple((cells + corner).T)] for corner in (a, b))
            crossed = (va < 0) != (vb < 0)
            step = np.where(crossed, va / np.where(crossed, va - vb, 1.0), 0.0)
            total += crossed[:, None] * (a + step[:, None] * (b - a))
            crossings += crossed
    vertices = cells + total / crossings[:, None]
    index = np.full(cell_shape, -1, dtype=np.int32)
    index[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)
    quads = np.concatenate([_quads(inside, index, axis) for axis in range(3)])
    return vertices, _split_quads(quads, vertices), cells


def _quads(inside: Array, index: Array, axis: int) -> Array:
    """Around every grid edge along `axis` that the surface crosses: its four cells."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    low = np.take(inside, range(inside.shape[axis] - 1), axis=axis)
    high = np.take(inside, range(1, inside.shape[axis]), axis=axis)
    edges = np.argwhere(low != high)
    edges = edges[(edges[:, u] > 0) & (edges[:, v] > 0)]
    outward = low[tuple(edges.T)]
    unit_u, unit_v = np.eye(3, dtype=int)[[u, v]]
    ring = [edges - unit_u - unit_v, edges - unit_v, edges, edges - unit_u]
    quads = np.stack([index[tuple(cell.T)] for cell in ring], axis=1)
    return np.where(outward[:, None], quads, quads[:, ::-1])


def _split_quads(quads: Array, vertices: Array) -> Array:
    """Two triangles each, along the shorter diagonal."""
    a, b, c, d = quads.T
    across = np.linalg.norm(vertices[a] - vertices[c], axis=1)
    other = np.linalg.norm(vertices[b] - vertices[d], axis=1)
    first = np.where((across <= other)[:, None], np.stack([a, b, c], 1), np.stack([a, b, d], 1))
    second = np.where((across <= other)[:, None], np.stack([a, c, d], 1), np.stack([b, c, d], 1))
    return np.concatenate([first, second]).astype(np.int32)


def _neighbour_lists(faces: Array, n_vertices: int) -> tuple[Array, Array, Array]:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.bincount(edges[:, 0], minlength=n_vertices)
    return edges[:, 0], edges[:, 1], degree


def _relax(vertices: Array, source: Array, target: Array, degree: Array) -> Array:
    """Halfway to the mean of the neighbours, which evens out the triangles."""
    mean = np.stack(
        [np.bincount(source, weights=vertices[target, axis]) / degree for axis in range(3)], axis=1
    )
    return (vertices + mean) / 2


def _project(field: DistanceField, vertices: Array, *, max_step: float) -> Array:
    """Newton steps along the gradient back onto the zero level."""

    def folded(points: Array) -> Array:
        return field(np.abs(points) * [1, 0, 0] + points * [0, 1, 1])

    epsilon = 1e-5
    for _ in range(2):
        here = folded(vertices)
        gradient = np.stack(
            [(folded(vertices + epsilon * unit) - here) / epsilon for unit in np.eye(3)], axis=1
        )
        squared = np.maximum((gradient**2).sum(1), 0.1)
        step = np.clip(here / squared, -max_step, max_step)
        vertices = vertices - step[:, None] * gradient
    return vertices


def _symmetrise(vertices: Array, mirror: Array) -> Array:
    flip = np.array([-1.0, 1.0, 1.0])
    symmetric: Array = (vertices + vertices[mirror] * flip) / 2
    return symmetric
