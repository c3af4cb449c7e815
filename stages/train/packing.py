"""Which of an example's annotated points fill the fixed number of slots of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the points of N examples go: K points in all.

    Attributes:
        examples: int64 (K,), which of the N examples.
        points: int64 (K,), which of its points.
        slots: int64 (K,), where to; an example's slots are filled from 0 on, in the points' order.
        root_slots: int64 (N,), the slot of the root, -1 where an example has none.
    """

    examples: Integers
    points: Integers
    slots: Integers
    root_slots: Integers


def pack_valid_points(
    validity: npt.NDArray[np.bool_],
    *,
    root_index: npt.NDArray[np.integer],
    n_slots: int,
    order: npt.NDArray[np.floating] | None,
) -> Packing:
    """Valid points in order; where they are too many a choice of them, the root always among it.

    Args:
        validity: bool (N, P).
        root_index: int (N,), place of the root among the P points, -1 for none.
        n_slots: slots of an example.
        order: (N, P) in 0...1, the points with the least numbers are chosen; None: the first ones.
    """
    n, n_points = validity.shape
    rows = np.arange(n)
    root = np.where(validity[rows, root_index], root_index, -1) if n_points else root_index
    root = np.where(root_index >= 0, root, -1)
    kept = validity
    if n_points > n_slots and int(validity.sum(axis=1).max(initial=0)) > n_slots:
        keys = np.arange(n_points) / n_points if order is None else order[:, :n_points]
        keys = np.where(validity, keys, 2.0)
        keys[rows[root >= 0], root[root >= 0]] = -1.0
        chosen = np.argpartition(keys, n_slots - 1, axis=1)[:, :n_slots]
        kept = np.zeros_like(validity)
        np.put_along_axis(kept, chosen, values=True, axis=1)
        kept &= validity
    place = kept.cumsum(axis=1) - 1
    examples, points = np.nonzero(kept)
    root_slots = np.where(root >= 0, place[rows, root], -1) if n_points else root
    return Packing(examples, points, place[examples, points], np.asarray(root_slots, np.int64))
