"""Our own reader, on a split of a store."""

from __future__ import annotations

from pathlib import Path

from benchmarks.containers import Columns
from cache.reader import Store


class Reader:
    CHECKED, IS_SEQUENTIAL = "every byte, CRC-32C", False

    def __init__(self, path: Path) -> None:
        self._split = Store.open(path.parent).splits[path.name]

    def columns(self) -> Columns:
        return self._split.read()

    def example(self, row: int) -> Columns:
        return self._split.example(row)
