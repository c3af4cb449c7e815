"""Decode arrays in bulk, from the pieces that the stand-ins kept.

Nothing is ever handed to numpy's own unpickling. The pieces are checked against each other, then
the raw bytes of all arrays of one dtype and order are joined and decoded at once: a data set has
hundreds of thousands of small arrays of very few kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.standins import ArrayPieces, DType, ReconstructedArray

K = TypeVar("K", bound=Hashable)

NUMBERS = "fiu"
INTEGERS = "iu"

_RAW_TYPES = {bytes, bytearray, str}  # str: Python 2's bytes, read as latin-1
_PLAIN = DType.PLAIN | {order + code for code in DType.PLAIN for order in "<>|="}


def partition(keys: Sequence[K]) -> list[tuple[K, npt.NDArray[np.intp] | slice]]:
    """Where each distinct key stands, in order of first appearance; a full slice if all agree."""
    distinct = dict.fromkeys(keys)
    if len(distinct) == 1:
        return [(next(iter(distinct)), slice(None))]
    numbers = {key: number for number, key in enumerate(distinct)}
    codes = np.fromiter(map(numbers.__getitem__, keys), dtype=np.intp, count=len(keys))
    return [(key, np.flatnonzero(codes == number)) for key, number in numbers.items()]


def take(values: Sequence[Any], where: npt.NDArray[np.intp] | slice) -> Sequence[Any]:
    """`values[where]` for a list."""
    if isinstance(where, slice):
        return values
    return [values[i] for i in where.tolist()]


def pieces_of(value: object) -> ArrayPieces | None:
    """An array's pieces, checked against each other; None if this is not a well-formed array."""
    if type(value) is ReconstructedArray:
        if len(value) != 5:
            return None
        _, shape, dtype, is_fortran, raw = value
        pieces: tuple[Any, ...] = (raw, dtype, shape, "F" if is_fortran else "C")
    elif type(value) is tuple and len(value) == 4:
        pieces = value
    else:
        return None
    return cast(ArrayPieces, pieces) if _well_formed([pieces]) else None


def decode_one(value: object, *, kinds: str = NUMBERS) -> npt.NDArray[Any] | None:
    """One array of numbers, a list of numbers or a number; None if it is none of these."""
    pieces = pieces_of(value)
    if pieces is not None:
        raw, dtype, shape, order = pieces
        numpy_dtype = np.dtype(_dtype_name(dtype))
        if numpy_dtype.kind not in kinds or len(raw) != numpy_dtype.itemsize * math.prod(shape):
            return None
        return np.frombuffer(_as_bytes(raw), numpy_dtype).reshape(shape, order=order)
    if type(value) in (int, float):
        return _from_numbers([value], kinds=kinds, shape=())
    if type(value) not in (list, tuple):
        return None
    numbers = cast(Sequence[object], value)
    if any(type(number) not in (int, float) for number in numbers):
        # a list of numpy scalars, or garbage
        scalars = [pieces_of(number) for number in numbers]
        if any(scalar is None or scalar[2] != () for scalar in scalars):
            return None
        decoded = [decode_one(number, kinds=kinds) for number in numbers]
        if any(scalar is None for scalar in decoded):
            return None
        return np.array(decoded)
    return _from_numbers(numbers, kinds=kinds, shape=(len(numbers),))


