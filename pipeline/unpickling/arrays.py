"""Decode arrays in bulk, from the raw bytes and kinds that the stand-ins kept and checked.

Nothing is ever handed to numpy's own unpickling. The raw bytes of all arrays of one kind are
joined and decoded at once: a data set has hundreds of thousands of small arrays of few kinds.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.standins import ArrayKind, PickledArray, ReconstructedArray

K = TypeVar("K", bound=Hashable)

NUMBERS = "fiu"
INTEGERS = "iu"

_RAW_TYPES = {bytes, bytearray}
_FIRST, _SECOND = itemgetter(0), itemgetter(1)

Rows: TypeAlias = npt.NDArray[np.intp] | slice


def partition(keys: Sequence[K]) -> list[tuple[K, Rows]]:
    """Where each distinct key stands, in order of first appearance; a full slice if all agree."""
    distinct = dict.fromkeys(keys)
    if not distinct:
        return []
    if len(distinct) == 1:
        return [(next(iter(distinct)), slice(None))]
    numbers = {key: number for number, key in enumerate(distinct)}
    codes = np.fromiter(map(numbers.__getitem__, keys), dtype=np.intp, count=len(keys))
    by_code = np.argsort(codes, kind="stable")
    borders = np.cumsum(np.bincount(codes))[:-1]
    return list(zip(numbers, np.split(by_code, borders), strict=True))


def take(values: Sequence[Any], where: Rows) -> Sequence[Any]:
    """`values[where]` for a list."""
    if isinstance(where, slice):
        return values
    return [values[i] for i in where.tolist()]


def decode_one(value: object, *, kinds: str = NUMBERS) -> npt.NDArray[Any] | None:
    """One array of numbers, a list of numbers or a number; None if it is none of these."""
    array = _pickled_array(value)
    if array is not None:
        raw, kind = array
        if kind.dtype.kind not in kinds:
            return None
        return np.frombuffer(raw, kind.dtype).reshape(kind.shape, order=kind.order)
    if type(value) in (int, float):
        return _from_numbers([value], kinds=kinds, shape=())
    if type(value) not in (list, tuple):
        return None
    numbers = cast(Sequence[object], value)
    if all(type(number) in (int, float) for number in numbers):
        return _from_numbers(numbers, kinds=kinds, shape=(len(numbers),))
    # a list of numpy scalars, or no numbers at all
    scalars = [_pickled_array(number) for number in numbers]
    if any(scalar is None or scalar[1].shape != () for scalar in scalars):
        return None
    decoded = [decode_one(number, kinds=kinds) for number in numbers]
    return None if any(scalar is None for scalar in decoded) else np.array(decoded)


def _pickled_array(value: object) -> PickledArray | None:
    if type(value) in (tuple, ReconstructedArray):
        pair = cast(Sequence[Any], value)
        if len(pair) == 2 and type(pair[1]) is ArrayKind and type(pair[0]) in _RAW_TYPES:
            return pair[0], pair[1]
    return None


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
    arrays, rest = _arrays_among(values)
    for where, raws, array_kinds in arrays:
        for kind, within in partition(array_kinds):
            if kind.shape != shape or kind.dtype.kind not in kinds:
                continue
            group = take(raws, within)
            flat = np.frombuffer(b"".join(group), kind.dtype)
            if kind.order == "C":
                rows = flat.reshape(len(group), *shape)
            else:
                axes = (0, *range(len(shape), 0, -1))
                rows = flat.reshape(len(group), *reversed(shape)).transpose(axes)
            inside = _within(where, within)
            with np.errstate(all="ignore"):
                out[inside] = rows
            decoded[inside] = True
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
    blocks: list[tuple[Rows, npt.NDArray[Any]]] = []

    def place(where: Rows, rows: npt.NDArray[Any]) -> None:
        decoded[where] = True
        with np.errstate(all="ignore"):
            blocks.append((where, rows.astype(dtype, copy=False).reshape(-1, *row_shape)))

    arrays, rest = _arrays_among(values)
    for where, raws, array_kinds in arrays:
        # Arrays that differ in length alone are joined in one go.
        formats = {kind: _row_format(kind, row_shape, kinds) for kind in set(array_kinds)}
        for row_format, within in partition([formats[kind] for kind in array_kinds]):
            inside = _within(where, within)
            if row_format == _TRANSPOSED:
                rest.extend(np.arange(len(values))[inside].tolist())
            elif row_format != _UNFIT:
                lengths[inside] = [kind.shape[0] for kind in take(array_kinds, within)]
                joined = b"".join(take(raws, within))
                place(inside, np.frombuffer(joined, np.dtype(row_format)))
    for i in rest:
        array = decode_one(values[i], kinds=kinds)
        if array is not None and array.ndim == 1 + len(row_shape) and array.shape[1:] == row_shape:
            lengths[i] = len(array)
            place(np.array([i]), np.ascontiguousarray(array))

    if len(blocks) == 1:
        return blocks[0][1], lengths, decoded
    flat = np.empty((int(lengths.sum()), *row_shape), dtype=dtype)
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


def padded(
    flat: npt.NDArray[np.float32], lengths: npt.NDArray[np.integer], *, width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Vectors one after the other as (N, width), zeros at the end, and their lengths."""
    out = np.zeros((len(lengths), width), dtype=np.float32)
    if len(lengths) and (lengths == lengths[0]).all():
        out[:, : lengths[0]] = flat.reshape(len(lengths), -1)
    else:
        out[np.arange(width) < lengths[:, None]] = flat
    return out, lengths.astype(np.int32)


