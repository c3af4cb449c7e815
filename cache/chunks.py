"""One inner chunk of a shard: bytes, zstd, crc32c, as Zarr v3 lays them out.

Two ways to make the zstd frame of a chunk, both readable by any zstd decoder:

* compressed, where that saves at least an eighth;
* as raw blocks, for what does not compress (coordinates) or is compressed already (a JPEG). Zero
  padding at the end becomes run-length blocks of four bytes, so a row costs its file, however wide
  it is. Reading back is a slice, and the bytes do not depend on the version of the compressor.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence

import google_crc32c
import zstandard

ZSTD_LEVEL = 1
CRC_BYTES = 4
ENCODER = f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))} level {ZSTD_LEVEL}, raw over 7/8"

_MAGIC = 0xFD2FB528
# Frame header: one segment, content size in 8 bytes, no checksum.
_SINGLE_SEGMENT_8_BYTE_SIZE = 0xE0
_HEADER = struct.Struct("<IBQ")
_BLOCK_HEADER_BYTES = 3
_RAW_START = _HEADER.size + _BLOCK_HEADER_BYTES
_FRAME_START = _HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, 0)[:5]
_BLOCK_BYTES = 128 * 1024  # the largest block the format allows
_RAW, _RUN_LENGTH = 0, 1
# The CRC-32C of anything followed by its own CRC-32C: checks without cutting the bytes in two.
_CRC_RESIDUE = 0x48674BC7

_thread = threading.local()


class ChunkError(ValueError):
    """A chunk whose bytes are not what was written."""


def encode_chunk(data: bytes) -> bytes:
    """The stored bytes of `data`: compressed where that pays, CRC-32C last."""
    frame = _compressor().compress(data)
    if len(frame) <= len(data) * 7 // 8:
        return with_crc(frame)
    return b"".join(encode_padded_file(data, len(data)))


def decode_chunk(stored: bytes, size: int) -> bytes | memoryview:
    """Check the CRC-32C of a stored chunk and return the `size` bytes that it holds.

    Raises:
        ChunkError: the checksum does not match or the frame is not of that size.
    """
    check_crc(stored)
    if _raw_bytes(stored) == size:
        return memoryview(stored)[_RAW_START : _RAW_START + size]
    try:
        data: bytes = _decompressor().decompress(
            stored, max_output_size=size, allow_extra_data=True
        )
    except zstandard.ZstdError as error:
        raise ChunkError(f"does not decompress: {error}") from error
    if len(data) != size:
        raise ChunkError(f"decompresses to {len(data)} bytes, expected {size}")
    return data


def decode_run(
    data: bytes, places: Sequence[tuple[int, int]], size: int, out: memoryview
) -> tuple[int, ChunkError] | None:
    """Decode many chunks, one after the other, into a buffer.

    Args:
        data: stored bytes.
        places: offset and length of each chunk in them; a length of 0 leaves its part of `out`.
        size: decoded bytes of each.
        out: as long as all chunks decoded.

    Returns:
        The number of the first chunk that is damaged, and how; None if none is.
    """
    crc, decompress = google_crc32c.value, _decompressor().decompress
    raw_end = _RAW_START + size
    raw_start = _HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, size)
    raw_start += _block_header(_RAW, size, is_last=True)
    position = 0
    for number, (offset, length) in enumerate(places):
        end = position + size
        if length:
            stored = data[offset : offset + length]
            if crc(stored) != _CRC_RESIDUE or len(stored) < length:
                return number, ChunkError("does not match its CRC-32C")
            if stored.startswith(raw_start):
                out[position:end] = stored[_RAW_START:raw_end]
            else:
                try:
                    out[position:end] = decompress(stored, size, allow_extra_data=True)
                except (zstandard.ZstdError, ValueError) as error:
                    return number, ChunkError(f"does not decompress: {error}")
        position = end
    return None


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
    check_crc(stored)
    if length and _raw_bytes(stored) == length:
        return stored[_RAW_START : _RAW_START + length]
    try:
        with _decompressor().stream_reader(memoryview(stored)[:-CRC_BYTES]) as reader:
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


def check_crc(stored: bytes) -> None:
    """Bytes must end with the CRC-32C of those before.

    Raises:
        ChunkError: they do not.
    """
    if len(stored) < CRC_BYTES:
        raise ChunkError("is shorter than its checksum")
    if google_crc32c.value(stored) != _CRC_RESIDUE:
        raise ChunkError("does not match its CRC-32C")


def _raw_bytes(stored: bytes) -> int:
    """Length of the first block of a frame of ours if it is raw and all there, else -1."""
    if not stored.startswith(_FRAME_START) or len(stored) < _RAW_START:
        return -1
    header = int.from_bytes(stored[_HEADER.size : _RAW_START], "little")
    length = header >> 3
    if header >> 1 & 3 != _RAW or len(stored) < _RAW_START + length + CRC_BYTES:
        return -1
    return length


def _block_header(kind: int, size: int, *, is_last: bool) -> bytes:
    return (int(is_last) | kind << 1 | size << 3).to_bytes(_BLOCK_HEADER_BYTES, "little")


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
