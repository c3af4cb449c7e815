"""Body-model parameters of 3D examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Examples
from pipeline.unpickling.arrays import (
    decode_fixed,
    decode_one,
    decode_ragged,
    flags_per_run,
    padded,
)
from pipeline.unpickling.fields import readings

N = TypeVar("N", bound=np.generic)

_BODY_MODELS = ("smpl", "smplh", "smplx")
_POSE_WIDTH = 165  # SMPL-X: 55 joints
_WIDEST_SHAPE = 400  # SMPL-X ships 300 shape and 100 expression components


@dataclass(frozen=True, slots=True)
class BodyColumns:
    """Body-model parameters. Rows that are not READ hold zeros, empty strings and scale 1.

    Attributes:
        reading: uint8 (N,), `Reading` codes.
        model: N lower-case names (`smpl`, `smplh`, `smplx`).
        gender: N lower-case names as written, `""` where there is none.
        pose: float32 (N, 165), rotation vectors, zero-padded.
        pose_length: int32 (N,), how many of them the source has.
        shape: float32 (N, widest), zero-padded.
        shape_length: int32 (N,).
        translation: float32 (N, 3), metres.
        kid_factor: float32 (N,), 0 where absent.
        scale: float32 (N,), 1 where absent.
    """

    reading: npt.NDArray[np.uint8]
    model: list[str]
    gender: list[str]
    pose: npt.NDArray[np.float32]
    pose_length: npt.NDArray[np.int32]
    shape: npt.NDArray[np.float32]
    shape_length: npt.NDArray[np.int32]
    translation: npt.NDArray[np.float32]
    kid_factor: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]


def body_columns(examples: Examples) -> BodyColumns:
    """`parameters` of 3D examples.

    A row is MALFORMED if the model is unknown, a pose or shape is not finite or has an impossible
    length; pose, shape and translation may each be missing (length 0, zeros).
    """
    values = examples.column("parameters")
    rows = np.flatnonzero([type(value) is dict for value in values])
    parameters = Examples([values[i] for i in rows.tolist()])
    model = [_lower(name) for name in parameters.column("type")]
    read = np.array([name in _BODY_MODELS for name in model], dtype=np.bool_)
    pose, pose_length = _padded(parameters.column("pose"), _POSE_WIDTH, read)
    read &= pose_length % 3 == 0
    shape, shape_length = _padded(parameters.column("shape"), _WIDEST_SHAPE, read)
    translation = _optional(parameters.column("trans"), (3,), 0.0, read)
    kid_factor = _optional(parameters.column("kid_factor"), (), 0.0, read)
    scale = _optional(parameters.column("scale"), (), 1.0, read)
    gender = [_lower(name) for name in parameters.column("gender")]

    kept = rows[read]
    is_read = np.zeros(len(values), dtype=np.bool_)
    is_read[kept] = True
    models, genders = [""] * len(values), [""] * len(values)
    for source, row in zip(np.flatnonzero(read).tolist(), kept.tolist(), strict=True):
        models[row], genders[row] = model[source], gender[source]

    def spread(array: npt.NDArray[N], *, width: int | None = None) -> npt.NDArray[N]:
        """The rows of the examples that have parameters among those of all, (N, width)."""
        row_shape = array.shape[1:] if width is None else (width,)
        out = np.zeros((len(values), *row_shape), dtype=array.dtype)
        if array.ndim == 2:
            out[kept, : array.shape[1]] = array[read]
        else:
            out[kept] = array[read]
        return out

    scales = np.ones(len(values), dtype=np.float32)
    scales[kept] = scale[read]

    return BodyColumns(
        reading=readings(values, is_read),
        model=models,
        gender=genders,
        pose=spread(pose, width=_POSE_WIDTH),
        pose_length=spread(pose_length),
        shape=spread(shape),
        shape_length=spread(shape_length),
        translation=spread(translation),
        kid_factor=spread(kid_factor),
        scale=scales,
    )


def _padded(
    values: Sequence[object], width: int, read: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """One vector per example, zero-padded (N, width), and lengths; clears `read` where bad."""
    flat, lengths, decoded = decode_ragged(values, row_shape=(), dtype=np.float32)
    finite = flags_per_run(~np.isfinite(flat), lengths) == 0
    fits = decoded & finite & (lengths <= width)
    read &= fits | _absent(values)
    if not fits.all():
        flat, lengths = flat[np.repeat(fits, lengths)], np.where(fits, lengths, 0)
    return padded(flat, lengths, width=min(width, int(lengths.max(initial=0))))


def _optional(
    values: Sequence[object],
    shape: tuple[int, ...],
    default: float,
    read: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """A vector or number per example, `default` where absent; clears `read` where bad."""
    out = np.full((len(values), *shape), default, dtype=np.float32)
    absent = _absent(values)
    decoded = decode_fixed(values, out)
    for i in np.flatnonzero(~absent & ~decoded).tolist():
        array = decode_one(values[i])  # an array of one number is a number too
        if array is not None and array.size == out[i].size:
            with np.errstate(all="ignore"):
                out[i] = array.reshape(shape)
            decoded[i] = True
    read &= (absent | decoded) & np.isfinite(out).all(axis=tuple(range(1, out.ndim)))
    return out


def _absent(values: Sequence[object]) -> npt.NDArray[np.bool_]:
    return np.array([value is None for value in values], dtype=np.bool_)


def _lower(value: object) -> str:
    return value.lower() if type(value) is str and len(value) < 32 else ""
