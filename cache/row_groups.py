"""Decoded rows, all columns of a chunk's worth of them side by side, in bounded memory.

The columns of an example lie in as many files. Reading one example costs a read, a checksum and a
decompression per column, most of it per call, not per byte. Its neighbours come with it for
nothing, so they are kept: an example that is near one that was read is one copy away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.layout import ColumnLayout

DECODED_BYTES = 192 << 20

Decode = Callable[[ColumnLayout, int], npt.NDArray[Any] | None]
Announce = Callable[[Sequence[ColumnLayout], int], None]


class _Group:
    """The rows of one chunk of every column; `ready` has a bit for each column that is decoded."""

    __slots__ = ("raw", "ready", "rows")

    def __init__(self, n_rows: int, dtype: np.dtype[Any]) -> None:
        self.raw = np.empty((n_rows, dtype.itemsize), dtype=np.uint8)
        self.rows = self.raw.view(dtype)[:, 0]
        self.ready = 0


class RowGroups:
    """Gathers rows of columns that are all cut into chunks of the same number of rows.

    Safe for threads. The oldest groups are forgotten beyond `max_bytes`.

    Args:
        announce: told the columns, and the number of the chunk, that are about to be decoded.

    Attributes:
        offsets: of each column in a row of all.
    """

    def __init__(
        self, layouts: Sequence[ColumnLayout], *, max_bytes: int, announce: Announce
    ) -> None:
        self._announce = announce
        self._layouts = list(layouts)
        self._chunk_rows = layouts[0].chunk_rows if layouts else 1
        if any(layout.chunk_rows != self._chunk_rows for layout in layouts):
            raise ValueError("columns must be cut into chunks of the same number of rows")
        self._dtype = _side_by_side(layouts)
        self._bits = {layout.name: 1 << i for i, layout in enumerate(layouts)}
        fields: Mapping[str, Any] = self._dtype.fields or {}
        self.offsets: Mapping[str, int] = {name: field[1] for name, field in fields.items()}
        self._everything = (1 << len(layouts)) - 1
        # Each of its methods is atomic; a lock might be held for ever after a fork.
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        group_bytes = max(1, self._chunk_rows * self._dtype.itemsize)
        self._wanted: dict[tuple[str, ...], int] = {}
        self._max_groups = max(8, max_bytes // group_bytes)

    def gather(
        self, rows: Sequence[int], names: Sequence[str], decode: Decode
    ) -> dict[str, npt.NDArray[Any]]:
        """The given rows, in the given order.

        Args:
            decode: decodes a chunk of a column; None if it holds only fill values.

        Returns:
            By column, (n, *row_shape).
        """
        asked = tuple(names)
        wanted = self._wanted.get(asked)
        if wanted is None:
            wanted = self._wanted[asked] = sum({self._bits[name] for name in names})
        if len(names) * 2 < len(self._layouts):
            return self._gather_few(rows, names, wanted, decode)
        raw = np.empty((len(rows), self._dtype.itemsize), dtype=np.uint8)
        for place, row in enumerate(rows):
            number, offset = divmod(row, self._chunk_rows)
            group = self._groups.get(number)
            if group is None or wanted & ~group.ready:
                group = self._decoded(number, wanted, decode)
            raw[place] = group.raw[offset]
        out = raw.reshape(-1).view(self._dtype)
        return {name: out[name] for name in names}

    def row(self, row: int, decode: Decode) -> bytearray:
        """One row of all columns side by side, each where `offsets` says."""
        number, offset = divmod(row, self._chunk_rows)
        group = self._groups.get(number)
        if group is None or self._everything & ~group.ready:
            group = self._decoded(number, self._everything, decode)
        return bytearray(group.raw[offset].data)

    def value(self, row: int, name: str, decode: Decode) -> int:
        """One number of a column of single integers."""
        number, offset = divmod(row, self._chunk_rows)
        group = self._groups.get(number)
        if group is None or self._bits[name] & ~group.ready:
            group = self._decoded(number, self._bits[name], decode)
        return int(group.rows[name][offset])

    def _gather_few(
        self, rows: Sequence[int], names: Sequence[str], wanted: int, decode: Decode
    ) -> dict[str, npt.NDArray[Any]]:
        out = {
            name: np.empty((len(rows), *self._dtype[name].shape), dtype=self._dtype[name].base)
            for name in names
        }
        for place, row in enumerate(rows):
            number, offset = divmod(row, self._chunk_rows)
            found = self._decoded(number, wanted, decode).rows
            for name, values in out.items():
                values[place] = found[name][offset]
        return out

    def _decoded(self, number: int, wanted: int, decode: Decode) -> _Group:
        group = self._groups.get(number)
        if group is None:
            group = _Group(self._chunk_rows, self._dtype)
        missing = wanted & ~group.ready
        if missing:
            wanting = [layout for layout in self._layouts if missing & self._bits[layout.name]]
            self._announce(wanting, number)
            # Another thread may decode the same columns meanwhile: both write the same values.
            for layout in wanting:
                values = decode(layout, number)
                group.rows[layout.name] = layout.fill if values is None else values
            group.ready |= wanted
            self._groups[number] = group
            if len(self._groups) > self._max_groups:
                self._groups.popitem(last=False)
        return group


def _side_by_side(layouts: Sequence[ColumnLayout]) -> np.dtype[Any]:
    """A row of all columns, the wider element types first so that all are aligned."""
    ordered = sorted(layouts, key=lambda layout: -np.dtype(layout.dtype).itemsize)
    ends = np.cumsum([layout.row_bytes for layout in ordered], dtype=int).tolist()
    return np.dtype(
        {
            "names": [layout.name for layout in ordered],
            "formats": [(layout.dtype, layout.row_shape) for layout in ordered],
            "offsets": [0, *ends[:-1]],
            "itemsize": -(-ends[-1] // 8) * 8,
        }
    )
