"""Outlines without rendering: the union of every body part's convex hull in the picture."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from stages.sample.body import rest_body
from stages.sample.people import PosedBody, outline_ids
from stages.sample.surface import Array
from stages.sample.viewpoints import View


def sketch_mask(posed: PosedBody, view: View) -> Array:
    """A person's outline as if nothing stood before them, bool (H, W)."""
    pixels, _ = view.project(posed.outline)
    # Drawn transposed, so that the mask is in the column order of COCO's run lengths.
    mask = np.zeros(view.size[::-1], np.uint8)
    limited = np.round(np.clip(pixels[:, ::-1], -4000, 4000)).astype(np.int32)
    for part in _parts():
        cv2.fillConvexPoly(mask, cv2.convexHull(limited[part]), 1)
    return mask.view(bool).T


@functools.cache
def _parts() -> list[Array]:
    """Which vertices of the outline belong to each bone."""
    weights = rest_body().weights[outline_ids()]
    parts = [np.flatnonzero(weights[:, bone] > 0.2) for bone in range(weights.shape[1])]
    return [part for part in parts if len(part) >= 3]
