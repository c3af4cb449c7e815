"""Batches of all kinds, read from the stores through Grain.

Guarantees: within a pass over a source no example repeats; every pass has another global order;
each batch holds the same number of examples of each kind; and batch number b is a pure function of
the settings, the seed and b. So an iterator's whole state is the number of batches handed out,
and a run that is killed and resumed sees what an uninterrupted one sees.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import grain
import numpy as np
import numpy.typing as npt

from pipeline.schema import Kind
from stages.train.examples import Batch, ExampleReader
from stages.train.mixing import interleaving
from stages.train.settings import BatchSettings, DataSettings
from stages.train.sources import Source, kind_counts, source_weight

Integers = npt.NDArray[np.int64]

__all__ = ["Batch", "BatchStream", "training_stream"]

ENDLESS = 2**62
PERIOD_BATCHES = 4  # after so many batches the sources' turns repeat


@dataclass(frozen=True, slots=True)
class KindOrder:
    """The order in which the sources of one kind take turns.

    Attributes:
        count: examples of this kind in a batch.
        sources: int64 (T,), the source of each turn of one period.
        ranks: int64 (T,), how many earlier turns of the period the same source had.
        turns: int64 (number of sources,), turns of each source in a period.
    """

    count: int
    sources: Integers
    ranks: Integers
    turns: Integers

    def locate(self, batch: int) -> tuple[Integers, Integers]:
        """The sources (count,) of a batch's examples, and which of their elements these are."""
        turns = np.arange(batch * self.count, (batch + 1) * self.count)
        period, offset = np.divmod(turns, len(self.sources))
        which = self.sources[offset]
        return which, period * self.turns[which] + self.ranks[offset]


class SourceOrder:
    """An endless order of n examples: pass after pass, each another permutation of them all.

    Grain's own shuffle, which needs no memory, takes 70 microseconds an example for a source of
    some hundred, a tenth of all that the loader does; a permutation takes eight bytes an example
    and is made once a pass.
    """

    def __init__(self, n: int, *, seed: int) -> None:
        self._n, self._seed = n, seed
        # Neighbouring batches, made by several threads, need at most two passes.
        self._permutation = functools.lru_cache(maxsize=2)(self._permute)

    def _permute(self, number: int) -> Integers:
        rng = np.random.Generator(np.random.Philox(key=[self._seed, number]))
        return rng.permutation(self._n)

    def positions(self, elements: Integers) -> Integers:
        """The examples that stand at these places of the endless order."""
        passes, places = np.divmod(elements, self._n)
        found = np.empty_like(elements)
        for number in np.unique(passes).tolist():
            there = passes == number
            found[there] = self._permutation(number)[places[there]]
        return found


class BatchMaker:
    """Makes batch number b, from nothing but the settings, the seed and b."""

    def __init__(
        self,
        sources: Sequence[Source],
        reader: ExampleReader,
        *,
        batch: BatchSettings,
        seed: int,
    ) -> None:
        self._sources, self._reader, self._seed = tuple(sources), reader, seed
        counts = kind_counts(batch, sources).items()
        self._kinds = [_kind_order(sources, k, count=n, batch=batch) for k, n in counts if n]
        self._orders = [SourceOrder(len(s), seed=_seed_of(s, seed)) for s in sources]

    def examples(self, batch: int) -> tuple[Integers, Integers]:
        """The sources (N,) of a batch's examples and their positions (N,) in these."""
        located = [kind.locate(batch) for kind in self._kinds]
        which, elements = (np.concatenate(parts) for parts in zip(*located, strict=True))
        positions = np.empty_like(elements)
        for i, order in enumerate(self._orders):
            there = which == i
            if there.any():
                positions[there] = order.positions(elements[there])
        return which, positions

    def __call__(self, batch: int) -> Batch:
        which, positions = self.examples(batch)
        draws = self._reader.draw(self._sources, which, self.generator(batch))
        return self._reader.read(self._sources, which, positions, draws=draws)

    def generator(self, batch: int) -> np.random.Generator:
        """What the draws of a batch come from."""
        return np.random.Generator(np.random.Philox(key=[self._seed, batch]))


class BatchStream(Iterator[Batch]):
    """An endless iterator of batches whose state can be saved and restored.

    A batch maps names to arrays with a leading axis of length `batch_size`; `kinds` says which part
    of that axis belongs to which kind.
    """

    def __init__(
        self, batches: grain.IterDataset[Batch], *, kinds: Mapping[Kind, slice], batch_size: int
    ) -> None:
        self.kinds = kinds
        self.batch_size = batch_size
        self._iterator = iter(batches)

    def __next__(self) -> Batch:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """A JSON-able record of the position."""
        return self._iterator.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `get_state` was called."""
        self._iterator.set_state(dict(state))

    def close(self) -> None:
        """Stop the threads."""
        self._iterator.close()


def training_stream(
    sources: Sequence[Source],
    reader: ExampleReader,
    *,
    batch: BatchSettings,
    data: DataSettings,
    seed: int,
    n_batches: int = ENDLESS,
) -> BatchStream:
    """The training batches of these sources, from the first one on.

    Each thread makes a whole batch. OpenCV's own threads, which would only be in their way, are
    switched off for this process.

    Args:
        sources: at least one non-empty one; their places in the list are the `source` of a batch.
        reader: reads and augments the examples.
        batch: examples per kind and weights of the sources.
        data: threads and look-ahead.
        seed: decides order and augmentation.
        n_batches: after so many the stream ends; for measurements.

    Raises:
        ConfigError: there is nothing to train from.
    """
    counts = kind_counts(batch, sources)
    ends = np.cumsum(list(counts.values())).tolist()
    kinds = {k: slice(end - n, end) for (k, n), end in zip(counts.items(), ends, strict=True)}
    cv2.setNumThreads(1)
    maker = BatchMaker(sources, reader, batch=batch, seed=seed)
    batches = grain.MapDataset.range(n_batches).map(maker)
    ahead = max(data.loader_threads, math.ceil(data.prefetch_batches))
    options = grain.ReadOptions(num_threads=data.loader_threads, prefetch_buffer_size=ahead)
    return BatchStream(batches.to_iter_dataset(options), kinds=kinds, batch_size=ends[-1])


def _kind_order(
    sources: Sequence[Source], kind: Kind, *, count: int, batch: BatchSettings
) -> KindOrder:
    members = [i for i, source in enumerate(sources) if source.kind is kind and len(source)]
    weights = [source_weight(sources[i].dataset, kind, batch) for i in members]
    counts = interleaving(weights, batch_size=count, n_batches=PERIOD_BATCHES)
    order = np.tile(np.array(members), PERIOD_BATCHES).repeat(counts.reshape(-1))
    turns = np.bincount(order, minlength=len(sources))
    ranks = np.zeros(len(order), np.int64)
    for i in members:
        ranks[order == i] = np.arange(turns[i])
    return KindOrder(count, order, ranks, turns)


def _seed_of(source: Source, seed: int) -> int:
    """A seed of 32 bits that depends on the source's name, not on its place among the others."""
    words = np.random.SeedSequence([seed, zlib.crc32(source.name.encode())]).generate_state(1)
    return int(words[0])
