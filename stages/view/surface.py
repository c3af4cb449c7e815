"""Surface points and the colours of their places on the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.view import palette
from stages.view.palette import Colours

_SMPL_VERTICES = 6890


@dataclass(frozen=True, slots=True)
class Surface:
    """Points on the body surface.

    Attributes:
        pixels: (M, 2).
        colours: uint8 (M, 3), by place on the body.
    """

    pixels: npt.NDArray[Any]
    colours: Colours


class BodyMesh:
    """The rest-pose body that surface points may live on.

    Args:
        vertices: float32 (V, 3), metres.
        faces: int32 (F, 3).
    """

    def __init__(self, vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32]) -> None:
        self.vertices = vertices
        self._faces = {tuple(face) for face in np.sort(faces, axis=1).tolist()}

    def has(self, triangles: npt.NDArray[np.int32]) -> bool:
        """Whether all triangles (n, 3) are faces of this mesh: else they are another body's."""
        return all(tuple(face) in self._faces for face in np.sort(triangles, axis=1).tolist())

    def colours(self, places: npt.NDArray[Any]) -> Colours:
        """Of places (M, 3) on the body: neighbours get like colours."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return palette.place_colours(places, low=low, high=high)


def surface_colours(
    triangles: npt.NDArray[np.int32], weights: npt.NDArray[np.float32], *, body: BodyMesh | None
) -> Colours:
    """By place if the points are on this body, else by vertex number; uint8 (M, 3).

    Args:
        triangles: (M, 3), vertices.
        weights: (M, 3), barycentric.
    """
    if not len(triangles):
        return np.zeros((0, 3), dtype=np.uint8)
    if body is not None and body.has(triangles):
        corners = body.vertices[triangles]
        return body.colours(np.einsum("mvc,mv->mc", corners, weights))
    nearest = np.take_along_axis(triangles, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
    n_vertices = max(_SMPL_VERTICES, int(nearest.max()) + 1)
    return palette.vertex_colours(nearest, n_vertices=n_vertices)
