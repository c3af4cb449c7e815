"""Is this a whole picture? Told from the file's structure, at a fraction of the cost of decoding.

Damage inside the compressed data of a JPEG cannot be seen by decoders either; files that were cut,
emptied, garbled or are something else altogether are recognised.
"""

from __future__ import annotations

import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
MAX_SIDE = 65_500  # what libjpeg takes
MAX_PIXELS = 1 << 28  # more is a decompression bomb, not a photograph

# Start-of-frame markers: all but DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PARAMETERLESS = frozenset({0x01, *range(0xD0, 0xD8)})


class BrokenImageError(ValueError):
    """The bytes are not a whole JPEG or PNG."""


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a JPEG or PNG file that is whole.

    Raises:
        BrokenImageError: it is cut, garbled, of another format or absurdly large.
    """
    if not data:
        raise BrokenImageError("the file is empty")
    if data.startswith(JPEG_SIGNATURE):
        width, height = _jpeg_size(data)
    elif data.startswith(PNG_SIGNATURE):
        width, height = _png_size(data)
    else:
        raise BrokenImageError("the file is neither JPEG nor PNG")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise BrokenImageError(f"a picture of {width} x {height} pixels is not believable")
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size = None
    position = 2
    while True:
        if position + 4 > len(data) or data[position] != 0xFF:
            raise BrokenImageError("the JPEG is cut or garbled in its headers")
        marker = data[position + 1]
        if marker == 0xFF or marker in _PARAMETERLESS:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _START_OF_FRAME:
            if length < 8 or position + 9 > len(data):
                raise BrokenImageError("the JPEG is garbled in its frame header")
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        position += 2 + length
        if marker == _START_OF_SCAN:
            break
        if marker == _END_OF_IMAGE or length < 2:
            raise BrokenImageError("the JPEG ends before its first scan")
    if size is None:
        raise BrokenImageError("the JPEG has no frame header")
    # Cameras and editors append bytes after the end marker, decoders ignore them.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise BrokenImageError("the JPEG is cut: it has no end marker")
    return size


def _png_size(data: bytes) -> tuple[int, int]:
    size = None
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BrokenImageError(f"the PNG chunk at byte {position} does not match its checksum")
        if kind == b"IHDR" and length >= 8:
            size = struct.unpack_from(">II", data, position + 8)
        if kind == b"IEND":
            if size is None:
                raise BrokenImageError("the PNG has no header chunk")
            return size
        position = end
    raise BrokenImageError("the PNG is cut: it has no end chunk")
