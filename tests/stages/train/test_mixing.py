"""Every batch is full, and over a period every source gets its share."""

from __future__ import annotations

import numpy as np
import pytest

from stages.train.mixing import interleaving, source_counts, source_of_path
from stages.train.settings import KP3D_WEIGHTS, PARAM_WEIGHTS

CASES = [
    (list(PARAM_WEIGHTS.values()), 64, 4),
    (list(KP3D_WEIGHTS.values()), 32, 4),
    ([14, 7], 20, 8),
    ([10, 5], 64, 4),
    ([1], 8, 4),
    ([1, 1, 1, 1, 1, 1, 1], 3, 4),
    ([0.5, 0.25, 0.25], 5, 12),
]


@pytest.mark.parametrize(("weights", "batch_size", "n_batches"), CASES)
def test_batches_are_full_and_shares_fair(
    weights: list[float], batch_size: int, n_batches: int
) -> None:
    counts = source_counts(weights, batch_size=batch_size, n_batches=n_batches)
    assert counts.shape == (n_batches, len(weights))
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == batch_size).all()
    share = np.array(weights) / sum(weights) * batch_size * n_batches
    assert np.abs(counts.sum(axis=0) - share).max() < 2
    # No source comes in bursts.
    assert np.ptp(counts, axis=0).max() <= 2


@pytest.mark.parametrize("seed", range(5))
def test_random_weights_are_met_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 20, rng.integers(1, 30)).tolist()
    counts = source_counts(weights, batch_size=int(rng.integers(1, 70)), n_batches=4)
    assert np.ptp(counts.sum(axis=1)) == 0


def test_a_source_without_weight_gets_nothing() -> None:
    assert not source_counts([3, 0, 5], batch_size=16, n_batches=4)[:, 1].any()


def test_no_weight_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive weight"):
        source_counts([0, 0], batch_size=4, n_batches=4)


def test_the_period_is_the_same_batches_in_a_seeded_order() -> None:
    weights, sizes = [5, 3, 2], {"batch_size": 7, "n_batches": 20}
    plain = source_counts(weights, **sizes)
    shuffled = [interleaving(weights, **sizes, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(shuffled[0], shuffled[1])
    assert (shuffled[0] != shuffled[2]).any()
    assert sorted(map(tuple, plain)) == sorted(map(tuple, shuffled[0]))


def test_an_example_belongs_to_the_first_prefix_of_its_path() -> None:
    prefixes = ["coco_", "mads_down", "mads"]
    assert source_of_path("mads_down/a/1.jpg", prefixes=prefixes) == 1
    assert source_of_path("mads/a/1.jpg", prefixes=prefixes) == 2
    assert source_of_path("agora/1.jpg", prefixes=prefixes) is None
