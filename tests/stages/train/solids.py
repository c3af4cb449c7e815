"""Closed meshes to stand in for bodies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def box_mesh(
    size: tuple[float, float, float], *, spacing: float
) -> tuple[Floats, npt.NDArray[np.int32]]:
    """A box around the origin, its faces split into triangles of about this size.

    Returns:
        vertices (V, 3) and faces (F, 3), counter-clockwise from outside.
    """
    counts = [max(1, round(side / spacing)) for side in size]
    places: dict[tuple[int, ...], int] = {}
    faces: list[list[int]] = []

    def vertex(index: tuple[int, ...]) -> int:
        return places.setdefault(index, len(places))

    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for end in (0, counts[axis]):
            for i in range(counts[u]):
                for j in range(counts[v]):
                    ring = []
                    for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)):
                        index = [0, 0, 0]
                        index[axis], index[u], index[v] = end, i + di, j + dj
                        ring.append(vertex(tuple(index)))
                    if end == 0:
                        ring.reverse()
                    faces += [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]
    grid = np.array(list(places), np.float64)
    return (grid / counts - 0.5) * size, np.array(faces, np.int32)
