"""Body-model parameters of 3D examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes
from pipeline.unpickling.arrays import (
    decode_fixed,
    decode_one,
    decode_ragged,
    flags_per_run,
    ranges,
)
from pipeline.unpickling.fields import column, readings

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


def body_columns(examples: Sequence[Attributes]) -> BodyColumns:
    """`parameters` of 3D examples.

    A row is MALFORMED if the model is unknown, a pose or shape is not finite or has an impossible
    length; pose, shape and translation may each be missing (length 0, zeros).
    """
    values = column(examples, "parameters")
    states = [value if type(value) is dict else {} for value in values]
    model = [_lower(state.get("type")) for state in states]
    read = np.array([name in _BODY_MODELS for name in model], dtype=np.bool_)
    pose, pose_length = _padded(states, "pose", _POSE_WIDTH, read)
    read &= pose_length % 3 == 0
    shape, shape_length = _padded(states, "shape", _WIDEST_SHAPE, read)
    translation = _optional(states, "trans", (3,), 0.0, read)
    kid_factor = _optional(states, "kid_factor", (), 0.0, read)
    scale = _optional(states, "scale", (), 1.0, read)
    widest = int(shape_length[read].max(initial=0))
    dropped = ~read
    for array, fill in ((pose, 0), (shape, 0), (translation, 0), (kid_factor, 0), (scale, 1)):
        array[dropped] = fill
    return BodyColumns(
        reading=readings(values, read),
        model=[name if ok else "" for name, ok in zip(model, read.tolist(), strict=True)],
        gender=[
            _lower(state.get("gender")) if ok else ""
            for state, ok in zip(states, read.tolist(), strict=True)
        ],
        pose=pose,
        pose_length=np.where(read, pose_length, 0).astype(np.int32),
        shape=shape[:, :widest],
        shape_length=np.where(read, shape_length, 0).astype(np.int32),
        translation=translation,
        kid_factor=kid_factor,
        scale=scale,
    )


def _padded(
    states: Sequence[Attributes], name: str, width: int, read: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """One vector per example, zero-padded (N, width), and lengths; clears `read` where bad."""
    values = column(states, name)
    flat, lengths, decoded = decode_ragged(values, row_shape=(), dtype=np.float32)
    absent = np.array([value is None for value in values], dtype=np.bool_)
    finite = flags_per_run(~np.isfinite(flat), lengths) == 0
    fits = decoded & finite & (lengths <= width)
    read &= absent | fits
    out = np.zeros((len(values), width), dtype=np.float32)
    kept = np.where(fits, lengths, 0)
    columns = ranges(np.zeros_like(kept), kept)
    out[np.repeat(np.arange(len(values)), kept), columns] = flat[np.repeat(fits, lengths)]
    return out, kept


def _optional(
    states: Sequence[Attributes],
    name: str,
    shape: tuple[int, ...],
    default: float,
    read: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """A vector or number per example, `default` where absent; clears `read` where bad."""
    values = column(states, name)
    out = np.full((len(values), *shape), default, dtype=np.float32)
    decoded = decode_fixed(values, out)
    for i, value in enumerate(values):
        if value is not None and not decoded[i]:  # an array of one number is a number too
            array = decode_one(value)
            if array is not None and array.size == out[i].size:
                with np.errstate(all="ignore"):
                    out[i] = array.reshape(shape)
                decoded[i] = True
    absent = np.array([value is None for value in values], dtype=np.bool_)
    read &= (absent | decoded) & np.isfinite(out).all(axis=tuple(range(1, out.ndim)))
    return out


def _lower(value: object) -> str:
    return value.lower() if type(value) is str and len(value) < 32 else ""
