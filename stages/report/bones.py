"""Bones: lengths that a body cannot have tell of wrong units, shuffled joints and single errors.

A bone keeps its length while the body moves, so within one dataset the length of each bone,
measured in the size of its owner, hardly varies. In 2D a bone looks shorter than it is but never
longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.skeletons import Skeleton
from stages.report.roles import Body

Floats = npt.NDArray[np.float64]

_LEAST_SPREAD = 0.04  # of a bone: below it, differences are noise of the annotation
_LEAST_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class BoneModel:
    """The bones of a dataset's typical person; NaN for bones too rarely annotated to say.

    Attributes:
        length: (E,), median of each edge, in body sizes.
        spread: (E,), robust standard deviation of the logarithm of the length.
        ceiling: (E,), the length that 95 of 100 examples do not exceed, in body sizes.
    """

    length: Floats
    spread: Floats
    ceiling: Floats


def bone_lengths(
    points: npt.NDArray[Any],
    *,
    validity: npt.NDArray[np.bool_],
    edges: Sequence[tuple[int, int]],
) -> Floats:
    """Lengths (N, E) in the unit of the points (N, J, 2 or 3); NaN where an end is missing."""
    if not edges:
        return np.zeros((len(points), 0))
    first, second = np.array(edges).T
    points = points.astype(np.float64)
    lengths = np.linalg.norm(points[:, first] - points[:, second], axis=2)
    return np.where(validity[:, first] & validity[:, second], lengths, np.nan)


def body_sizes(lengths: Floats, typical: Floats) -> Floats:
    """How large each person is, (N,), by the median of its bones over their typical lengths (E,).

    The median does not move if some bones are wrong. In the unit of the lengths; NaN with less than
    three bones.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(typical > 0, lengths / typical, np.nan)
    enough = np.isfinite(ratios).sum(axis=1) >= min(3, lengths.shape[1])
    sizes = np.full(len(lengths), np.nan)
    if enough.any() and lengths.shape[1]:
        sizes[enough] = np.nanmedian(ratios[enough], axis=1)
    return sizes


def body_lengths(
    joints: npt.NDArray[Any], *, validity: npt.NDArray[np.bool_], body: Body
) -> Floats:
    """From ankle by knee to hip, and from hips to shoulders, in the unit of the joints, (N,).

    NaN where neither leg or not both shoulders and hips are annotated.
    """
    if not body.has(*(side + part for side in "lr" for part in ("hip", "kne", "ank", "sho"))):
        return np.full(len(joints), np.nan)
    points = np.where(validity[..., None], joints.astype(np.float64), np.nan)
    at = {role: points[:, index] for role, index in body.joints.items()}
    left, right = (
        np.linalg.norm(at[s + "hip"] - at[s + "kne"], axis=1)
        + np.linalg.norm(at[s + "kne"] - at[s + "ank"], axis=1)
        for s in "lr"
    )
    torso = np.linalg.norm((at["lsho"] + at["rsho"] - at["lhip"] - at["rhip"]) / 2, axis=1)
    return np.asarray(np.where(np.isfinite(left), left, right) + torso)


def fit_bone_model(lengths: Floats, sizes: Floats | None = None) -> BoneModel:
    """The typical bones of examples, robust against a minority of wrong ones.

    Args:
        lengths: (N, E).
        sizes: (N,), what to divide by; found from the bones themselves by default.
    """
    counts = np.isfinite(lengths).sum(axis=0)
    typical = np.full(lengths.shape[1], np.nan)
    known = counts >= _LEAST_EXAMPLES
    typical[known] = np.nanmedian(lengths[:, known], axis=0)
    if sizes is None:
        sizes = body_sizes(lengths, typical)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = lengths / sizes[:, None]
        logs = np.where(relative > 0, np.log(relative), np.nan)
    length, spread, ceiling = (np.full(lengths.shape[1], np.nan) for _ in range(3))
    known &= np.isfinite(logs).sum(axis=0) >= _LEAST_EXAMPLES
    if known.any():
        middle = np.nanmedian(logs[:, known], axis=0)
        deviation = np.nanmedian(np.abs(logs[:, known] - middle), axis=0)
        length[known] = np.exp(middle)
        spread[known] = np.maximum(1.4826 * deviation, _LEAST_SPREAD)
        ceiling[known] = np.nanpercentile(relative[:, known], 95, axis=0)
    return BoneModel(length, spread, ceiling)


def bone_ratios(lengths: Floats, sizes: Floats, typical: Floats) -> Floats:
    """Each bone over what its owner's size lets expect, (N, E): 1 is as expected."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = lengths / (sizes[:, None] * typical)
    return ratios


def worst_factors(ratios: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Of each example the bone that is off by the largest factor, too long or too short.

    Returns:
        The factor (N,), at least 1, NaN where no bone is known; and the number of the edge.
    """
    if not ratios.shape[1]:
        return np.full(len(ratios), np.nan), np.zeros(len(ratios), np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        factors = np.where(ratios > 0, np.maximum(ratios, 1 / ratios), np.nan)
        factors = np.where(ratios == 0, np.inf, factors)
    filled = np.where(np.isnan(factors), 0, factors)
    worst = filled.argmax(axis=1)
    value = filled[np.arange(len(filled)), worst]
    return np.where(value > 0, value, np.nan), worst.astype(np.int64)


def mirrored_edges(skeleton: Skeleton) -> npt.NDArray[np.int64]:
    """For each edge the number of its twin on the other side, -1 in the middle, (E,)."""
    number = {frozenset(edge): n for n, edge in enumerate(skeleton.edges)}
    twins = []
    for n, (i, j) in enumerate(skeleton.edges):
        twin = number.get(frozenset((skeleton.mirror[i], skeleton.mirror[j])), -1)
        twins.append(-1 if twin == n else twin)
    return np.array(twins, np.int64)


def asymmetries(lengths: Floats, twins: npt.NDArray[np.int64]) -> Floats:
    """By how much left and right bones differ, (N, E): 0 is none, |l − r| over their mean."""
    partner = np.where(twins >= 0, lengths[:, np.maximum(twins, 0)], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = 2 * np.abs(lengths - partner) / (lengths + partner)
    return out
