"""Reading stores: any rows of any columns, every byte checked, nothing taken from absence.

A shard that the manifest names and that is missing, cut or altered is a `StoreError`. Safe to use
from threads, and to send to other processes (they open the files anew). The memory it keeps does
not grow with the number of examples: open files and their indexes are bounded.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import chunks, shards
from cache.layout import ColumnLayout, layout_from_metadata
from cache.manifest import Manifest, Rejection, SplitRecord
from cache.publish import read_manifest
from cache.shards import ShardRecord
from errors import StoreError

_MAX_OPEN_SHARDS = 256
Rows = Sequence[int] | npt.NDArray[np.integer[Any]]


class Store:
    """A published store, opened for reading.

    Attributes:
        path: of the store.
        attributes: of the root group (dataset, kind, joint names, provenance, ...).
        manifest: what the store consists of.
        splits: `train`, `valid` and `test`, always all of them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self._files = _ShardFiles(path)
        self.attributes: Mapping[str, Any] = self._metadata("zarr.json")["attributes"]
        self.splits: Mapping[str, Split] = {
            name: Split(self, name, record) for name, record in self.manifest.splits.items()
        }

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a store.

        Raises:
            StoreError: there is none, or its manifest or metadata are damaged.
        """
        return cls(Path(path))

    def __reduce__(self) -> tuple[object, ...]:
        return Store, (self.path,)

    def _metadata(self, path: str) -> Any:
        record = self.manifest.metadata.get(path)
        data = self._files.read_small(path)
        if record is None or record.digest != shards.digest(data):
            raise _damaged(self.path / path, "the metadata does not match the manifest")
        return json.loads(data)


class Split:
    """One split of a store: N rows, each an example, some of them rejected.

    Attributes:
        name: `train`, `valid` or `test`.
        columns: layout of every column, with `dtype`, `row_shape` and `fill`.
        rejections: every row that is not usable, and why.
    """

    def __init__(self, store: Store, name: str, record: SplitRecord) -> None:
        self._store = store
        self._record = record
        self.name = name
        self.rejections: Sequence[Rejection] = record.rejections
        self._usable_rows: npt.NDArray[np.int64] | None = None
        prefix = f"{name}/"
        names = [
            path.removeprefix(prefix).removesuffix("/zarr.json")
            for path in store.manifest.metadata
            if path.startswith(prefix) and path.count("/") == 2
        ]
        self.columns: Mapping[str, ColumnLayout] = {
            column: self._layout(column) for column in names
        }

    def __reduce__(self) -> tuple[object, ...]:
        return _split_of, (self._store.path, self.name)

    def __len__(self) -> int:
        return self._record.n_rows

    @property
    def usable_rows(self) -> npt.NDArray[np.int64]:
        """int64: the rows whose status is 0, in order."""
        if self._usable_rows is None:
            usable = np.ones(len(self), dtype=bool)
            usable[[rejection.row for rejection in self.rejections]] = False
            self._usable_rows = np.flatnonzero(usable)
        return self._usable_rows

    def gather(self, rows: Rows, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """The given rows, in the given order, of several columns.

        Args:
            rows: (n,) row numbers, in any order, repeated or not.
            columns: their names; all but the file columns (`image`, `mask`) by default.

        Returns:
            By column, an array (n, *row_shape).

        Raises:
            StoreError: a shard is missing, cut or altered.
            IndexError: a row is out of range.
        """
        numbers = self._checked_rows(rows)
        names = self._default_columns() if columns is None else columns
        return {name: self._gather_column(self._column(name), numbers) for name in names}

    def column(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Rows `start` to `stop` (exclusive) of a whole column, (stop - start, *row_shape).

        Raises:
            StoreError: a shard is missing, cut or altered.
        """
        layout = self._column(name)
        start, stop, _ = slice(start, stop).indices(len(self))
        out = np.empty((max(0, stop - start), *layout.row_shape), dtype=layout.dtype)
        first_chunk, last_chunk = start // layout.chunk_rows, -(-stop // layout.chunk_rows)
        for chunk in range(first_chunk, last_chunk):
            low = max(start, chunk * layout.chunk_rows)
            high = min(stop, (chunk + 1) * layout.chunk_rows)
            if low >= high:
                continue
            values = self._chunk(layout, chunk)
            offset = chunk * layout.chunk_rows
            out[low - start : high - start] = (
                layout.fill if values is None else values[low - offset : high - offset]
            )
        return out

    def blobs(self, name: str, rows: Rows) -> list[bytes]:
        """The bytes of a padded column, without the padding.

        Args:
            name: `image` or `mask` (trimmed to their length column), or a text such as
                `image_path` (zeros at the end taken off).
            rows: (n,) row numbers.

        Raises:
            StoreError: a shard is missing, cut or altered.
        """
        numbers = self._checked_rows(rows)
        layout = self._column(name)
        if f"{name}_length" not in self.columns:
            return [row.tobytes().rstrip(b"\0") for row in self._gather_column(layout, numbers)]
        lengths = self._gather_column(self._column(f"{name}_length"), numbers)
        if layout.chunk_rows > 1:
            values = self._gather_column(layout, numbers)
            return [row[:n].tobytes() for row, n in zip(values, lengths, strict=True)]
        return [
            self._padded_file(layout, row, int(length))
            for row, length in zip(numbers.tolist(), lengths, strict=True)
        ]

    def where(self, name: str, row: int) -> tuple[Path, int, int] | None:
        """File, offset and length of the stored chunk that holds a row; None if only fill."""
        layout = self._column(name)
        number, chunk = divmod(row // layout.chunk_rows, layout.n_chunks)
        record = self._record.blocks[number].shards[name]
        if record is None:
            return None
        path = f"{self.name}/{layout.shard_path(number)}"
        with _naming(self._store.path / path, self._rows_of(number)):
            offset, length = self._store._files.open(path, layout, record).entry(chunk)
        return None if length == shards.EMPTY else (self._store.path / path, offset, length)

    def _padded_file(self, layout: ColumnLayout, row: int, length: int) -> bytes:
        if length == 0:
            return b""
        stored = self._stored_chunk(layout, row)
        if stored is None:
            raise _damaged(
                self._store.path / self.name / layout.name,
                f"row {row} should hold {length} bytes and holds none",
            )
        with self._naming_chunk(layout, row):
            return chunks.decode_padded_file(stored, length)

    def _gather_column(self, layout: ColumnLayout, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        out = np.empty((len(rows), *layout.row_shape), dtype=layout.dtype)
        if len(rows) == 1:
            chunk, offset = divmod(int(rows[0]), layout.chunk_rows)
            values = self._chunk(layout, chunk)
            out[0] = layout.fill if values is None else values[offset]
            return out
        chunk_of_row = rows // layout.chunk_rows
        order = np.argsort(chunk_of_row, kind="stable")
        sorted_chunks = chunk_of_row[order]
        starts = np.flatnonzero(np.r_[True, sorted_chunks[1:] != sorted_chunks[:-1]])
        for low, high in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
            places = order[low:high]
            chunk = int(sorted_chunks[low])
            values = self._chunk(layout, chunk)
            if values is None:
                out[places] = layout.fill
            else:
                out[places] = values[rows[places] - chunk * layout.chunk_rows]
        return out

    def _chunk(self, layout: ColumnLayout, chunk: int) -> npt.NDArray[Any] | None:
        """Decoded rows of a chunk, counted over the whole split; None if only fill values."""
        stored = self._stored_chunk(layout, chunk)
        if stored is None:
            return None
        with self._naming_chunk(layout, chunk):
            data = chunks.decode_chunk(stored, layout.chunk_bytes)
        return np.frombuffer(data, dtype=layout.dtype).reshape(-1, *layout.row_shape)

    def _stored_chunk(self, layout: ColumnLayout, chunk: int) -> bytes | None:
        number, chunk = divmod(chunk, layout.n_chunks)
        record = self._record.blocks[number].shards[layout.name]
        if record is None:
            return None
        path = f"{self.name}/{layout.shard_path(number)}"
        with _naming(self._store.path / path, self._rows_of(number)):
            return self._store._files.open(path, layout, record).read(chunk)

    def _naming_chunk(
        self, layout: ColumnLayout, chunk: int
    ) -> contextlib.AbstractContextManager[None]:
        path = self._store.path / self.name / layout.shard_path(chunk // layout.n_chunks)
        start = chunk * layout.chunk_rows
        return _naming(path, range(start, min(start + layout.chunk_rows, len(self))))

    def _rows_of(self, block: int) -> range:
        record = self._record.blocks[block]
        return range(record.start, record.stop)

    def _layout(self, column: str) -> ColumnLayout:
        path = f"{self.name}/{column}/zarr.json"
        metadata = self._store._metadata(path)
        try:
            return layout_from_metadata(column, metadata)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _damaged(self._store.path / path, "it is not a column of ours") from error

    def _column(self, name: str) -> ColumnLayout:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(
                f"{self._store.path} has no column {name!r}; it has {', '.join(self.columns)}"
            ) from None

    def _default_columns(self) -> list[str]:
        return [name for name in self.columns if f"{name}_length" not in self.columns]

    def _checked_rows(self, rows: Rows) -> npt.NDArray[np.int64]:
        numbers = np.asarray(rows, dtype=np.int64).reshape(-1)
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self):
            raise IndexError(f"rows must be in 0..{len(self) - 1} of split {self.name!r}")
        return numbers


class _OpenShard:
    """An open shard file with its index in memory; closed when nobody refers to it any more."""

    def __init__(self, fd: int, layout: ColumnLayout, record: ShardRecord) -> None:
        self._fd = fd
        length = os.fstat(fd).st_size
        if length != record.length:
            raise chunks.ChunkError(f"is {length} bytes long, the manifest says {record.length}")
        size = shards.index_bytes(layout)
        self._index = shards.parse_index(os.pread(fd, size, length - size), length)

    def entry(self, chunk: int) -> tuple[int, int]:
        offset, length = self._index[chunk].tolist()
        return offset, length

    def read(self, chunk: int) -> bytes | None:
        offset, length = self.entry(chunk)
        return None if offset == shards.EMPTY else os.pread(self._fd, length, offset)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


class _ShardFiles:
    """The open shards of one store, the least recently used closed beyond a bound.

    Files are opened relative to the directory that was there when the store was opened, so a store
    that is replaced meanwhile is never read half old, half new.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, _OpenShard] = OrderedDict()
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._bound = max(4, min(_MAX_OPEN_SHARDS, soft_limit // 4))
        with _naming(path):
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            # Shared: whoever swaps this store out leaves it in place while we hold it open.
            fcntl.flock(self._directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._pid = os.getpid()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._directory)

    def open(self, path: str, layout: ColumnLayout, record: ShardRecord) -> _OpenShard:
        if self._pid != os.getpid():  # forked: a thread that is not here may hold the lock
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            shard = self._shards.get(path)
            if shard is not None:
                self._shards.move_to_end(path)
                return shard
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        shard = _OpenShard(fd, layout, record)
        with self._lock:
            self._shards[path] = shard
            while len(self._shards) > self._bound:
                self._shards.popitem(last=False)
        return shard

    def read_small(self, path: str) -> bytes:
        with _naming(self._path / path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            with os.fdopen(fd, "rb") as file:
                return file.read()


@contextlib.contextmanager
def _naming(path: Path, rows: range | None = None) -> Iterator[None]:
    """Say which file, and which rows depend on it, when reading it fails."""
    try:
        yield
    except FileNotFoundError as error:
        raise _damaged(path, "the file is missing", rows) from error
    except (OSError, chunks.ChunkError) as error:
        raise _damaged(path, f"the file {error}", rows) from error


def _damaged(path: Path, what: str, rows: range | None = None) -> StoreError:
    place = f"{path}, rows {rows.start} to {rows.stop - 1}" if rows else str(path)
    return StoreError(
        f"the store is damaged: {what}",
        where=place,
        cause="it was deleted, cut or altered after it was written",
        next_command="run `cli.py verify --repair` on this store",
    )


def _split_of(path: Path, name: str) -> Split:
    return Store(path).splits[name]