def flags_per_run(
    flags: npt.NDArray[np.bool_], lengths: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """How many flags are set within each of consecutive runs of these lengths: int64 (N,)."""
    if not flags.any():
        return np.zeros(len(lengths), dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    ends = np.cumsum(lengths)
    return cast(npt.NDArray[np.int64], before[ends] - before[ends - lengths])


def _arrays_among(
    values: Sequence[object],
) -> tuple[list[tuple[Rows, Sequence[bytes], Sequence[ArrayKind]]], list[int]]:
    """The pickled arrays among `values` (rows, raw bytes, kinds) and rows for a closer look."""
    if (unpaired := _unpaired(values)) is not None:
        return [(slice(None), *unpaired)], []
    arrays: list[tuple[Rows, Sequence[bytes], Sequence[ArrayKind]]] = []
    rest: list[int] = []
    types: list[Hashable] = list(map(type, values))
    for value_type, where in partition(types):
        if value_type in (tuple, ReconstructedArray):
            unpaired = _unpaired(take(values, where))
            if unpaired is not None:
                arrays.append((where, *unpaired))
                continue
        if value_type in (tuple, ReconstructedArray, list, int, float):
            rest.extend(np.arange(len(values))[where].tolist())
    return arrays, rest


def _unpaired(
    values: Sequence[object],
) -> tuple[Sequence[bytes], Sequence[ArrayKind]] | None:
    """Raw bytes and kinds of values that are arrays without exception, else None."""
    pairs = cast(Sequence[tuple[bytes, ArrayKind]], values)
    try:
        if set(map(len, pairs)) != {2}:
            return None
        raws, array_kinds = list(map(_FIRST, pairs)), list(map(_SECOND, pairs))
    except (TypeError, KeyError):  # not a pair
        return None
    # Only an array pairs anything with an ArrayKind, so the type of the pair does not matter.
    if set(map(type, array_kinds)) == {ArrayKind} and set(map(type, raws)) <= _RAW_TYPES:
        return raws, array_kinds
    return None


_UNFIT, _TRANSPOSED = "unfit", "transposed"


def _row_format(kind: ArrayKind, row_shape: tuple[int, ...], kinds: str) -> str:
    """The dtype of ragged rows, or why they cannot be joined with others."""
    fits = len(kind.shape) == 1 + len(row_shape) and kind.shape[1:] == row_shape
    if not fits or kind.dtype.kind not in kinds:
        return _UNFIT
    return _TRANSPOSED if kind.order == "F" and row_shape else kind.dtype.str


def _within(where: Rows, within: Rows) -> Rows:
    """Rows of a part of a part."""
    if isinstance(within, slice):
        return where
    if isinstance(where, slice):
        return within
    return where[within]


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
