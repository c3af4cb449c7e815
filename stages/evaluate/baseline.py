"""The mean pose: what one can say of a person without looking at the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def centers(
    points: Floats, validity: npt.NDArray[np.bool_], root_index: npt.NDArray[np.int32]
) -> Floats:
    """Each example's root, or the mean of its valid points where it has none: (N, 1, D).

    Args:
        points: (N, P, D).
        validity: bool (N, P).
        root_index: int (N,), -1 where there is no root.
    """
    weights = validity[..., np.newaxis].astype(points.dtype)
    count = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    mean = (points * weights).sum(axis=1, keepdims=True) / count
    rows = np.arange(len(points))
    root = points[rows, np.maximum(root_index, 0)][:, np.newaxis]
    return np.where((root_index >= 0)[:, np.newaxis, np.newaxis], root, mean)


def mean_pose(
    points: Floats, validity: npt.NDArray[np.bool_], root_index: npt.NDArray[np.int32]
) -> Floats:
    """Mean position of every point relative to the example's centre: (P, D).

    A point that no example has stays at the centre.

    Args:
        points: (N, P, 3), metres, in the upright camera turned towards the person's box, so that
            people on the left and on the right of a picture count alike; or (N, P, 2), pixels of
            the crop.
    """
    relative = points - centers(points, validity, root_index)
    weights = validity[..., np.newaxis].astype(points.dtype)
    mean: Floats = (relative * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1)
    return mean


def place(pose: Floats, like: Floats) -> Floats:
    """The same pose for every example, moved to the given centres (N, 1, D): (N, P, D)."""
    return pose[np.newaxis] + like
