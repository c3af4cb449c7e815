"""Body-model parameters of a source's examples, and what a batch brings of them to the device.

Posing happens on the device (`body_supervision`); here are arrays in and arrays out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.schema import BODY_MODELS, BODY_POSE_WIDTH, GENDERS

Floats = npt.NDArray[np.float32]
Variant = tuple[str, str]  # a model and a gender

# What an example brings to the device, side by side in one row of float32.
BODY_FIELDS: Mapping[str, tuple[int, ...]] = {
    "body_variant": (),
    "body_pose": (BODY_POSE_WIDTH,),
    "body_shape": (128,),
    "body_translation": (3,),
    "body_kid_factor": (),
    "body_scale": (),
    "body_rotation": (3, 3),
    "body_position": (3,),
    "body_has_surface": (),
}
BODY_WIDTH = sum(math.prod(shape) for shape in BODY_FIELDS.values())
SHAPE_WIDTH = 128  # shape components in a batch; wider ones are cut, narrower ones padded
# Sources whose surface is not to be trusted: of their bodies only the joints are trained.
UNRELIABLE_SURFACES = frozenset({"genebody", "egobody", "humman"})
_SHAPE_COMPONENTS = {"rich": 10}  # the others of these sources are meaningless


class ColumnReader(Protocol):
    """What is needed of a split."""

    def column(self, name: str) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class BodyParameters:
    """Parameters of R examples.

    Attributes:
        variant: int32 (R,), place of model and gender among the installed ones; -1: none.
        pose: float32 (R, 165), rotation vectors, zero-padded.
        shape: float32 (R, 128), zero-padded.
        translation: float32 (R, 3), metres, in the world.
        kid_factor: float32 (R,).
        scale: float32 (R,); posed points times this are metres.
        rotation: float32 (R, 3, 3), world to the stored picture's camera.
        position: float32 (R, 3), of the camera in the world, metres.
        has_surface: whether vertices can be trusted, or joints only.
    """

    variant: npt.NDArray[np.int32]
    pose: Floats
    shape: Floats
    translation: Floats
    kid_factor: Floats
    scale: Floats
    rotation: Floats
    position: Floats
    has_surface: bool


def read_body_parameters(
    split: ColumnReader,
    rows: npt.NDArray[np.int64],
    *,
    dataset: str,
    variants: Sequence[Variant],
) -> BodyParameters | None:
    """The parameters of these rows of a `param` store; None where no example can be posed.

    An example without parameters, or whose model is not installed, has variant -1. So has one of
    unknown gender where there is no neutral model.
    """
    codes = split.column("body_model")[rows], split.column("body_gender")[rows]
    variant = variant_of(*codes, variants=variants)
    if not (variant >= 0).any():
        return None
    extrinsics = split.column("extrinsics")[rows].astype(np.float64)
    rotation = extrinsics[:, :, :3]
    position = -np.einsum("nji,nj->ni", rotation, extrinsics[:, :, 3])
    given = split.column("body_shape")[rows]
    used = min(given.shape[1], SHAPE_WIDTH, _SHAPE_COMPONENTS.get(dataset, SHAPE_WIDTH))
    shape = np.zeros((len(rows), SHAPE_WIDTH), np.float32)
    shape[:, :used] = given[:, :used]
    return BodyParameters(
        variant=variant,
        pose=split.column("body_pose")[rows],
        shape=shape,
        translation=split.column("body_translation")[rows],
        kid_factor=split.column("body_kid_factor")[rows],
        scale=split.column("body_scale")[rows],
        rotation=rotation.astype(np.float32),
        position=position.astype(np.float32),
        has_surface=dataset not in UNRELIABLE_SURFACES,
    )


def variant_of(
    models: npt.NDArray[np.uint8], genders: npt.NDArray[np.uint8], *, variants: Sequence[Variant]
) -> npt.NDArray[np.int32]:
    """Place among the installed models: int32 (R,), -1 where there is none.

    Args:
        models, genders: codes of the schema's `BODY_MODELS` and `GENDERS`.
    """
    places = {variant: i for i, variant in enumerate(variants)}
    table = np.full((len(BODY_MODELS), len(GENDERS)), -1, np.int32)
    for i, model in enumerate(BODY_MODELS):
        for j, gender in enumerate(GENDERS):
            wanted = "neutral" if gender == "unknown" else gender
            table[i, j] = places.get((model, wanted), -1)
    return table[models, genders]


def body_rows(
    body: BodyParameters | None, positions: npt.NDArray[np.int64], *, turn: npt.ArrayLike
) -> Floats:
    """The values of `body_arrays` side by side: float32 (M, BODY_WIDTH)."""
    arrays = body_arrays(body, positions, turn=turn)
    columns = [arrays[name].reshape(len(positions), -1) for name in BODY_FIELDS]
    return np.concatenate(columns, axis=1, dtype=np.float32)


def body_arrays(
    body: BodyParameters | None, positions: npt.NDArray[np.int64], *, turn: npt.ArrayLike
) -> Mapping[str, npt.NDArray[Any]]:
    """What a batch holds of M examples' bodies.

    Args:
        body: of the source; None: it has no bodies.
        positions: (M,), places in the source.
        turn: (M, 3, 3), rotation from the stored picture's camera to the crop's.

    Returns:
        body_variant int32 (M,), -1 where there is no body; body_pose (M, 165), body_shape (M, 128),
        body_translation (M, 3), body_kid_factor (M,), body_scale (M,), body_rotation (M, 3, 3),
        world to crop, and body_position (M, 3), all float32; body_has_surface bool (M,).
    """
    n = len(positions)
    if body is None:
        return {
            "body_variant": np.full(n, -1, np.int32),
            "body_pose": np.zeros((n, BODY_POSE_WIDTH), np.float32),
            "body_shape": np.zeros((n, SHAPE_WIDTH), np.float32),
            "body_translation": np.zeros((n, 3), np.float32),
            "body_kid_factor": np.zeros(n, np.float32),
            "body_scale": np.ones(n, np.float32),
            "body_rotation": np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
            "body_position": np.zeros((n, 3), np.float32),
            "body_has_surface": np.zeros(n, bool),
        }
    rotation = np.asarray(turn, np.float64) @ body.rotation[positions]
    return {
        "body_variant": body.variant[positions],
        "body_pose": body.pose[positions],
        "body_shape": body.shape[positions],
        "body_translation": body.translation[positions],
        "body_kid_factor": body.kid_factor[positions],
        "body_scale": body.scale[positions],
        "body_rotation": rotation.astype(np.float32),
        "body_position": body.position[positions],
        "body_has_surface": np.full(n, body.has_surface),
    }
