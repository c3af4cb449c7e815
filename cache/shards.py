"""A shard file: inner chunks one after the other, then the index of where each lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cache import chunks
from cache import syscalls as seam
from cache.layout import ColumnLayout

EMPTY = 2**64 - 1  # offset and length of a chunk that holds only the fill value
_ENTRY_BYTES = 16
_FLUSH_BYTES = 1 << 22

Index = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What the manifest says of a shard file."""

    length: int
    digest: str  # SHA-256, hexadecimal


class ShardWriter:
    """Writes one shard front to back, chunk after chunk, into a new file; syncs it at the end.

    A shard of nothing but fill values leaves no file behind.
    """

    def __init__(self, path: Path, layout: ColumnLayout) -> None:
        self._path = path
        self._index: Index = np.full((layout.n_chunks, 2), EMPTY, dtype="<u8")
        self._position = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._digest = hashlib.sha256()
        self._fd: int | None = None

    def put(self, chunk: int, parts: Sequence[bytes]) -> None:
        """Append the stored bytes of inner chunk number `chunk`."""
        length = sum(map(len, parts))
        self._index[chunk] = self._position, length
        self._position += length
        self._pending.extend(parts)
        self._pending_bytes += length
        if self._pending_bytes >= _FLUSH_BYTES:
            self._flush()

    def finish(self) -> ShardRecord | None:
        """Write the index, sync and close. None if there was nothing but fill values."""
        if self._position == 0:
            return None
        index = chunks.with_crc(self._index.tobytes())
        self._pending.append(index)
        self._position += len(index)
        self._flush()
        assert self._fd is not None
        seam.syscalls.fsync(self._fd)
        self.close()
        return ShardRecord(self._position, self._digest.hexdigest())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush(self) -> None:
        if self._fd is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = seam.syscalls.create(self._path)
        data = b"".join(self._pending)
        seam.syscalls.write(self._fd, [data])
        self._digest.update(data)
        self._pending.clear()
        self._pending_bytes = 0


def write_shard(
    path: Path, layout: ColumnLayout, rows: npt.NDArray[np.generic]
) -> ShardRecord | None:
    """Write a shard from at most `layout.shard_rows` rows; rows that are missing are fill values.

    Args:
        path: of the new file.
        rows: (n, *layout.row_shape).

    Returns:
        The record for the manifest, None if every value is the fill value (then no file is made).
    """
    writer = ShardWriter(path, layout)
    try:
        fill = np.asarray(layout.fill, dtype=layout.dtype)
        rows = np.ascontiguousarray(rows, dtype=layout.dtype)
        for chunk, start in enumerate(range(0, len(rows), layout.chunk_rows)):
            part = rows[start : start + layout.chunk_rows]
            if (part == fill).all():
                continue
            if len(part) < layout.chunk_rows:
                padded = np.full((layout.chunk_rows, *layout.row_shape), fill, dtype=layout.dtype)
                padded[: len(part)] = part
                part = padded
            writer.put(chunk, [chunks.encode_chunk(part.tobytes())])
        return writer.finish()
    finally:
        writer.close()


def index_bytes(layout: ColumnLayout) -> int:
    """Length of the index with its checksum, at the end of the file."""
    return layout.n_chunks * _ENTRY_BYTES + chunks.CRC_BYTES


def parse_index(stored: bytes, shard_length: int) -> Index:
    """Check and decode a shard's index.

    Args:
        stored: the last `index_bytes` bytes of the file.
        shard_length: length of the whole file.

    Returns:
        uint64 (n_chunks, 2): offset and length of each inner chunk, `EMPTY` twice where absent.

    Raises:
        ChunkError: the checksum does not match or an entry points outside the file.
    """
    index = np.frombuffer(chunks.check_crc(stored), dtype="<u8").reshape(-1, 2)
    present = index[index[:, 0] != EMPTY]
    end_of_chunks = shard_length - len(stored)
    if present.size and int((present[:, 0] + present[:, 1]).max()) > end_of_chunks:
        raise chunks.ChunkError("has an index that points outside the file")
    return index


def digest(data: bytes) -> str:
    """SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
