"""How many examples of which source each batch takes, from the sources' weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def source_counts(weights: Sequence[float], *, batch_size: int, n_batches: int) -> Counts:
    """Share `n_batches` batches out among sources in proportion to their weights.

    Each source's target over all batches is its rounded share; every batch gets the quotient, the
    first ones one more for the remainder. Then each batch in turn is brought to its exact size, by
    adding to (removing from) the sources of which it has most (least), as far as a source's total
    stays below its share rounded up.

    Args:
        weights: S weights, not negative.
        batch_size: examples of this kind in a batch.
        n_batches: the reference takes 4 · devices · accumulated micro-batches.

    Returns:
        int64 (n_batches, S), every row adding up to `batch_size`.

    Raises:
        ValueError: no weight is positive.
    """
    shares = np.asarray(weights, np.float64)
    if not shares.sum() > 0:
        raise ValueError("at least one source needs a positive weight")
    shares = batch_size * n_batches * shares / shares.sum()
    # Rounding is banker's, as in the reference; the cap rounds up, forgiving the last digit.
    targets = np.rint(shares).astype(np.int64)
    caps = np.ceil(shares - 1e-9).astype(np.int64)
    quotients, remainders = np.divmod(targets, n_batches)
    counts = quotients + (np.arange(n_batches)[:, np.newaxis] < remainders)
    for batch in range(n_batches):
        _bring_to_size(counts, batch, batch_size, caps)
    return counts


def interleaving(
    weights: Sequence[float], *, batch_size: int, n_batches: int, seed: int = 42
) -> Counts:
    """The counts of `source_counts` with its batches shuffled: a stream's repeating pattern.

    A stream takes the first batch's count of items from source 0, then from source 1, ..., then
    goes on with the second batch, and begins again after the last.

    Returns:
        int64 (n_batches, S).
    """
    counts = source_counts(weights, batch_size=batch_size, n_batches=n_batches)
    np.random.default_rng(seed).shuffle(counts)
    return counts


def source_of_path(path: str, *, prefixes: Sequence[str]) -> int | None:
    """The first source whose name begins the picture's path; None: the example is in none."""
    return next((i for i, prefix in enumerate(prefixes) if path.startswith(prefix)), None)


def _bring_to_size(counts: Counts, batch: int, batch_size: int, caps: Counts) -> None:
    row = counts[batch]
    missing = batch_size - int(row.sum())
    order = np.argsort(-row if missing > 0 else row, kind="stable")
    while missing:
        before = missing
        for source in order:
            if missing > 0 and counts[:, source].sum() < caps[source]:
                row[source] += 1
                missing -= 1
            elif missing < 0 and row[source] > 0:
                row[source] -= 1
                missing += 1
        if missing == before:  # every source is at its cap: the largest one gives way
            row[order[0]] += 1
            missing -= 1
