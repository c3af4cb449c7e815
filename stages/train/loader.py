"""Batches of all kinds, read from the stores through Grain.

Guarantees: within a pass over a source no example repeats; every pass has another global order;
each batch holds the same number of examples of each kind; and batch number b is a pure function of
the settings, the seed and b. So an iterator's whole state is the number of examples handed out,
and a run that is killed and resumed sees what an uninterrupted one sees.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
import numpy.typing as npt

from pipeline.schema import Kind
from stages.train.mixing import interleaving
from stages.train.settings import BatchSettings, DataSettings
from stages.train.sources import Source, kind_counts, source_weight

Batch = dict[str, npt.NDArray[Any]]
ReadExample = Callable[[Source, int, np.random.Generator], Batch]
Integers = npt.NDArray[np.int64]

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

    def locate(self, turn: int) -> tuple[int, int]:
        """The source of a turn and which of that source's elements it takes."""
        period, offset = divmod(turn, len(self.sources))
        source = int(self.sources[offset])
        return source, period * int(self.turns[source]) + int(self.ranks[offset])


class BatchOrder(grain.transforms.DatasetSelectionMap):
    """Which source, and which of its elements, stands at a position of the endless stream."""

    def __init__(self, kinds: Sequence[KindOrder]) -> None:
        self._kinds = tuple(kinds)
        self.batch_size = sum(kind.count for kind in kinds)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> tuple[int, int]:
        batch, slot = divmod(index, self.batch_size)
        for kind in self._kinds:
            if slot < kind.count:
                return kind.locate(batch * kind.count + slot)
            slot -= kind.count
        raise IndexError(index)


class BatchStream(Iterator[Batch]):
    """An endless iterator of batches whose state can be saved and restored.

    A batch maps names to arrays with a leading axis of length `batch_size`; `kinds` says which part
    of that axis belongs to which kind.
    """

    def __init__(
        self, examples: grain.IterDataset[Batch], *, kinds: Mapping[Kind, slice], batch_size: int
    ) -> None:
        self.kinds = kinds
        self.batch_size = batch_size
        self._iterator = iter(examples.batch(batch_size, drop_remainder=True, batch_fn=_stack))

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
    read_example: ReadExample,
    *,
    batch: BatchSettings,
    data: DataSettings,
    seed: int,
) -> BatchStream:
    """The training batches of these sources, from the first one on.

    Args:
        sources: at least one non-empty one; their places in the list are the `source` of a batch.
        read_example: reads and augments one example; must be thread-safe and draw only from the
            generator it is given.
        batch: examples per kind and weights of the sources.
        data: threads and look-ahead.
        seed: decides order and augmentation.

    Raises:
        ConfigError: there is nothing to train from.
    """
    counts = kind_counts(batch, sources)
    orders: list[KindOrder] = []
    kinds: dict[Kind, slice] = {}
    start = 0
    for kind, count in counts.items():
        kinds[kind] = slice(start, start + count)
        start += count
        if count:
            orders.append(_kind_order(sources, kind, count=count, batch=batch))
    order = BatchOrder(orders)
    streams = [_endless(i, s, read_example, seed=seed) for i, s in enumerate(sources)]
    mixed = grain.MapDataset.select_from_datasets(streams, order)
    examples = mixed.to_iter_dataset(
        grain.ReadOptions(
            num_threads=data.loader_threads,
            prefetch_buffer_size=max(1, round(data.prefetch_batches * order.batch_size)),
        )
    )
    return BatchStream(examples, kinds=kinds, batch_size=order.batch_size)


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


def _endless(
    i_source: int, source: Source, read_example: ReadExample, *, seed: int
) -> grain.MapDataset[Batch]:
    """Every example of the source again and again, in a new order each pass, augmented anew."""
    source_seed = np.random.SeedSequence([seed, zlib.crc32(source.name.encode())])
    order_seed, draw_seed = (int(word) for word in source_seed.generate_state(2))

    def read(position: int, rng: np.random.Generator) -> Batch:
        example = read_example(source, position, rng)
        example["source"] = np.asarray(i_source, np.int32)
        example["row"] = np.asarray(source.rows[position], np.int64)
        return example

    positions = grain.MapDataset.range(len(source)).shuffle(seed=order_seed).repeat()
    return positions.random_map(read, seed=draw_seed)


def _stack(examples: Sequence[Batch]) -> Batch:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}
