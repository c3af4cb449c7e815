"""One inner chunk of a shard: bytes, zstd, crc32c, as Zarr v3 lays them out.

Two ways to make the zstd frame of a chunk, both readable by any zstd decoder:

* `encode_chunk` compresses;
* `encode_padded_file` frames a file that is compressed already (a JPEG) as raw blocks and its zero
  padding as run-length blocks of three bytes and one: it costs a copy of the file, whatever the
  width of the row, and its bytes do not depend on the version of the compressor.
"""

from __future__ import annotations

import struct
import threading

import google_crc32c
import zstandard

ZSTD_LEVEL = 1
CRC_BYTES = 4

_MAGIC = 0xFD2FB528
_SINGLE_SEGMENT_8_BYTE_SIZE = (
    0xE0  # frame header: one segment, content size in 8 bytes, no checksum
)
_HEADER = struct.Struct("<IBQ")
_BLOCK_BYTES = 128 * 1024  # the largest block the format allows
_RAW, _RUN_LENGTH = 0, 1

_thread = threading.local()


class ChunkError(ValueError):
    """A chunk whose bytes are not what was written."""


def encode_chunk(data: bytes) -> bytes:
    """Compress `data` and append the CRC-32C of the frame."""
    return with_crc(_compressor().compress(data))


def decode_chunk(stored: bytes, size: int) -> bytes:
    """Check the CRC-32C of a stored chunk and decompress it to exactly `size` bytes.

    Raises:
        ChunkError: the checksum does not match or the frame is not of that size.
    """
    frame = check_crc(stored)
    try:
        data: bytes = _decompressor().decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ChunkError(f"does not decompress: {error}") from error
    if len(data) != size:
        raise ChunkError(f"decompresses to {len(data)} bytes, expected {size}")
    return data


def encode_padded_file(data: bytes, width: int) -> list[bytes]:
    """Frame `data` followed by zeros up to `width` bytes, without compressing it.

    Returns:
        The parts of the stored chunk, CRC-32C last; joined, they decode to `width` bytes.
    """
    if len(data) > width:
        raise ValueError(f"{len(data)} bytes do not fit into a row of {width}")
    parts = [_HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, width)]
    n_padding = width - len(data)
    for start in range(0, len(data), _BLOCK_BYTES):
        piece = data[start : start + _BLOCK_BYTES]
        is_last = n_padding == 0 and start + _BLOCK_BYTES >= len(data)
        parts += [_block_header(_RAW, len(piece), is_last=is_last), piece]
    while n_padding:
        length = min(n_padding, _BLOCK_BYTES)
        n_padding -= length
        parts += [_block_header(_RUN_LENGTH, length, is_last=n_padding == 0), b"\0"]
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    parts.append(crc.to_bytes(CRC_BYTES, "little"))
    return parts


def decode_padded_file(stored: bytes, length: int) -> bytes:
    """The first `length` bytes of a padded file's row, CRC-32C checked, padding not produced.

    Raises:
        ChunkError: the checksum does not match or the frame is shorter.
    """
    frame = check_crc(stored)
    if 0 < length <= _BLOCK_BYTES and len(frame) > _HEADER.size + 3 + length:
        magic, descriptor, _ = _HEADER.unpack_from(frame)
        first = int.from_bytes(frame[_HEADER.size : _HEADER.size + 3], "little")
        if (
            magic == _MAGIC
            and descriptor == _SINGLE_SEGMENT_8_BYTE_SIZE
            and first >> 1 == (length << 2 | _RAW)
        ):
            return frame[_HEADER.size + 3 : _HEADER.size + 3 + length]
    try:
        with _decompressor().stream_reader(frame) as reader:
            data = bytes(reader.read(length))
    except zstandard.ZstdError as error:
        raise ChunkError(f"does not decompress: {error}") from error
    if len(data) != length:
        raise ChunkError(f"holds {len(data)} bytes, expected {length}")
    return data


def with_crc(data: bytes) -> bytes:
    """`data` followed by its CRC-32C, little endian."""
    crc: int = google_crc32c.value(data)
    return data + crc.to_bytes(CRC_BYTES, "little")


def check_crc(stored: bytes) -> bytes:
    """The bytes before the CRC-32C at the end, which must be theirs.

    Raises:
        ChunkError: they are not.
    """
    if len(stored) < CRC_BYTES:
        raise ChunkError("is shorter than its checksum")
    data, crc = stored[:-CRC_BYTES], int.from_bytes(stored[-CRC_BYTES:], "little")
    if google_crc32c.value(data) != crc:
        raise ChunkError("does not match its CRC-32C")
    return data


def _block_header(kind: int, size: int, *, is_last: bool) -> bytes:
    return (int(is_last) | kind << 1 | size << 3).to_bytes(3, "little")


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_thread, "compressor"):
        _thread.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    compressor: zstandard.ZstdCompressor = _thread.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_thread, "decompressor"):
        _thread.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _thread.decompressor
    return decompressor
