"""Surface points as DensePose annotates them: pixels with their place on the body mesh."""

from __future__ import annotations

import numpy as np

from stages.sample.body import rest_body
from stages.sample.people import PosedBody
from stages.sample.scenes import Sight
from stages.sample.surface import Array
from stages.sample.viewpoints import View

SurfacePoints = tuple[Array, Array, Array]
"""Pixels float32 (m, 2), vertex triplets int64 (m, 3), barycentric weights float32 (m, 3)."""

_COUNT = (100, 181)
_CANDIDATES = 480


def points_in_sight(
    sight: Sight, view: View, posed: PosedBody, person: int, rng: np.random.Generator
) -> SurfacePoints:
    """Some of a person's visible spots: pixels, vertex triplets, barycentric weights."""
    own = np.flatnonzero(sight.owners == person)
    count = min(int(rng.integers(*_COUNT)), len(own))
    chosen = np.sort(rng.choice(own, size=count, replace=False))
    faces = rest_body().faces
    triplets = faces[sight.fragments.faces[chosen] - person * len(faces)]
    return _located(view, posed, triplets, sight.fragments.barycentric[chosen])


def points_sketched(view: View, posed: PosedBody, rng: np.random.Generator) -> SurfacePoints:
    """As `points_in_sight`, judging visibility by a coarse map of the outline's depths."""
    faces = rest_body().faces
    cells = 40
    pixels, depth = view.project(posed.outline)
    low = pixels.min(0)
    scale = (cells - 1) / (pixels.max(0) - low).max()
    column, row = ((pixels - low) * scale).astype(int).T
    nearest = np.full((cells, cells), np.inf)
    np.minimum.at(nearest, (row, column), depth)
    candidates = rng.integers(0, len(faces), _CANDIDATES)
    corners, corner_depth = view.project(posed.vertices(faces[candidates].ravel()))
    a, b, c = corners.reshape(-1, 3, 2).transpose(1, 2, 0)
    cross = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
    middle = (a + b + c) / 3
    column, row = np.clip((middle - low[:, None]) * scale, 0, cells - 1).astype(int)
    seen = (cross < 0) & (corner_depth[::3] < nearest[row, column] + 0.08)
    seen &= (middle[0] > 1) & (middle[1] > 1)
    seen &= (middle[0] < view.size[1] - 2) & (middle[1] < view.size[0] - 2)
    chosen = candidates[seen][: int(rng.integers(*_COUNT))]
    return _located(view, posed, faces[chosen], rng.dirichlet((1.0, 1.0, 1.0), len(chosen)))


def _located(view: View, posed: PosedBody, triplets: Array, weights: Array) -> SurfacePoints:
    weights = weights.astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    corners = posed.vertices(triplets.ravel()).reshape(-1, 3, 3)
    pixels, _ = view.project(np.einsum("nk,nkc->nc", weights, corners))
    return pixels.astype(np.float32), triplets.astype(np.int64), weights.astype(np.float32)
