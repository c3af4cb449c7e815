"""Reading stores: any rows of any columns, every byte checked, nothing taken from absence.

A shard that the manifest names and that is missing, cut, altered or not the one that belongs there
is a `StoreError`. Safe to use from threads, and to send to other processes (they open the files
anew). The memory it keeps does not grow with the number of examples: open files, their indexes and
decoded rows are bounded.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import chunks, shards
from cache.layout import ColumnLayout, layout_from_metadata
from cache.manifest import Manifest, Rejection, SplitRecord
from cache.row_groups import DECODED_BYTES, RowGroups
from cache.shard_files import OpenShard, ShardFiles, damaged, naming, unreadable
from cache.store_directory import StoreDirectory
from errors import StoreError

Rows = Sequence[int] | npt.NDArray[np.integer[Any]]
_RUN_BYTES = 1 << 19
_TASK_BYTES = 1 << 24
_FEW_ROWS = 8
# Of threads that are gone, for those to come; no more of them than once ran at the same time.
_spare_workspaces: list[chunks.Workspace] = []


class Store:
    """A published store, opened for reading.

    Attributes:
        path: of the store.
        attributes: of the root group (dataset, kind, joint names, provenance, ...).
        manifest: what the store consists of.
        splits: `train`, `valid` and `test`, always all of them.
    """

    def __init__(self, path: Path, *, decoded_bytes: int = DECODED_BYTES) -> None:
        self.path = path
        self._decoded_bytes = decoded_bytes
        self._directory = StoreDirectory(path)
        self.manifest: Manifest = self._directory.read_manifest()
        self.attributes: Mapping[str, Any] = self._metadata("zarr.json")["attributes"]
        files = ShardFiles(self._directory)
        n_rows = max(1, sum(split.n_rows for split in self.manifest.splits.values()))
        self.splits: Mapping[str, Split] = {
            name: Split(
                files,
                record,
                self._layouts(name, record),
                path=path,
                name=name,
                decoded_bytes=decoded_bytes * record.n_rows // n_rows,
            )
            for name, record in self.manifest.splits.items()
        }

    @classmethod
    def open(cls, path: Path | str, *, decoded_bytes: int = DECODED_BYTES) -> Store:
        """Open a store.

        Args:
            decoded_bytes: how much memory decoded rows may take, in this process.

        Raises:
            StoreError: there is none, or its manifest or metadata are damaged.
        """
        return cls(Path(path), decoded_bytes=decoded_bytes)

    def __reduce__(self) -> tuple[object, ...]:
        return _store, (self.path, self._decoded_bytes)

    def _metadata(self, name: str) -> Any:
        record = self.manifest.metadata.get(name)
        with naming(self.path / name):
            data = self._directory.read(name)
        if record is None or record.digest != shards.digest(data):
            raise damaged(self.path / name, "the metadata does not match the manifest")
        return json.loads(data)

    def _layouts(self, split: str, record: SplitRecord) -> dict[str, ColumnLayout]:
        layouts = {}
        for path in self.manifest.metadata:
            folder, _, column = path.removesuffix("/zarr.json").partition("/")
            if folder != split or not column:
                continue
            metadata = self._metadata(path)
            try:
                layouts[column] = layout_from_metadata(column, metadata)
                if metadata["shape"][0] != record.n_rows:
                    raise ValueError
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise damaged(self.path / path, "it is not a column of ours") from error
        if record.blocks and layouts.keys() != record.blocks[0].shards.keys():
            raise damaged(self.path, f"split {split!r} has other columns than its manifest")
        return layouts


class Split:
    """One split of a store: N rows, each an example, some of them rejected.

    Attributes:
        name: `train`, `valid` or `test`.
        columns: layout of every column, with `dtype`, `row_shape` and `fill`.
        rejections: every row that is not usable, and why.
    """

    def __init__(
        self,
        files: ShardFiles,
        record: SplitRecord,
        columns: Mapping[str, ColumnLayout],
        *,
        path: Path,
        name: str,
        decoded_bytes: int,
    ) -> None:
        self.name = name
        self.columns = columns
        self.rejections: Sequence[Rejection] = record.rejections
        self._store_path = path
        self._files = files
        self._record = record
        self._decoded_bytes = decoded_bytes
        self._usable_rows: npt.NDArray[np.int64] | None = None
        self._apart = {
            n for n, c in columns.items() if c.chunk_rows == 1 and _is_padded(n, columns)
        }
        self._default_columns = [n for n in columns if not _is_padded(n, columns)]
        self._groups = RowGroups(
            [c for n, c in columns.items() if n not in self._apart],
            max_bytes=decoded_bytes,
            announce=self._announce,
        )
        self._fields = [
            (n, np.dtype(columns[n].dtype), columns[n].row_shape, offset)
            for n, offset in self._groups.offsets.items()
        ]
        self._lengths = {n: f"{n}_length" for n in columns if _is_padded(n, columns)}
        self._texts = [n for n, c in columns.items() if n not in self._lengths and _is_text(c)]

    def __reduce__(self) -> tuple[object, ...]:
        return _split_of, (self._store_path, self.name, self._decoded_bytes)

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
            columns: their names; all but the padded ones (`image`, `mask`) by default.

        Returns:
            By column, an array (n, *row_shape), private to the caller; not always contiguous.

        Raises:
            StoreError: a shard is missing, cut or altered.
            IndexError: a row is out of range.
        """
        numbers = self._checked_rows(rows)
        if columns is None:
            columns = self._default_columns
        if self._apart.isdisjoint(columns):
            return self._groups.gather(numbers, columns, self.decoded_chunk)
        together = [name for name in columns if name not in self._apart]
        found = self._groups.gather(numbers, together, self.decoded_chunk)
        return {
            name: found[name] if name in found else self._gather_singly(self._column(name), numbers)
            for name in columns
        }

    def column(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Rows `start` to `stop` (exclusive) of a whole column, (stop - start, *row_shape).

        Raises:
            StoreError: a shard is missing, cut or altered.
        """
        layout = self._column(name)
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        out, skipped = _room(layout, start, stop)
        self._read_chunks(layout, start // layout.chunk_rows, out)
        return out[skipped : skipped + stop - start]

    def read(self, columns: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Whole columns, all by default but pictures, by as many threads as there are cores.

        Raises:
            StoreError: a shard is missing, cut or altered.
        """
        if columns is None:
            columns = [name for name in self.columns if name not in self._apart]
        found, tasks = {}, []
        for name in columns:
            layout = self._column(name)
            out, _ = _room(layout, 0, len(self))
            found[name] = out[: len(self)]
            n_rows = max(1, _TASK_BYTES // layout.chunk_bytes) * layout.chunk_rows
            for start in range(0, len(out), n_rows):
                tasks.append((layout, start // layout.chunk_rows, out[start : start + n_rows]))
        # The longest first, so that all threads are done at about the same time.
        tasks.sort(key=lambda task: task[2].nbytes)

        def work(space: chunks.Workspace) -> None:
            chunks.set_workspace(space)
            while True:
                try:
                    task = tasks.pop()
                except IndexError:
                    return
                self._read_chunks(*task)

        spaces = [_spare_workspace() for _ in os.sched_getaffinity(0)]
        with ThreadPoolExecutor(len(spaces)) as pool:
            for _ in pool.map(work, spaces):
                pass
        _spare_workspaces.extend(spaces)
        return found

    def blobs(self, name: str, rows: Rows) -> list[bytes]:
        """The bytes of a padded column, without the padding.

        Args:
            name: `image` or `mask` (trimmed to their length column), or a text such as
                `image_path` (zeros at the end taken off).
            rows: (n,) row numbers.

        Raises:
            StoreError: a shard is missing, cut or altered.
            IndexError: a row is out of range.
        """
        numbers = self._checked_rows(rows)
        layout = self._column(name)
        if f"{name}_length" not in self.columns:
            values = self.gather(numbers, [name])[name]
            return [row.tobytes().rstrip(b"\0") for row in values]
        length_name = f"{name}_length"
        if name not in self._apart:
            found = self.gather(numbers, [name, length_name])
            lengths = found[length_name].tolist()
            return [r[:n].tobytes() for r, n in zip(found[name], lengths, strict=True)]
        value, decode = self._groups.value, self.decoded_chunk
        return [self._padded_file(layout, row, value(row, length_name, decode)) for row in numbers]

    def example(self, row: int) -> dict[str, Any]:
        """Everything of one row: by column an array of the row's shape, or bytes without padding.

        The quickest way to one example.

        Raises:
            StoreError: a shard is missing, cut or altered.
            IndexError: the row is out of range.
        """
        (row,) = self._checked_rows([row])
        found = self._groups.row(row, self.decoded_chunk)
        example: dict[str, Any] = {
            name: np.ndarray(shape, dtype, found, offset)
            for name, dtype, shape, offset in self._fields
        }
        for name, length_name in self._lengths.items():
            length = int(example[length_name])
            if name in self._apart:
                example[name] = self._padded_file(self.columns[name], row, length)
            else:
                example[name] = example[name][:length].tobytes()
        for name in self._texts:
            example[name] = example[name].tobytes().rstrip(b"\0")
        return example

    def where(self, name: str, row: int) -> tuple[Path, int, int] | None:
        """File, offset and length of the stored chunk that holds a row; None if only fill."""
        layout = self._column(name)
        number, chunk = divmod(row // layout.chunk_rows, layout.n_chunks)
        record = self._record.blocks[number].shards[name]
        if record is None:
            return None
        path = self.shard_path(layout, number)
        with naming(path, self.rows_of_block(number)):
            shard = self._files.open(self.name, layout, number, record)
        offset, length = shard.entry(chunk)
        return None if offset == shards.EMPTY else (path, offset, length)

    def shard_path(self, layout: ColumnLayout, block: int) -> Path:
        """The shard file of a column of a block."""
        return self._store_path / self.name / layout.shard_path(block)

    def rows_of_block(self, block: int) -> range:
        """The rows of a block."""
        record = self._record.blocks[block]
        return range(record.start, record.stop)

    def rows_of_chunk(self, layout: ColumnLayout, chunk: int) -> range:
        """The rows of a chunk, counted over the whole split."""
        start = chunk * layout.chunk_rows
        return range(start, min(start + layout.chunk_rows, len(self)))

    def decoded_chunk(self, layout: ColumnLayout, chunk: int) -> npt.NDArray[Any] | None:
        """Rows of a chunk, counted over the whole split; None if it holds only fill values.

        Raises:
            StoreError: its shard is missing, cut or altered.
        """
        stored = self._stored_chunk(layout, chunk)
        if stored is None:
            return None
        try:
            data = chunks.decode_chunk(stored, layout.chunk_bytes)
        except chunks.ChunkError as error:
            raise self._unreadable(error, layout, self.rows_of_chunk(layout, chunk)) from error
        return np.frombuffer(data, dtype=layout.dtype).reshape(-1, *layout.row_shape)

    def _read_chunks(self, layout: ColumnLayout, first: int, out: npt.NDArray[Any]) -> None:
        """Decode chunks, the first of them number `first`, into `out`: a place for every row."""
        records = [block.shards[layout.name] for block in self._record.blocks]
        shard_bytes = max((record.length for record in records if record), default=1)
        # What is read and decoded at once stays in the processor's cache.
        n_chunks = max(1, _RUN_BYTES * layout.n_chunks // shard_bytes)
        for start in range(0, len(out), n_chunks * layout.chunk_rows):
            part = out[start : start + n_chunks * layout.chunk_rows]
            chunk = first + start // layout.chunk_rows
            run = range(chunk, chunk + len(part) // layout.chunk_rows)
            self._read_run(layout, run, part)

    def _read_run(self, layout: ColumnLayout, run: range, out: npt.NDArray[Any]) -> None:
        """Decode a run of chunks, of one or several shards, into `out`: a place for every row."""
        places = np.zeros((len(run), 2), dtype=np.int64)
        parts: list[
            tuple[OpenShard, range, range]
        ] = []  # with bytes of the file, rows of the block
        n_bytes, chunk = 0, run.start
        while chunk < run.stop:
            number, first = divmod(chunk, layout.n_chunks)
            stop = min(layout.n_chunks, first + run.stop - chunk)
            here = places[chunk - run.start : chunk - run.start + stop - first]
            chunk += stop - first
            shard = self._open_shard(layout, number)
            if shard is None:
                continue
            here[:], part = shard.places(first, stop)
            if part:
                here[:, 0] += n_bytes - part.start
                parts.append((shard, part, self.rows_of_block(number)))
                n_bytes += len(part)
        data = chunks.workspace().buffer("stored", n_bytes)
        n_bytes = 0
        for shard, part, rows in parts:
            try:
                shard.read_into(data[n_bytes : n_bytes + len(part)], part.start)
            except (OSError, chunks.ChunkError) as error:
                raise self._unreadable(error, layout, rows) from error
            n_bytes += len(part)
        if layout.fill != 0:
            for place in np.flatnonzero(places[:, 1] == 0).tolist():
                out[place * layout.chunk_rows : (place + 1) * layout.chunk_rows] = layout.fill
        buffer = out.reshape(-1).view(np.uint8)
        damage = chunks.decode_run(data, places, layout.chunk_bytes, buffer)
        if damage is not None:
            place, problem = damage
            rows = self.rows_of_chunk(layout, run[place])
            raise self._unreadable(problem, layout, rows) from problem

    def _open_shard(self, layout: ColumnLayout, number: int) -> OpenShard | None:
        """A shard, None if it holds only fill values."""
        record = self._record.blocks[number].shards[layout.name]
        if record is None:
            return None
        try:
            return self._files.open(self.name, layout, number, record)
        except (OSError, chunks.ChunkError) as error:
            raise self._unreadable(error, layout, self.rows_of_block(number)) from error

    def _announce(self, layouts: Sequence[ColumnLayout], chunk: int) -> None:
        """Have a chunk of several columns fetched at once."""
        row = chunk * layouts[0].chunk_rows
        number, row = divmod(row, layouts[0].shard_rows)
        records = self._record.blocks[number].shards
        there = [(c, record) for c in layouts if (record := records[c.name]) is not None]
        if len(there) > 1:
            self._files.announce(self.name, there, number, row)

    def _padded_file(self, layout: ColumnLayout, row: int, length: int) -> bytes:
        if length == 0:
            return b""
        stored = self._stored_chunk(layout, row)
        if stored is None:
            path = self.shard_path(layout, row // layout.shard_rows)
            what = f"row {row} should hold {length} bytes and holds none"
            raise damaged(path, what, range(row, row + 1))
        try:
            return chunks.decode_padded_file(stored, length)
        except chunks.ChunkError as error:
            raise self._unreadable(error, layout, range(row, row + 1)) from error

    def _gather_singly(self, layout: ColumnLayout, rows: Sequence[int]) -> npt.NDArray[Any]:
        out = np.empty((len(rows), *layout.row_shape), dtype=layout.dtype)
        for place, row in enumerate(rows):
            values = self.decoded_chunk(layout, row)
            out[place] = layout.fill if values is None else values[0]
        return out

    def _stored_chunk(self, layout: ColumnLayout, chunk: int) -> bytes | None:
        number, chunk = divmod(chunk, layout.n_chunks)
        shard = self._open_shard(layout, number)
        if shard is None:
            return None
        try:
            return shard.read(chunk)
        except OSError as error:
            raise self._unreadable(error, layout, self.rows_of_block(number)) from error

    def _unreadable(
        self, error: OSError | chunks.ChunkError, layout: ColumnLayout, rows: range
    ) -> StoreError:
        return unreadable(error, self.shard_path(layout, rows.start // layout.shard_rows), rows)

    def _column(self, name: str) -> ColumnLayout:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(
                f"{self._store_path} has no column {name!r}; it has {', '.join(self.columns)}"
            ) from None

    def _checked_rows(self, rows: Rows) -> list[int]:
        found: list[int] = (
            np.asarray(rows, dtype=np.int64).reshape(-1).tolist()
            if isinstance(rows, np.ndarray) or len(rows) > _FEW_ROWS
            else [*map(operator.index, rows)]  # sooner done than an array is made
        )
        if found and not 0 <= min(found) <= max(found) < len(self):
            raise IndexError(f"rows must be in 0..{len(self) - 1} of split {self.name!r}")
        return found


def _spare_workspace() -> chunks.Workspace:
    try:
        return _spare_workspaces.pop()
    except IndexError:
        return chunks.Workspace()


def _room(layout: ColumnLayout, start: int, stop: int) -> tuple[npt.NDArray[Any], int]:
    """Room for the chunks that hold some rows, and how many rows of it are before them."""
    first, last = start // layout.chunk_rows, -(-stop // layout.chunk_rows)
    shape = ((last - first) * layout.chunk_rows, *layout.row_shape)
    # Zeros that nobody wrote and nobody looks at cost nothing.
    room = np.zeros(shape, layout.dtype) if layout.fill == 0 else np.empty(shape, layout.dtype)
    return room, start - first * layout.chunk_rows


def _store(path: Path, decoded_bytes: int) -> Store:
    return Store(path, decoded_bytes=decoded_bytes)


def _split_of(path: Path, name: str, decoded_bytes: int) -> Split:
    return Store(path, decoded_bytes=decoded_bytes).splits[name]


def _is_text(layout: ColumnLayout) -> bool:
    return layout.dtype == "uint8" and len(layout.row_shape) == 1


def _is_padded(name: str, columns: Mapping[str, ColumnLayout]) -> bool:
    """Whether rows of a column are bytes of different lengths, told by a column of its own."""
    return f"{name}_length" in columns
