"""Annotated points come first, in order; of too many, a choice that keeps the root."""

from __future__ import annotations

import numpy as np

from stages.train.packing import pack_valid_points


def test_valid_points_fill_the_first_slots_in_order() -> None:
    validity = np.array([[False, True, True, False, True], [True, False, False, False, False]])
    packing = pack_valid_points(validity, root_index=np.array([2, 0]), n_slots=4, order=None)
    assert packing.examples.tolist() == [0, 0, 0, 1]
    assert packing.points.tolist() == [1, 2, 4, 0]
    assert packing.slots.tolist() == [0, 1, 2, 0]
    assert packing.root_slots.tolist() == [1, 0]


def test_without_a_valid_root_there_is_no_root_slot() -> None:
    validity = np.array([[True, True, True], [True, False, True]])
    packing = pack_valid_points(validity, root_index=np.array([-1, 1]), n_slots=3, order=None)
    assert packing.root_slots.tolist() == [-1, -1]


def test_of_too_many_points_a_random_part_with_the_root_is_taken() -> None:
    rng = np.random.default_rng(0)
    validity = np.ones((40, 50), bool)
    packing = pack_valid_points(
        validity, root_index=np.full(40, 31), n_slots=10, order=rng.random((40, 50))
    )
    taken = packing.points.reshape(40, 10)
    assert (np.diff(taken, axis=1) > 0).all()
    assert (packing.slots.reshape(40, 10) == np.arange(10)).all()
    assert (taken[np.arange(40), packing.root_slots] == 31).all()
    assert set(taken.ravel()) == set(range(50))
