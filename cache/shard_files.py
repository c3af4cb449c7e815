"""The open shard files of one store: each checked against the manifest when it is opened."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cache import chunks, shards
from cache.layout import ColumnLayout
from cache.manifest import MANIFEST_NAME
from cache.shards import ShardRecord
from cache.store_directory import StoreDirectory
from errors import StoreError

_MAX_OPEN_SHARDS = 2048
_SMALL_BYTES = 1 << 16  # a file that is fetched whole when it is first needed
_ENTRY = struct.Struct("<QQ")


class OpenShard:
    """An open shard file with its index in memory; closed when nobody refers to it any more.

    Raises:
        ChunkError: it is not the shard that the manifest names.
    """

    __slots__ = ("_fd", "_index")

    def __init__(self, fd: int, layout: ColumnLayout, record: ShardRecord) -> None:
        self._fd = fd
        length = os.fstat(fd).st_size
        if length != record.length:
            raise chunks.ChunkError(f"is {length} bytes long, the manifest says {record.length}")
        size = shards.tail_bytes(layout)
        tail = os.pread(fd, size, length - size)
        self._index = shards.parse_tail(tail, shard_length=length)
        if shards.seal(tail) != record.seal:
            raise chunks.ChunkError("is whole, but not the one that the manifest names")

    def entry(self, chunk: int) -> tuple[int, int]:
        """Offset and length of an inner chunk; `EMPTY` twice if it holds only fill values."""
        offset, length = _ENTRY.unpack_from(self._index, chunk * shards.ENTRY_BYTES)
        return offset, length

    def read(self, chunk: int) -> bytes | None:
        """The stored bytes of an inner chunk, None if it holds only fill values."""
        offset, length = _ENTRY.unpack_from(self._index, chunk * shards.ENTRY_BYTES)
        return None if offset == shards.EMPTY else os.pread(self._fd, length, offset)

    def places(self, first: int, stop: int) -> tuple[npt.NDArray[np.int64], range]:
        """Where chunks lie.

        Returns:
            (n, 2) offset and length of each, of length 0 if it holds only fill values; and the
            bytes of the file that all of them lie in.
        """
        places = np.frombuffer(self._index, dtype="<i8").reshape(-1, 2)[first:stop]
        offsets = places[:, 0]
        if int(offsets.min()) >= 0:
            ends = places[:, 1] + offsets
            return places, range(int(offsets.min()), int(ends.max()))
        is_empty = offsets < 0  # what `EMPTY` is as a signed number
        places = places.copy()
        places[is_empty] = 0
        found = places[~is_empty]
        if not len(found):
            return places, range(0)
        return places, range(int(found[:, 0].min()), int(found.sum(axis=1).max()))

    def announce(self, chunk: int) -> None:
        """Have the system begin to read an inner chunk."""
        offset, length = _ENTRY.unpack_from(self._index, chunk * shards.ENTRY_BYTES)
        if offset != shards.EMPTY:
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def read_into(self, buffer: npt.NDArray[np.uint8], offset: int) -> None:
        """Fill a buffer with what stands from an offset on.

        Raises:
            ChunkError: the file ends before.
        """
        if os.preadv(self._fd, [buffer.data], offset) < len(buffer):
            raise chunks.ChunkError("was cut while it was read")

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


class ShardFiles:
    """The open shards of one store, the least recently used closed beyond a bound."""

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        # Each of its methods is atomic; a lock might be held for ever after a fork.
        self._shards: OrderedDict[tuple[str, str, int], OpenShard] = OrderedDict()
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._bound = max(4, min(_MAX_OPEN_SHARDS, soft_limit // 4))

    def open(self, split: str, layout: ColumnLayout, number: int, record: ShardRecord) -> OpenShard:
        """Shard `number` of a column, opened and checked once.

        Raises:
            OSError, ChunkError: it is missing or not the one that the manifest names.
        """
        key = (split, layout.name, number)
        shard = self._shards.get(key)
        if shard is None:
            shard = self._shards[key] = self._opened(split, layout, number, record)
            if len(self._shards) > self._bound:
                self._shards.popitem(last=False)
        else:
            try:  # noqa: SIM105 - on the way to every chunk, where a context manager would cost
                self._shards.move_to_end(key)
            except KeyError:  # closed by another thread this moment
                pass
        return shard

    def announce(
        self,
        split: str,
        columns: Sequence[tuple[ColumnLayout, ShardRecord]],
        number: int,
        row: int,
    ) -> None:
        """Have the system read, all at once, what one row of several columns will need.

        A disk does many small reads at the same time in little more than the time of one. This is
        a hint: what goes wrong is left to whoever reads.

        Args:
            number: of the shards.
            row: counted from the shards' first.
        """
        with contextlib.suppress(OSError, chunks.ChunkError):
            for layout, record in columns:
                if (split, layout.name, number) not in self._shards:
                    self._announce_end(f"{split}/{layout.shard_path(number)}", layout, record)
            for layout, record in columns:
                if record.length > _SMALL_BYTES:
                    shard = self.open(split, layout, number, record)
                    shard.announce(row // layout.chunk_rows)

    def _announce_end(self, name: str, layout: ColumnLayout, record: ShardRecord) -> None:
        size = record.length if record.length <= _SMALL_BYTES else shards.tail_bytes(layout)
        fd = self._directory.open(name)
        try:
            os.posix_fadvise(fd, record.length - size, size, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(fd)

    def _opened(
        self, split: str, layout: ColumnLayout, number: int, record: ShardRecord
    ) -> OpenShard:
        name = f"{split}/{layout.shard_path(number)}"
        try:
            fd = self._directory.open(name)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            # Other stores of this process hold files open too.
            self._shards.clear()
            fd = self._directory.open(name)
        return OpenShard(fd, layout, record)


@contextlib.contextmanager
def naming(path: Path, rows: range | None = None) -> Iterator[None]:
    """Say which file, and which rows depend on it, when reading it fails."""
    try:
        yield
    except (OSError, chunks.ChunkError) as error:
        raise unreadable(error, path, rows) from error


def unreadable(error: OSError | chunks.ChunkError, path: Path, rows: range | None) -> StoreError:
    """What to tell the user of a file that cannot be read."""
    if isinstance(error, chunks.ChunkError):
        return damaged(path, f"the file {error}", rows)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return damaged(path, "the file is missing", rows)
    return StoreError(
        f"cannot read the store: {error.strerror or error}",
        where=_place(path, rows),
        cause="this says nothing of the file: the machine, or a permission, is in the way",
        next_command="mend the cause, then run the same command again",
    )


def damaged(path: Path, what: str, rows: range | None = None) -> StoreError:
    """A file of the store is not what was written."""
    return StoreError(
        f"the store is damaged: {what}",
        where=_place(path, rows),
        cause="it was deleted, cut or altered after it was written",
        next_command=f"run `cli.py verify --repair {_store_of(path)}`",
    )


def _store_of(path: Path) -> Path:
    """The store that a file belongs to."""
    return next((f for f in (path, *path.parents) if (f / MANIFEST_NAME).is_file()), path)


def _place(path: Path, rows: range | None) -> str:
    return f"{path}, rows {rows.start} to {rows.stop - 1}" if rows else str(path)
