"""Check COCO's compressed run lengths, many masks at a time.

Each number is a run of characters of six bits each, '0' and up: five bits of the number, lowest
first, and one that says whether more follow; the highest of the five bits of the last character
extends the sign. From a mask's fourth number on, what stands is the difference to the number
before the previous one. Background and foreground take turns, background first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WIDEST_NUMBER = 6  # characters: 30 bits
# Last characters as signed numbers of five bits (the sign bit flipped, then its weight taken off);
# the others are left out.
_SIGNED = bytes(((((code - 48) & 31) ^ 16) - 16) % 256 for code in range(256))
_CONTINUED = bytes(range(48 + 32, 48 + 64))
_CHUNK_BYTES = 1 << 18  # pieces that stay in the processor's cache


def runs_fill(counts: Sequence[bytes], areas: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether compressed run lengths are well-formed and add up to the area of their mask.

    Decoders of such strings trust them, down to writing beyond the end of the mask.

    Args:
        counts: N strings in COCO's encoding.
        areas: int64 (N,), height × width.

    Returns:
        bool (N,).
    """
    present = np.fromiter(map(bool, counts), dtype=np.bool_, count=len(counts))
    fine = np.zeros(len(counts), dtype=np.bool_)
    if not present.all():
        rows = np.flatnonzero(present)
        fine[rows] = runs_fill([counts[i] for i in rows.tolist()], areas[rows])
        return fine
    ends = np.cumsum(np.fromiter(map(len, counts), dtype=np.int64, count=len(counts)))
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK_BYTES, side="right")))
        fine[start:stop] = _check(counts[start:stop], areas[start:stop])
        start = stop
    return fine


def _check(counts: Sequence[bytes], areas: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """`runs_fill` for a piece: all at once if the strings are well-formed, else one by one."""
    totals = _totals(counts)
    if totals is not None:
        return np.equal(totals, areas)
    if len(counts) == 1:
        return np.zeros(1, dtype=np.bool_)
    each = [_check(counts[i : i + 1], areas[i : i + 1]) for i in range(len(counts))]
    return np.concatenate(each)


def _totals(counts: Sequence[bytes]) -> npt.NDArray[np.int64] | None:
    """Sum of the runs of each mask; None if any mask is not a sequence of possible runs."""
    lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
    characters = b"".join(counts)
    bits = np.frombuffer(characters, np.uint8) - np.uint8(ord("0"))  # below '0' wraps
    if bits.max() >= 64:
        return None
    is_end = bits < 32
    mask_ends = np.cumsum(lengths)
    if not is_end[mask_ends - 1].all():
        return None
    continued = np.flatnonzero(~is_end)  # few: most numbers are a single character
    numbers = np.frombuffer(characters.translate(_SIGNED, _CONTINUED), np.int8).astype(np.int64)
    if not _widen(numbers, bits, continued):
        return None
    stops = mask_ends - np.searchsorted(continued, mask_ends)  # of each mask, among the numbers
    starts = np.concatenate([[0], stops[:-1]])

    first = numbers[starts]
    numbers[starts] = 0  # a mask's first number begins no chain of differences
    if first.min() < 0:
        return None
    totals: npt.NDArray[np.int64] = first
    for parity in (0, 1):
        # Every other number of the piece: one chain of differences per mask. Their running sum
        # goes on across masks, so what it had reached before each mask is taken off.
        sums = np.cumsum(numbers[parity::2])
        if not sums.size:
            continue
        chain_starts = (starts + (1 - parity)) // 2
        chain_lengths = (stops + (1 - parity)) // 2 - chain_starts
        reached = np.where(chain_starts > 0, sums[chain_starts - 1], 0)
        runs = np.zeros(len(sums) + 1, dtype=np.int64)  # one more, where empty chains may point
        np.subtract(sums, np.repeat(reached, chain_lengths), out=runs[:-1])
        if runs.min() < 0:
            return None
        # For an empty chain, reduceat gives a neighbour's number.
        chain_sums = np.add.reduceat(runs, chain_starts)
        totals += np.where(chain_lengths > 0, chain_sums, 0)
    return totals


def _widen(
    numbers: npt.NDArray[np.int64], bits: npt.NDArray[np.uint8], continued: npt.NDArray[np.intp]
) -> bool:
    """Add the lower characters to those numbers that have any; False if one is too wide.

    Args:
        numbers: int64 (M,), of their last characters alone; changed in place.
        bits: uint8 (characters,), six bits of each.
        continued: characters that are not the last of their number.
    """
    if not continued.size:
        return True
    ends = continued[bits[continued + 1] < 32] + 1  # of the wide numbers, in characters
    places_before = np.searchsorted(continued, ends)
    widths = 1 + np.diff(places_before, prepend=0)
    if widths.max() > _WIDEST_NUMBER:
        return False
    wide = ends - places_before
    values = numbers[wide] << (5 * (widths - 1))
    for place in range(1, int(widths.max())):
        longer = widths > place
        digits = bits[ends[longer] - place].astype(np.int64) & 31
        values[longer] += digits << (5 * (widths[longer] - 1 - place))
    numbers[wide] = values
    return True
