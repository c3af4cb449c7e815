"""Outlines without rendering: the union of every body part's convex hull in the picture."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from stages.sample.body import rest_body
from stages.sample.surface import Array
from stages.sample.viewpoints import View

_VERTEX_STRIDE = 3


def sketch_mask(vertices: Array, view: View) -> Array:
    """A person's outline as if nothing stood before them, bool (H, W)."""
    kept, parts = _parts()
    pixels, _ = view.project(vertices[kept])
    mask = np.zeros(view.size, np.uint8)
    limited = np.round(np.clip(pixels, -4000, 4000)).astype(np.int32)
    for part in parts:
        cv2.fillConvexPoly(mask, cv2.convexHull(limited[part]), 1)
    return mask.astype(bool)


@functools.cache
def _parts() -> tuple[Array, list[Array]]:
    """Some of the vertices, and which of them belong to each bone."""
    body = rest_body()
    kept = np.arange(0, len(body.vertices), _VERTEX_STRIDE)
    weights = body.weights[kept]
    parts = [np.flatnonzero(weights[:, bone] > 0.2) for bone in range(weights.shape[1])]
    return kept, [part for part in parts if len(part) >= 3]
