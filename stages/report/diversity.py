"""How different are the poses? Many copies of one pose make a large dataset small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LEAST_VALID = 0.7
_MOST_JOINTS = 14
_LIMBS = "lwri rwri lank rank lelb relb lkne rkne head nose lsho rsho lhip rhip".split()


def pose_shapes(
    joints: npt.NDArray[Any], *, validity: npt.NDArray[np.bool_], names: Sequence[str]
) -> Floats:
    """The distances between joints, which know neither place, turn nor size of the person.

    Args:
        joints: (N, J, 2 or 3).
        names: of the joints; limbs are preferred.

    Returns:
        (M, D), of the M examples in which the chosen joints are all valid; each of mean 1.
    """
    often = validity.mean(axis=0) >= _LEAST_VALID if len(validity) else np.zeros(0, bool)
    chosen = [names.index(name) for name in _LIMBS if name in names and often[names.index(name)]]
    chosen = (chosen or np.flatnonzero(often).tolist())[:_MOST_JOINTS]
    if len(chosen) < 3:
        return np.zeros((0, 0))
    points = joints[validity[:, chosen].all(axis=1)][:, chosen].astype(np.float64)
    first, second = np.triu_indices(len(chosen), 1)
    distances = np.linalg.norm(points[:, first] - points[:, second], axis=2)
    means = distances.mean(axis=1, keepdims=True)
    return np.asarray(distances[means[:, 0] > 0] / means[means[:, 0] > 0])


def pose_distances(shapes: Floats, *, most: int = 512) -> tuple[Floats, Floats]:
    """Differences between poses (RMS over the distances of their joints, 0 is the same pose).

    Args:
        shapes: (M, D).
        most: of the first so many poses.

    Returns:
        Between all pairs, (K,); and from each pose to the one most like it, (M,).
    """
    shapes = shapes[:most]
    if len(shapes) < 2:
        return np.zeros(0), np.zeros(0)
    square = (shapes**2).sum(axis=1)
    gram = shapes @ shapes.T
    between = np.sqrt(np.maximum(square[:, None] + square - 2 * gram, 0) / shapes.shape[1])
    pairs = between[np.triu_indices(len(shapes), 1)]
    np.fill_diagonal(between, np.inf)
    return pairs, between.min(axis=1)
