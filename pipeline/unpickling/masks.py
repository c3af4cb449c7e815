"""Masks in all their spellings, as COCO's compressed run lengths."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from pipeline.unpickling.annotations import Examples
from pipeline.unpickling.arrays import INTEGERS, decode_one
from pipeline.unpickling.fields import readings
from pipeline.unpickling.run_lengths import runs_fill

_LARGEST_SIDE = 1 << 16
_LARGEST_AREA = 1 << 29  # half a gigapixel: no run needs more than six characters
_MOST_COUNTS = 1 << 24


@dataclass(frozen=True, slots=True)
class MaskColumns:
    """Attributes:
    reading: uint8 (N,), `Reading` codes. A path instead of a mask (written before cropping)
        counts as ABSENT.
    size: int32 (N, 2), height and width; zeros unless READ.
    counts: N compressed run-length strings, empty unless READ; the runs add up to the size.
    """

    reading: npt.NDArray[np.uint8]
    size: npt.NDArray[np.int32]
    counts: list[bytes]


def mask_columns(examples: Examples) -> MaskColumns:
    """`mask` of each example: counts, zcounts, ucounts, one-element list, RLEMask or 2D array."""
    values = [_unwrapped(value) for value in examples.column("mask")]
    encoded = [None if value is None else _encoded(value) for value in values]
    sizes = np.array([(0, 0) if pair is None else pair[0] for pair in encoded], dtype=np.int32)
    sizes = sizes.reshape(-1, 2)
    counts = [b"" if pair is None else pair[1] for pair in encoded]
    # Where there is no mask, the area is zero and the (empty) runs are refused.
    read = runs_fill(counts, sizes.astype(np.int64).prod(axis=1))
    if not read.all():
        sizes[~read] = 0
        counts = [text if ok else b"" for text, ok in zip(counts, read.tolist(), strict=True)]
    return MaskColumns(reading=readings(values, read), size=sizes, counts=counts)


def _unwrapped(value: Any) -> Any:
    """A mask out of its one-element list; a path instead of a mask is none."""
    if type(value) is list and len(value) == 1:
        value = value[0]
    return None if type(value) is str else value


def _encoded(value: Any) -> tuple[tuple[int, int], bytes] | None:
    """Size and compressed counts, not yet checked against each other; None if malformed."""
    if type(value) is not dict:
        return _encode_image(value)
    counts, size = value.get("counts"), _size(value.get("size"))
    if size is None:
        return None
    if type(counts) is bytes:
        return size, counts
    if counts is None and "zcounts" in value:
        counts = _inflated(value["zcounts"], size)
    elif counts is None and "ucounts" in value:
        counts = value["ucounts"]
    if type(counts) is str:
        counts = counts.encode("ascii", "replace")
    if type(counts) is bytearray:
        counts = bytes(counts)
    if type(counts) is not bytes:
        counts = _compressed(counts, size)
    return None if counts is None else (size, counts)


def _size(value: Any) -> tuple[int, int] | None:
    if type(value) in (list, tuple) and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int:
            fits = 0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE
            return (height, width) if fits and height * width <= _LARGEST_AREA else None
    array = decode_one(value, kinds=INTEGERS)
    if array is None or array.shape != (2,):
        return None
    return _size(array.tolist())


def _inflated(packed: Any, size: tuple[int, int]) -> bytes | None:
    """`zcounts`, but never more than the busiest mask of this size could need."""
    if type(packed) is str:
        packed = packed.encode("latin1", "replace")
    if type(packed) not in (bytes, bytearray):
        return None
    most = min(2 * size[0] * size[1] + 16, _MOST_COUNTS)
    inflater = zlib.decompressobj()
    try:
        counts = inflater.decompress(packed, most)
    except zlib.error:
        return None
    return counts if inflater.eof and not inflater.unused_data else None


def _compressed(runs: Any, size: tuple[int, int]) -> bytes | None:
    """Uncompressed run lengths (a list or an array) as compressed ones."""
    array = decode_one(runs, kinds=INTEGERS)
    if array is None or array.ndim != 1 or array.size == 0:
        return None
    area = size[0] * size[1]
    if array.min() < 0 or array.max() > area or array.sum(dtype=np.float64) != area:
        return None
    encoded = coco_mask.frPyObjects({"size": list(size), "counts": array.tolist()}, *size)
    counts: bytes = encoded["counts"]
    return counts


def _encode_image(value: Any) -> tuple[tuple[int, int], bytes] | None:
    """A mask that is still a 2D array: foreground where not zero."""
    array = decode_one(value, kinds="biuf")
    if array is None or array.ndim != 2:
        return None
    size = _size(list(array.shape))
    if size is None:
        return None
    encoded = coco_mask.encode(np.asfortranarray(array != 0).view(np.uint8))
    counts: bytes = encoded["counts"]
    return size, counts
