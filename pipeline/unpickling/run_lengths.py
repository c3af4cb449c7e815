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
    lengths = np.fromiter(map(len, counts), dtype=np.intp, count=len(counts))
    characters = np.frombuffer(b"".join(counts), np.uint8)
    if characters.min() < ord("0") or characters.max() >= ord("0") + 64:
        return None
    is_continued = characters >= ord("0") + 32
    mask_ends = np.cumsum(lengths)
    if is_continued[mask_ends - 1].any():
        return None
    # Five bits of a character that is continued, unsigned; of one that is not, with its sign.
    has_high_bit = (characters >= ord("0") + 16).view(np.uint8)
    digits = (characters - np.uint8(ord("0")) - (has_high_bit << 5)).view(np.int8)
    values = digits.astype(np.int32)
    is_first = np.empty(len(characters), dtype=np.bool_)
    is_first[0] = True
    np.logical_not(is_continued[:-1], out=is_first[1:])
    if not _widen(values, is_continued, np.flatnonzero(is_continued & is_first)):
        return None
    firsts = np.flatnonzero(is_first)
    numbers = values.take(firsts)
    stops = np.searchsorted(firsts, mask_ends)  # of each mask, among the numbers
    starts = np.concatenate([[0], stops[:-1]])

    totals: npt.NDArray[np.int64] = numbers[starts].astype(np.int64)
    numbers[starts] = 0  # a mask's first number begins no chain of differences
    if totals.min() < 0:
        return None
    for parity in (0, 1):
        # Every other number of the piece: one chain of differences per mask.
        runs = np.array(numbers[parity::2])
        chain_starts = (starts + (1 - parity)) // 2
        chains = np.flatnonzero((stops + (1 - parity)) // 2 > chain_starts)
        if not chains.size:
            continue
        chain_starts = chain_starts[chains]
        # A running sum goes on across masks: what it has reached is taken off where one begins.
        runs[chain_starts[1:]] -= np.add.reduceat(runs, chain_starts)[:-1]
        # Numbers have 30 bits, so a sum that leaves int32 shows as negative the moment it does.
        np.add.accumulate(runs, out=runs)
        if runs.min() < 0:
            return None
        totals[chains] += np.add.reduceat(runs, chain_starts, dtype=np.int64)
    return totals


def _widen(
    values: npt.NDArray[np.int32],
    is_continued: npt.NDArray[np.bool_],
    firsts: npt.NDArray[np.intp],
) -> bool:
    """Add the higher characters to the first ones of those numbers that have any.

    Args:
        values: int32 (characters,), of each alone; changed in place.
        is_continued: bool (characters,); False for the last one.
        firsts: the first characters of the numbers that have several.

    Returns:
        False if a number is too wide.
    """
    at = firsts
    for place in range(1, _WIDEST_NUMBER):
        at = at + 1
        values[firsts] += values[at] << (5 * place)
        longer = np.flatnonzero(is_continued[at])
        if not longer.size:
            return True
        firsts, at = firsts[longer], at[longer]
    return False
