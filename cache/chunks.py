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

import itertools
import struct
import threading
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zstandard

ZSTD_LEVEL = 1
CRC_BYTES = 4
_MIN_MATCH = 7
_TRIED = 8  # of so many chunks, the first decides whether to try compressing the others
ENCODER = (
    f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))} level {ZSTD_LEVEL}, "
    f"matches from {_MIN_MATCH}, raw over 7/8 by {_TRIED}, zeros at row ends run-length, "
    "equal files of a shard once"
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
_LEAST_BUFFER_BYTES = 1 << 19
_CRC_OFFSETS = np.arange(CRC_BYTES)
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
    if stored.startswith(_FRAME_START) and _raw_bytes(stored) == size:
        return memoryview(stored)[_RAW_START : _RAW_START + size]
    try:
        data: bytes = workspace().decompressor.decompress(
            stored, max_output_size=size, allow_extra_data=True
        )
    except zstandard.ZstdError as error:
        raise ChunkError(f"does not decompress: {error}") from error
    if len(data) != size:
        raise ChunkError(f"decompresses to {len(data)} bytes, expected {size}")
    return data


def decode_run(
    data: npt.NDArray[np.uint8],
    places: npt.NDArray[np.integer[Any]],
    size: int,
    out: npt.NDArray[np.uint8],
) -> tuple[int, ChunkError] | None:
    """Decode many chunks, one after the other, into a buffer.

    Every checksum is checked, the chunks' sizes together: a chunk with a right checksum and another
    size, which no damage makes, is noticed by the sum.

    Args:
        data: (m,) stored bytes, that all places lie in.
        places: (n, 2) offset and length of each chunk in them; a length of 0 leaves its part of
            `out`.
        size: decoded bytes of each.
        out: (n * size,) contiguous.

    Returns:
        The number of the first chunk that is damaged, and how; None if none is.
    """
    lengths = places[:, 1]
    numbers = np.flatnonzero(lengths)
    everything = len(numbers) == len(places)
    if not everything:
        if not len(numbers):
            return None
        places = places[numbers]
        lengths = places[:, 1]
    if int(lengths.min()) <= CRC_BYTES:
        return int(numbers[lengths.argmin()]), ChunkError("is shorter than its checksum")
    starts = places[:, 0]
    ends = starts + lengths - CRC_BYTES
    frames = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    crcs = np.fromiter(map(google_crc32c.value, frames), "<u4", len(frames))
    stored_crcs = data[ends[:, np.newaxis] + _CRC_OFFSETS].view("<u4")[:, 0]
    if crcs.tobytes() != stored_crcs.tobytes():
        wrong = np.flatnonzero(crcs != stored_crcs)[0]
        return int(numbers[wrong]), ChunkError("does not match its CRC-32C")
    # Runs of chunks that are all there: neighbours in `out` as they are in `frames`.
    gaps = [] if everything else (np.flatnonzero(np.diff(numbers) > 1) + 1).tolist()
    breaks = [0, *gaps, len(frames)]
    for first, stop in itertools.pairwise(breaks):
        start = int(numbers[first]) * size
        part = out[start : start + (stop - first) * size]
        reason = _decompress_into(part, frames[first:stop])
        if reason is not None:
            damaged, error = _first_damaged(frames[first:stop], size, reason)
            return int(numbers[first + damaged]), error
    return None


def _decompress_into(
    out: npt.NDArray[np.uint8], frames: Sequence[npt.NDArray[np.uint8]]
) -> str | None:
    """Fill a buffer with what zstd frames hold; why that failed, None if it did not."""
    # One call for all, in place: calls and copies are what costs, and other threads run meanwhile.
    together = workspace().buffer("frames", sum(map(len, frames)))
    np.concatenate(frames, out=together)
    reader = workspace().decompressor.stream_reader(together.data, read_across_frames=True)
    try:
        length = reader.readinto(out)
        is_more = reader.readinto(bytearray(1))
    except zstandard.ZstdError as error:
        return str(error)
    return None if length == out.size and not is_more else "is of another size"


def _first_damaged(
    frames: Sequence[npt.NDArray[np.uint8]], size: int, reason: str
) -> tuple[int, ChunkError]:
    for number, frame in enumerate(frames):
        try:
            decode_chunk(with_crc(frame.tobytes()), size)
        except ChunkError as error:
            return number, error
    return 0, ChunkError(f"does not decompress: {reason}")


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
        with workspace().decompressor.stream_reader(memoryview(stored)[:-CRC_BYTES]) as reader:
            data = bytes(reader.read(length))
    except zstandard.ZstdError as error:
        raise ChunkError(f"does not decompress: {error}") from error
    if len(data) != length:
        raise ChunkError(f"holds {len(data)} bytes, expected {length}")
    return data


class Workspace:
    """What a thread decodes with: memory and a decompressor that are used again and again.

    Fresh memory costs more than what is done with it here: the kernel clears every page.
    """

    __slots__ = ("_buffers", "decompressor")

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
        self._buffers: dict[str, npt.NDArray[np.uint8]] = {}

    def buffer(self, name: str, size: int) -> npt.NDArray[np.uint8]:
        """`size` bytes, the same ones whenever that name is asked for."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(max(size, _LEAST_BUFFER_BYTES), np.uint8)
        return buffer[:size]


def workspace() -> Workspace:
    """The workspace of this thread."""
    try:
        found: Workspace = _thread.workspace
    except AttributeError:
        found = _thread.workspace = Workspace()
    return found


def set_workspace(space: Workspace) -> None:
    """Let this thread decode with a workspace that another one has no use for any more."""
    _thread.workspace = space


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
