"""One inner chunk of a shard: bytes, zstd, crc32c, as Zarr v3 lays them out.

Two ways to make the zstd frame of a chunk, both readable by any zstd decoder:

* compressed, where that saves at least an eighth;
* as raw blocks, for what does not compress (coordinates) or is compressed already (a JPEG). Zeros
  at the end of a row become run-length blocks of four bytes, so a row costs its content, however
  wide it is. Reading back is copying, and the bytes do not depend on the compressor's version.

Matches are at least seven bytes long: on all columns together that is no larger than level 1's
five, and what is left to the entropy coder alone decompresses up to 1.8 times as fast.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
import zstandard

ZSTD_LEVEL = 1
CRC_BYTES = 4
_MIN_MATCH = 7
_TRIED = 8  # of so many chunks, the first decides whether to try compressing the others
ENCODER = (
    f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))} level {ZSTD_LEVEL}, "
    f"matches from {_MIN_MATCH}, raw over 7/8 by {_TRIED}, zeros at row ends run-length"
)

_MAGIC = 0xFD2FB528
# Frame header: one segment, content size in 8 bytes, no checksum.
_SINGLE_SEGMENT_8_BYTE_SIZE = 0xE0
_HEADER = struct.Struct("<IBQ")
_BLOCK_HEADER_BYTES = 3
_RAW_START = _HEADER.size + _BLOCK_HEADER_BYTES
_FRAME_START = _HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, 0)[:5]
_BLOCK_BYTES = 128 * 1024  # the largest block the format allows
_RAW, _RUN_LENGTH = 0, 1
_LEAST_ZEROS = 16  # fewer are not worth the headers of two more blocks
# The CRC-32C of anything followed by its own CRC-32C: checks without cutting the bytes in two.
_CRC_RESIDUE = 0x48674BC7

_thread = threading.local()


class ChunkError(ValueError):
    """A chunk whose bytes are not what was written."""


def encode_chunks(pieces: Sequence[bytes], row_bytes: int) -> list[bytes]:
    """The stored bytes of each piece: compressed where that pays, CRC-32C last.

    What they are depends on the pieces alone, not on who encodes them.

    Args:
        pieces: what the chunks of one column hold, of whole rows.
        row_bytes: length of a row.
    """
    stored = [b""] * len(pieces)
    leaders = range(0, len(pieces), _TRIED)
    others: list[int] = []
    for chunk, frame in zip(leaders, _compressed([pieces[i] for i in leaders]), strict=True):
        followers = range(chunk + 1, min(chunk + _TRIED, len(pieces)))
        if _pays(frame, pieces[chunk], row_bytes):
            stored[chunk] = with_crc(frame)
            others.extend(followers)
        else:
            for i in (chunk, *followers):
                stored[i] = with_crc(_raw_frame(pieces[i], row_bytes))
    for chunk, frame in zip(others, _compressed([pieces[i] for i in others]), strict=True):
        pays = _pays(frame, pieces[chunk], row_bytes)
        stored[chunk] = with_crc(frame if pays else _raw_frame(pieces[chunk], row_bytes))
    return stored


def _pays(frame: bytes, data: bytes, row_bytes: int) -> bool:
    """Whether a compressed frame is at least an eighth smaller than raw blocks."""
    if len(frame) * 4 <= len(data) or row_bytes <= _LEAST_ZEROS:
        return len(frame) <= len(data) * 7 // 8
    starts = range(0, len(data), row_bytes)
    content = sum(len(data[start : start + row_bytes].rstrip(b"\0")) for start in starts)
    return len(frame) <= content * 7 // 8


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
    crc = google_crc32c.value
    view = memoryview(data)
    raw_start = _HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, size)
    raw_start += _block_header(_RAW, size, is_last=True)
    packed: list[int] = []  # chunks that are more than one raw block
    for number, (offset, length) in enumerate(places):
        if length:
            stored = data[offset : offset + length]
            if len(stored) < length or length <= CRC_BYTES or crc(stored) != _CRC_RESIDUE:
                return number, ChunkError("does not match its CRC-32C")
            if stored.startswith(raw_start):
                start = offset + _RAW_START
                out[number * size : (number + 1) * size] = view[start : start + size]
            else:
                packed.append(number)
    return _decompress_all(data, [(n, *places[n]) for n in packed], size, out)


def _decompress_all(
    data: bytes, frames: Sequence[tuple[int, int, int]], size: int, out: memoryview
) -> tuple[int, ChunkError] | None:
    """The part of `decode_run` after the checksums: (number, offset, length) of each chunk."""
    if not frames:
        return None
    table = np.array(frames, dtype="<u8")
    segments = np.ascontiguousarray(table[:, 1:])
    segments[:, 1] -= CRC_BYTES
    try:
        # All in one call: for the small chunks of most columns, calls are what costs.
        decoded: Any = _decompressor().multi_decompress_to_buffer(
            zstandard.BufferWithSegments(data, segments.tobytes()),
            decompressed_sizes=np.full(len(frames), size, dtype="<u8").tobytes(),
            threads=1,
        )
    except (zstandard.ZstdError, ValueError) as error:
        return _first_damaged(data, frames, size, str(error))
    if frames[-1][0] - frames[0][0] == len(frames) - 1 and size < _BLOCK_BYTES // 32:
        start = frames[0][0] * size
        out[start : start + len(frames) * size] = b"".join(decoded)
    else:
        for (number, _, _), values in zip(frames, decoded, strict=True):
            out[number * size : (number + 1) * size] = memoryview(values)
    return None


def _first_damaged(
    data: bytes, frames: Sequence[tuple[int, int, int]], size: int, reason: str
) -> tuple[int, ChunkError]:
    for number, offset, length in frames:
        try:
            decode_chunk(data[offset : offset + length], size)
        except ChunkError as error:
            return number, error
    return frames[0][0], ChunkError(f"does not decompress: {reason}")


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


def _raw_frame(data: bytes, row_bytes: int) -> bytes:
    """Frame rows without compressing them, but for the zeros at their ends."""
    parts = [_HEADER.pack(_MAGIC, _SINGLE_SEGMENT_8_BYTE_SIZE, len(data))]
    done = 0  # bytes that are framed already
    most = row_bytes - _LEAST_ZEROS  # of content, for the zeros after it to be worth blocks
    for start in range(0, len(data) if most > 0 else 0, row_bytes):
        content = data[start : start + row_bytes].rstrip(b"\0")
        length = len(content)
        if length < most:
            stop = start + row_bytes
            if done == start and length and row_bytes <= _BLOCK_BYTES:
                zeros = _RUN_LENGTH << 1 | row_bytes - length << 3
                parts += (
                    (length << 3).to_bytes(_BLOCK_HEADER_BYTES, "little"), content,
                    zeros.to_bytes(_BLOCK_HEADER_BYTES, "little"), b"\0",
                )  # fmt: skip
            else:
                _add_blocks(parts, _RAW, data, done, start + length)
                _add_blocks(parts, _RUN_LENGTH, data, start + length, stop)
            done = stop
    _add_blocks(parts, _RAW, data, done, len(data))
    # The last block says that it is.
    parts[-2] = bytes([parts[-2][0] | 1]) + parts[-2][1:]
    return b"".join(parts)


def _add_blocks(parts: list[bytes], kind: int, data: bytes, start: int, stop: int) -> None:
    """Blocks of `data[start:stop]`, two parts each; none of them the last one of its frame."""
    while start < stop:
        end = stop if stop - start <= _BLOCK_BYTES else start + _BLOCK_BYTES
        parts.append((kind << 1 | end - start << 3).to_bytes(_BLOCK_HEADER_BYTES, "little"))
        parts.append(data[start:end] if kind == _RAW else b"\0")
        start = end


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


def _compressed(pieces: Sequence[bytes]) -> list[bytes]:
    """A zstd frame of each piece; all in one call, during which other threads can run."""
    if not pieces:
        return []
    frames: Any = _compressor().multi_compress_to_buffer(list(pieces), threads=1)
    return [frame.tobytes() for frame in frames]


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_thread, "compressor"):
        parameters = zstandard.ZstdCompressionParameters.from_level(
            ZSTD_LEVEL, min_match=_MIN_MATCH
        )
        _thread.compressor = zstandard.ZstdCompressor(compression_params=parameters)
    compressor: zstandard.ZstdCompressor = _thread.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_thread, "decompressor"):
        _thread.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _thread.decompressor
    return decompressor
