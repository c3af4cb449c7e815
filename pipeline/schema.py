"""The columns of a store: their names, dtypes, shapes and fill values, per kind of dataset.

Row i of every column is example i of its split in the source. A rejected example keeps its row:
`status` names the reason, every other column holds its fill value. docs/format.md is the prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

SCHEMA_VERSION = 1
SPLITS = ("train", "valid", "test")


class Kind(StrEnum):
    """What a dataset annotates."""

    KP3D = "kp3d"  # 3D joints
    PARAM = "param"  # 3D joints and body-model parameters
    KP2D = "kp2d"  # 2D joints
    DENSE = "dense"  # 2D pixels with their place on the body surface, and 2D joints


class Status(IntEnum):
    """Why an example is not usable; 0 is usable. Codes are for ever, names are in the store."""

    USABLE = 0
    NO_VALID_POINT = 1
    UNREADABLE_CAMERA = 2
    FISHEYE_CAMERA = 3
    MISSING_IMAGE = 4
    BROKEN_IMAGE = 5
    MALFORMED_ANNOTATION = 6
    UNREADABLE_MASK = 7
    EXCLUDED = 8
    MISSING = 255  # the fill value: what a plain Zarr reader sees where a shard is gone


BODY_MODELS = ("none", "smpl", "smplh", "smplx")
GENDERS = ("unknown", "neutral", "female", "male")
BODY_POSE_WIDTH = 165  # 55 SMPL-X joints, three numbers each; shorter models are zero-padded


@dataclass(frozen=True, slots=True)
class Widths:
    """The data-dependent widths of a dataset, rounded up so that a newcomer rarely changes them."""

    points: int  # P
    joints: int  # J, equal to P unless the dataset is dense
    image_bytes: int  # L
    image_path: int  # S
    mask_bytes: int  # M
    body_shape: int = 0


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column: the shape is that of a row."""

    dtype: str
    row_shape: tuple[int, ...]
    fill: float | int | bool = 0

    @property
    def row_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.row_shape, dtype=np.int64))


def column_specs(kind: Kind, widths: Widths) -> Mapping[str, ColumnSpec]:
    """The columns of a dataset of this kind, in their order on disk."""
    n_points, n_joints = widths.points, widths.joints
    columns = {
        "status": ColumnSpec("uint8", (), Status.MISSING),
        "intrinsics": ColumnSpec("float32", (3, 3)),
        "extrinsics": ColumnSpec("float32", (3, 4)),
        "distortion": ColumnSpec("float32", (14,)),
        "world_up": ColumnSpec("float32", (3,)),
        "root_index": ColumnSpec("int32", (), -1),
        "point_validity": ColumnSpec("bool", (n_points,), False),
        "coords3d": ColumnSpec("float32", (n_points, 3)),
    }
    if kind in (Kind.KP2D, Kind.DENSE):
        columns["coords2d"] = ColumnSpec("float32", (n_points, 2))
    if kind is Kind.DENSE:
        columns["surface_vertices"] = ColumnSpec("int32", (n_points, 3))
        columns["surface_weights"] = ColumnSpec("float32", (n_points, 3))
        columns["joint_validity"] = ColumnSpec("bool", (n_joints,), False)
        columns["joints2d"] = ColumnSpec("float32", (n_joints, 2))
    if kind is Kind.PARAM:
        columns["body_model"] = ColumnSpec("uint8", ())
        columns["body_gender"] = ColumnSpec("uint8", ())
        columns["body_pose"] = ColumnSpec("float32", (BODY_POSE_WIDTH,))
        columns["body_shape"] = ColumnSpec("float32", (widths.body_shape,))
        columns["body_translation"] = ColumnSpec("float32", (3,))
        columns["body_kid_factor"] = ColumnSpec("float32", ())
        columns["body_scale"] = ColumnSpec("float32", (), 1.0)
    columns["bbox"] = ColumnSpec("float32", (4,))
    columns["image"] = ColumnSpec("uint8", (widths.image_bytes,))
    columns["image_length"] = ColumnSpec("int32", ())
    columns["image_path"] = ColumnSpec("uint8", (widths.image_path,))
    columns["mask"] = ColumnSpec("uint8", (widths.mask_bytes,))
    columns["mask_length"] = ColumnSpec("int32", ())
    columns["mask_size"] = ColumnSpec("int32", (2,))
    return columns