def decode_fixed(
    values: Sequence[object], out: npt.NDArray[Any], *, kinds: str = NUMBERS
) -> npt.NDArray[np.bool_]:
    """Decode N arrays of one shape into `out`, casting to its dtype.

    Args:
        values: N pickled arrays (anything else is skipped).
        out: (N, *shape); rows that cannot be decoded are left alone.
        kinds: which kinds of numpy dtype to accept.

    Returns:
        bool (N,), True where a row was decoded.
    """
    shape = out.shape[1:]
    decoded = np.zeros(len(values), dtype=np.bool_)

    def place(where: npt.NDArray[np.intp], group: Sequence[ArrayPieces], key: _Key) -> None:
        dtype, order = key
        fits = [pieces[2] == shape for pieces in group]
        if not all(fits):
            where = where[np.array(fits)]
            group = [pieces for pieces, fit in zip(group, fits, strict=True) if fit]
        if not group:
            return
        flat = np.frombuffer(_join(group), dtype)
        if order == "C":
            rows = flat.reshape(len(group), *shape)
        else:
            axes = (0, *range(len(shape), 0, -1))
            rows = flat.reshape(len(group), *reversed(shape)).transpose(axes)
        with np.errstate(all="ignore"):
            out[where] = rows
        decoded[where] = True

    rest = _each_kind(values, place, kinds=kinds)
    for i in rest:
        array = decode_one(values[i], kinds=kinds)
        if array is not None and array.shape == shape:
            with np.errstate(all="ignore"):
                out[i] = array
            decoded[i] = True
    return decoded


