"""Annotated points come first, in order; of too many, a random choice that keeps the root."""

from __future__ import annotations

import numpy as np

from stages.train.query_points import into_slots, pack_points


def test_valid_points_fill_the_first_slots_in_order() -> None:
    validity = np.array([False, True, True, False, True])
    packing = pack_points(validity, root_index=2, n_slots=4, rng=None)
    assert packing.points.tolist() == [1, 2, 4]
    assert packing.root_slot == 1
    values = np.arange(10.0).reshape(5, 2)
    packed = into_slots(values, packing, n_slots=4, fill=-1)
    assert packed.tolist() == [[2, 3], [4, 5], [8, 9], [-1, -1]]


def test_without_a_root_there_is_no_root_slot() -> None:
    assert pack_points(np.ones(3, bool), root_index=-1, n_slots=3, rng=None).root_slot == -1


def test_of_too_many_points_a_random_part_with_the_root_is_taken() -> None:
    validity = np.ones(50, bool)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        packing = pack_points(validity, root_index=31, n_slots=10, rng=rng)
        assert len(packing.points) == 10
        assert (np.diff(packing.points) > 0).all()
        assert packing.points[packing.root_slot] == 31
        seen.update(packing.points.tolist())
    assert len(seen) == 50
