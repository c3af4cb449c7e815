"""Which points an example is asked for, packed into a fixed number of slots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the annotated points of an example go.

    Attributes:
        points: int64 (k,), the chosen points among the source's P, in order; slots 0...k-1.
        root_slot: the slot of the root, -1 where the example has none.
    """

    points: npt.NDArray[np.int64]
    root_slot: int


def pack_points(
    validity: npt.NDArray[np.bool_],
    *,
    root_index: int,
    n_slots: int,
    rng: np.random.Generator | None,
) -> Packing:
    """Valid points in order; a random choice of them, the root always among it, if too many.

    Without a generator the first ones are chosen.

    Args:
        validity: bool (P,).
        root_index: place of the root among the P points, -1 for none.
        n_slots: slots of an example.
    """
    points = np.flatnonzero(validity)
    if len(points) > n_slots:
        order = np.arange(len(points)) if rng is None else rng.permutation(len(points))
        is_root = points[order] == root_index
        chosen = np.concatenate([order[is_root], order[~is_root]])[:n_slots]
        points = points[np.sort(chosen)]
    slots = np.flatnonzero(points == root_index)
    return Packing(points, int(slots[0]) if slots.size else -1)


def into_slots(
    values: npt.NDArray[np.generic], packing: Packing, *, n_slots: int, fill: float = 0
) -> npt.NDArray[np.generic]:
    """The chosen rows of (P, ...) as (n_slots, ...), the rest filled.

    The published loader fills the rest with unlabelled points, which have neither loss nor
    influence; here those slots are simply not valid.
    """
    out = np.full((n_slots, *values.shape[1:]), fill, dtype=values.dtype)
    out[: len(packing.points)] = values[packing.points]
    return out
