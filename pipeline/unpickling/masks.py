"""Masks in all their spellings, as COCO's compressed run lengths."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from pipeline.unpickling.annotations import Attributes
from pipeline.unpickling.arrays import INTEGERS, decode_one, flags_per_run, ranges
from pipeline.unpickling.fields import column, readings

_LARGEST_SIDE = 1 << 16
_LARGEST_AREA = 1 << 29  # half a gigapixel; every run fits six characters
_WIDEST_NUMBER = 6
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


def mask_columns(examples: Sequence[Attributes]) -> MaskColumns:
    """`mask` of each example: counts, zcounts, ucounts, one-element list, RLEMask or 2D array."""
    values = [_unwrapped(value) for value in column(examples, "mask")]
    size = np.zeros((len(values), 2), dtype=np.int32)
    counts = [b""] * len(values)
    read = np.zeros(len(values), dtype=np.bool_)
    for i, value in enumerate(values):
        if value is None:
            continue
        encoded = _encoded(value)
        if encoded is not None:
            size[i], counts[i] = encoded
            read[i] = True
    rows = np.flatnonzero(read)
    areas = size[rows].astype(np.int64).prod(axis=1)
    read[rows] = runs_fill([counts[i] for i in rows.tolist()], areas)
    size[~read] = 0
    return MaskColumns(
        reading=readings(values, read),
        size=size,
        counts=[text if ok else b"" for text, ok in zip(counts, read.tolist(), strict=True)],
    )


def runs_fill(
    counts: Sequence[bytes], areas: npt.NDArray[np.int64], *, chunk_bytes: int = 1 << 18
) -> npt.NDArray[np.bool_]:
    """Whether compressed run lengths are well-formed and add up to the area of their mask.

    Decoders of such strings trust them, down to writing beyond the end of the mask.

    Args:
        counts: N strings in COCO's encoding.
        areas: int64 (N,), height × width.

    Returns:
        bool (N,).
    """
    lengths = np.fromiter(map(len, counts), dtype=np.intp, count=len(counts))
    fine = np.zeros(len(counts), dtype=np.bool_)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(counts):  # in pieces that stay in the processor's cache
        limit = ends[start] - lengths[start] + chunk_bytes
        stop = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
        fine[start:stop] = _runs_fill(counts[start:stop], lengths[start:stop], areas[start:stop])
        start = stop
    return fine


def _runs_fill(
    counts: Sequence[bytes], lengths: npt.NDArray[np.intp], areas: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """`runs_fill` in one go.

    Each number is a run of characters of six bits each, '0' and up: five bits of the number,
    lowest first, and one that says whether more follow; the last of the five extends the sign.
    From the fourth number on, what stands is the difference to the number before the previous.
    """
    characters = np.frombuffer(b"".join(counts), np.uint8) - np.uint8(48)  # below '0' wraps
    continues = (characters & 32).astype(np.bool_)
    alphabet_ok = flags_per_run(characters > 63, lengths) == 0
    last = np.cumsum(lengths) - 1
    complete = np.zeros(len(counts), dtype=np.bool_)
    has_any = lengths > 0
    complete[has_any] = ~continues[last[has_any]]
    # Force an end of number at each end of mask, so that a bad mask cannot spill into the next.
    continues[last[has_any]] = False

    number_ends = np.flatnonzero(~continues)
    number_starts = np.empty_like(number_ends)
    number_starts[:1] = 0
    number_starts[1:] = number_ends[:-1] + 1
    widths = number_ends - number_starts + 1
    numbers = (characters[number_starts] & 31).astype(np.int64)
    for place in range(1, min(int(widths.max(initial=0)), _WIDEST_NUMBER)):
        longer = np.flatnonzero(widths > place)
        digits = (characters[number_starts[longer] + place] & 31).astype(np.int64)
        numbers[longer] += digits << (5 * place)
    negative = np.flatnonzero(characters[number_ends] & 16)
    numbers[negative] -= np.int64(1) << (5 * np.minimum(widths[negative], _WIDEST_NUMBER))

    numbers_before = np.searchsorted(number_ends, np.cumsum(lengths) - lengths)
    n_numbers = np.diff(np.append(numbers_before, len(number_ends)))
    too_wide = flags_per_run(widths > _WIDEST_NUMBER, n_numbers) > 0
    runs = _undo_differences(numbers, numbers_before, n_numbers)
    negative_runs = flags_per_run(runs < 0, n_numbers) > 0
    totals = np.concatenate([[0], np.cumsum(runs)])
    covered = totals[numbers_before + n_numbers] - totals[numbers_before]
    return cast(
        npt.NDArray[np.bool_],
        alphabet_ok & complete & ~too_wide & ~negative_runs & (covered == areas),
    )


def _undo_differences(
    numbers: npt.NDArray[np.int64], first: npt.NDArray[np.intp], n_numbers: npt.NDArray[np.intp]
) -> npt.NDArray[np.int64]:
    """Run lengths from differences at distance two, from each mask's fourth number on."""
    first = first[n_numbers > 0]
    n_numbers = n_numbers[n_numbers > 0]
    chained = numbers.copy()
    chained[first] = 0  # the first number begins no chain
    sums = np.empty_like(chained)
    sums[0::2] = np.cumsum(chained[0::2])
    sums[1::2] = np.cumsum(chained[1::2])
    # What the two running sums had reached before this mask began.
    even_base, odd_base = sums[first], np.where(first > 0, sums[first - 1], 0)
    position = ranges(np.zeros_like(first), n_numbers)
    before = np.where(
        position % 2 == 0, np.repeat(even_base, n_numbers), np.repeat(odd_base, n_numbers)
    )
    runs = sums - before
    runs[first] = numbers[first]
    return runs


def _unwrapped(value: Any) -> Any:
    """A mask out of its one-element list; a path instead of a mask is none."""
    if type(value) is list and len(value) == 1:
        value = value[0]
    return None if type(value) is str else value


def _encoded(value: Any) -> tuple[tuple[int, int], bytes] | None:
    """Size and compressed counts, not yet checked against each other; None if malformed."""
    if type(value) is not dict:
        return _encode_image(value)
    size = _size(value.get("size"))
    if size is None:
        return None
    counts = value.get("counts")
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
