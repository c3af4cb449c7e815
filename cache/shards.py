"""A shard file: inner chunks one after the other, their digest, then the index of where each lies.

    chunks ... | SHA-256 of the chunks | index: (offset, length) per chunk | CRC-32C of the index

Chunks with the same bytes may be there once, with as many entries that point to them.

Zarr ignores bytes that the index does not point to, so the digest is ours alone. It makes the last
part of the file, which is read when the shard is opened, tell one shard from any other: a shard in
another's place is noticed before a chunk is read.
"""

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
ENTRY_BYTES = 16
_DIGEST_BYTES = 32
_FLUSH_BYTES = 1 << 22

Index = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What the manifest says of a shard file.

    Attributes:
        length: in bytes.
        digest: SHA-256 of the file, hexadecimal.
        seal: the first 16 hexadecimal digits of the SHA-256 of its last `tail_bytes`.
    """

    length: int
    digest: str
    seal: str


class ShardWriter:
    """Writes one shard front to back, chunk after chunk, into a new file.

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

    def repeat(self, chunk: int, of: int) -> None:
        """Give inner chunk number `chunk` the bytes of chunk `of`, which was put before."""
        self._index[chunk] = self._index[of]

    def finish(self) -> ShardRecord | None:
        """Write the end of the file and close it. None if there was nothing but fill values."""
        if self._position == 0:
            return None
        self._flush()
        tail = self._digest.digest() + chunks.with_crc(self._index.tobytes())
        self._pending.append(tail)
        self._position += len(tail)
        self._flush()
        self.close()
        return ShardRecord(self._position, self._digest.hexdigest(), seal(tail))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._fd is None:
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
    data = np.ascontiguousarray(rows, dtype=layout.dtype).reshape(-1).view(np.uint8).tobytes()
    fill = np.full((layout.chunk_rows, *layout.row_shape), layout.fill, layout.dtype).tobytes()
    size = layout.chunk_bytes
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    if pieces:
        pieces[-1] += fill[len(pieces[-1]) :]
    kept = [chunk for chunk, piece in enumerate(pieces) if piece != fill]
    writer = ShardWriter(path, layout)
    try:
        stored = chunks.encode_chunks([pieces[chunk] for chunk in kept], layout.row_bytes)
        for chunk, part in zip(kept, stored, strict=True):
            writer.put(chunk, [part])
        return writer.finish()
    finally:
        writer.close()


def tail_bytes(layout: ColumnLayout) -> int:
    """Length of the end of a shard: the digest of its chunks and the index with its checksum."""
    return _DIGEST_BYTES + layout.n_chunks * ENTRY_BYTES + chunks.CRC_BYTES


def seal(tail: bytes) -> str:
    """What tells a shard from any other, from its last `tail_bytes`."""
    return hashlib.sha256(tail).hexdigest()[:16]


def parse_tail(tail: bytes, *, shard_length: int) -> bytes:
    """Check the end of a shard.

    Args:
        tail: its last `tail_bytes`.
        shard_length: length of the whole file.

    Returns:
        The index: offset and length of each inner chunk, uint64 little endian, `EMPTY` twice where
        there is none.

    Raises:
        ChunkError: the checksum does not match or an entry points outside the chunks.
    """
    index = tail[_DIGEST_BYTES:]
    chunks.check_crc(index)
    entries = np.frombuffer(index[: -chunks.CRC_BYTES], dtype="<u8").reshape(-1, 2)
    present = entries[entries[:, 0] != EMPTY]
    end = shard_length - len(tail)
    if present.size and (present.max() > end or int(present.sum(axis=1).max()) > end):
        raise chunks.ChunkError("has an index that points outside the file")
    return index[: -chunks.CRC_BYTES]


def shard_is_intact(path: Path, layout: ColumnLayout, record: ShardRecord) -> bool:
    """Whether a shard is what was written: by its seal and every chunk's CRC-32C.

    They cover every byte, as the digest does, at a fraction of its cost.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size != record.length:
            return False
        tail = os.pread(fd, tail_bytes(layout), record.length - tail_bytes(layout))
        if seal(tail) != record.seal:
            return False
        index = np.frombuffer(parse_tail(tail, shard_length=record.length), dtype="<u8")
        for offset, length in index.reshape(-1, 2).tolist():
            if offset != EMPTY:
                chunks.check_crc(os.pread(fd, length, offset))
    except chunks.ChunkError:
        return False
    finally:
        os.close(fd)
    return True


def digest(data: bytes) -> str:
    """SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