def decode_ragged(
    values: Sequence[object],
    *,
    row_shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    kinds: str = NUMBERS,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Decode N arrays of shape (n_i, *row_shape), cast to `dtype`, one after the other.

    Returns:
        rows (sum of n_i, *row_shape), lengths intp (N,), decoded bool (N,); what cannot be
        decoded has length 0.
    """
    lengths = np.zeros(len(values), dtype=np.intp)
    decoded = np.zeros(len(values), dtype=np.bool_)
    blocks: list[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]] = []

    def place(where: npt.NDArray[np.intp], group: Sequence[ArrayPieces], key: _Key) -> None:
        numpy_dtype, order = key
        fits = [len(pieces[2]) > 0 and pieces[2][1:] == row_shape for pieces in group]
        if not all(fits):
            where = where[np.array(fits)]
            group = [pieces for pieces, fit in zip(group, fits, strict=True) if fit]
        if not group:
            return
        if order == "F" and row_shape:
            group = [_c_ordered(pieces, numpy_dtype) for pieces in group]
        lengths[where] = [pieces[2][0] for pieces in group]
        decoded[where] = True
        with np.errstate(all="ignore"):
            rows = np.frombuffer(_join(group), numpy_dtype).astype(dtype)
        blocks.append((where, rows.reshape(-1, *row_shape)))

    rest = _each_kind(values, place, kinds=kinds)
    for i in rest:
        array = decode_one(values[i], kinds=kinds)
        if array is not None and array.ndim > 0 and array.shape[1:] == row_shape:
            lengths[i] = len(array)
            decoded[i] = True
            with np.errstate(all="ignore"):
                blocks.append((np.array([i]), array.astype(dtype)))

    total = int(lengths.sum())
    if len(blocks) == 1:
        return blocks[0][1], lengths, decoded
    flat = np.empty((total, *row_shape), dtype=dtype)
    starts = np.cumsum(lengths) - lengths
    for where, rows in blocks:
        flat[ranges(starts[where], lengths[where])] = rows
    return flat, lengths, decoded


def ranges(
    starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]
) -> npt.NDArray[np.intp]:
    """start, start + 1, … for each start and length, one after the other: intp (sum,)."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def flags_per_run(
    flags: npt.NDArray[np.bool_], lengths: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """How many flags are set within each of consecutive runs of these lengths: int64 (N,)."""
    before = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    ends = np.cumsum(lengths)
    return cast(npt.NDArray[np.int64], before[ends] - before[ends - lengths])


_Key = tuple[np.dtype[Any], str]
_Place = Callable[[npt.NDArray[np.intp], Sequence[ArrayPieces], _Key], None]


def _each_kind(values: Sequence[object], place: _Place, *, kinds: str) -> list[int]:
    """Call `place` once for all arrays of each dtype and order; the rest is returned, as rows."""
    rest: list[int] = []
    everywhere = np.arange(len(values))
    kinds_of_value: list[Hashable] = list(map(type, values))
    for kind, where in partition(kinds_of_value):
        rows = everywhere[where]
        if kind is tuple:
            candidates = cast(Sequence[tuple[Any, ...]], take(values, where))
        elif kind is ReconstructedArray:
            candidates = [
                (value[4], value[2], value[1], "F" if value[3] else "C") if len(value) == 5 else ()
                for value in cast(Sequence[ReconstructedArray], take(values, where))
            ]
        elif kind in (list, int, float):
            rest.extend(rows.tolist())
            continue
        else:
            continue
        if not _well_formed(candidates):
            well_formed = [_well_formed([candidate]) for candidate in candidates]
            rest.extend(row for row, ok in zip(rows.tolist(), well_formed, strict=True) if not ok)
            candidates = [c for c, ok in zip(candidates, well_formed, strict=True) if ok]
            rows = rows[np.array(well_formed)]
        if not candidates:
            continue
        keys = [(_dtype_name(pieces[1]), pieces[3]) for pieces in candidates]
        for (name, order), within in partition(keys):
            dtype = np.dtype(name)
            if dtype.kind not in kinds:
                continue
            group = cast(Sequence[ArrayPieces], take(candidates, within))
            group_rows = rows[within]
            expected = [dtype.itemsize * math.prod(pieces[2]) for pieces in group]
            sizes = [len(pieces[0]) for pieces in group]
            if sizes != expected:
                fits = np.array(sizes) == np.array(expected)
                group = [pieces for pieces, fit in zip(group, fits, strict=True) if fit]
                group_rows = group_rows[fits]
            if group:
                place(group_rows, group, (dtype, order))
    return rest


def _well_formed(candidates: Iterable[tuple[Any, ...]]) -> bool:
    """Whether all are array pieces of plain types; what they say may still not fit together."""
    candidates = list(candidates)
    if set(map(len, candidates)) != {4}:
        return False
    raws, dtypes, shapes, orders = zip(*candidates, strict=True)
    raw_types = set(map(type, raws))
    return (
        raw_types <= _RAW_TYPES
        and (str not in raw_types or all(map(_is_latin1, raws)))
        and set(map(type, dtypes)) <= {DType, str}
        and set(map(type, shapes)) == {tuple}
        and set(map(type, orders)) == {str}
        and set(orders) <= {"C", "F"}
        and set(map(type, chain.from_iterable(shapes))) <= {int}
        and all(0 <= size < 1 << 40 for size in set(chain.from_iterable(shapes)))
        and max(map(len, shapes)) <= 8
        and all(_dtype_name(dtype) in _PLAIN for dtype in set(dtypes))
    )


def _dtype_name(dtype: DType | str) -> str:
    return dtype if isinstance(dtype, str) else dtype.name


def _is_latin1(raw: bytes | bytearray | str) -> bool:
    return not isinstance(raw, str) or max(raw, default="") <= "\xff"


def _as_bytes(raw: bytes | bytearray | str) -> bytes | bytearray:
    return raw.encode("latin1") if isinstance(raw, str) else raw


def _join(group: Sequence[ArrayPieces]) -> bytes:
    raws = map(itemgetter(0), group)
    try:
        return b"".join(raws)
    except TypeError:
        return b"".join(_as_bytes(pieces[0]) for pieces in group)


def _c_ordered(pieces: ArrayPieces, dtype: np.dtype[Any]) -> ArrayPieces:
    raw, name, shape, _ = pieces
    array = np.frombuffer(_as_bytes(raw), dtype).reshape(shape, order="F")
    return array.tobytes("C"), name, shape, "C"


def _from_numbers(
    numbers: Sequence[object], *, kinds: str, shape: tuple[int, ...]
) -> npt.NDArray[Any] | None:
    if "f" not in kinds and any(type(number) is not int for number in numbers):
        return None
    dtype = np.float64 if "f" in kinds else np.int64
    try:
        return np.array(numbers, dtype=dtype).reshape(shape)
    except OverflowError:
        return None
