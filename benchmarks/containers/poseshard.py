"""Our own reader, on a split of a store."""

from __future__ import annotations

from pathlib import Path

from benchmarks.containers import BLOBS, Columns
from cache.reader import Store


class Reader:
    CHECKED, IS_SEQUENTIAL = "every byte, CRC-32C", False

    def __init__(self, path: Path) -> None:
        self._split = Store.open(path.parent).splits[path.name]
        self._arrays = [name for name in self._split.columns if name not in BLOBS]
        self._blobs = [name for name in BLOBS if name in self._split.columns]

    def columns(self) -> Columns:
        return self._split.read()

    def example(self, row: int) -> Columns:
        found = self._split.gather([row], self._arrays)
        example: Columns = {name: values[0] for name, values in found.items()}
        for name in self._blobs:
            example[name] = self._split.blobs(name, [row])[0]
        return example
