"""What must be true of every example of any dataset. Arrays in, broken rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.schema import BODY_MODELS, GENDERS, Kind, Status

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.bool_]

_MAX_FOCAL_PX = 1e7
_MAX_ABS_METRES = 1e5
_WEIGHT_TOLERANCE = 1e-2
_ROTATION_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Violation:
    """Rows of a column that break a rule, as (n,) bool."""

    column: str
    rule: str
    rows: Rows


def violations(columns: Columns, *, kind: Kind, widths: Mapping[str, int]) -> Iterator[Violation]:
    """Every rule that some row breaks.

    Args:
        columns: the rows of a block, (n, *row_shape) each; those that could not be read are absent.
        widths: bytes per row of the padded columns.
    """
    for column, rule, broken in _rules(columns, kind, widths):
        if broken.any():
            yield Violation(column, rule, broken)


def _rules(
    columns: Columns, kind: Kind, widths: Mapping[str, int]
) -> Iterator[tuple[str, str, Rows]]:
    if "status" not in columns:
        return
    status = columns["status"]
    usable = status == Status.USABLE
    known = np.isin(status, [int(s) for s in Status if s is not Status.MISSING])
    yield "status", "is no known status", ~known
    for name, values in columns.items():
        if values.dtype.kind == "f":
            yield name, "is not finite", ~_all(np.isfinite(values))
    yield from _points(columns, usable)
    yield from _cameras(columns, usable, is_needed=kind in (Kind.KP3D, Kind.PARAM))
    yield from _surface(columns)
    yield from _body(columns)
    yield from _box(columns)
    yield from _lengths(columns, widths)


def _points(columns: Columns, usable: Rows) -> Iterator[tuple[str, str, Rows]]:
    for validity_name, names in (
        ("point_validity", ("coords3d", "coords2d", "surface_vertices", "surface_weights")),
        ("joint_validity", ("joints2d",)),
    ):
        validity = columns.get(validity_name)
        if validity is None:
            continue
        for name in names:
            if name in columns:
                is_set = np.any(columns[name] != 0, axis=2)
                yield (
                    name,
                    "is not 0 where the point is invalid",
                    np.any(~validity & is_set, axis=1),
                )
    validity = columns.get("point_validity")
    if validity is None:
        return
    yield (
        "point_validity",
        "a usable example has no valid point",
        usable & ~np.any(validity, axis=1),
    )
    if "root_index" in columns:
        root = columns["root_index"]
        n_points = validity.shape[1]
        in_range = (root >= -1) & (root < n_points)
        yield "root_index", "is out of range", ~in_range
        has_root = in_range & (root >= 0)
        is_valid = validity[np.arange(len(root)), np.where(has_root, root, 0)]
        yield "root_index", "is an invalid point", has_root & ~is_valid
    if "coords3d" in columns:
        far = np.abs(columns["coords3d"]) > _MAX_ABS_METRES
        yield "coords3d", f"is further than {_MAX_ABS_METRES:g} m away", np.any(far, axis=(1, 2))


def _cameras(columns: Columns, usable: Rows, *, is_needed: bool) -> Iterator[tuple[str, str, Rows]]:
    if "intrinsics" in columns:
        matrix = columns["intrinsics"]
        has_camera = (matrix != 0).any(axis=(1, 2))
        if is_needed:
            yield "intrinsics", "a usable example has no camera", usable & ~has_camera
        focal = matrix[:, [0, 1], [0, 1]]
        sane = ((focal > 0) & (focal < _MAX_FOCAL_PX)).all(axis=1)
        last_row = (matrix[:, 2] == (0, 0, 1)).all(axis=1)
        yield "intrinsics", "is not a pinhole matrix", has_camera & ~(sane & last_row)
    if "extrinsics" in columns:
        rotation = columns["extrinsics"][:, :, :3].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            gram = rotation @ rotation.transpose(0, 2, 1)
            off = np.abs(gram - np.eye(3)).max(axis=(1, 2)) > _ROTATION_TOLERANCE
        yield "extrinsics", "does not begin with a rotation", usable & off
    if "world_up" in columns:
        norm = np.linalg.norm(columns["world_up"].astype(np.float64), axis=1)
        yield "world_up", "is neither a unit vector nor 0", (norm != 0) & (np.abs(norm - 1) > 1e-3)


def _surface(columns: Columns) -> Iterator[tuple[str, str, Rows]]:
    validity = columns.get("point_validity")
    if validity is None or "surface_weights" not in columns:
        return
    weights = columns["surface_weights"]
    off = np.abs(weights.sum(axis=2) - 1) > _WEIGHT_TOLERANCE
    yield "surface_weights", "does not sum to 1", np.any(validity & off, axis=1)
    outside = np.any(weights < -_WEIGHT_TOLERANCE, axis=2)
    yield "surface_weights", "is negative", np.any(validity & outside, axis=1)
    if "surface_vertices" in columns:
        negative = np.any(columns["surface_vertices"] < 0, axis=(1, 2))
        yield "surface_vertices", "is negative", negative


def _body(columns: Columns) -> Iterator[tuple[str, str, Rows]]:
    for name, names in (("body_model", BODY_MODELS), ("body_gender", GENDERS)):
        if name in columns:
            yield name, "is no known code", columns[name] >= len(names)


def _box(columns: Columns) -> Iterator[tuple[str, str, Rows]]:
    if "bbox" in columns:
        yield "bbox", "has a negative side", np.any(columns["bbox"][:, 2:] < 0, axis=1)


def _lengths(columns: Columns, widths: Mapping[str, int]) -> Iterator[tuple[str, str, Rows]]:
    for name, width in widths.items():
        length = columns.get(f"{name}_length")
        if length is not None:
            yield f"{name}_length", "is not within the row", (length < 0) | (length > width)
    if "mask" in columns and "mask_length" in columns:
        padding = np.arange(columns["mask"].shape[1]) >= columns["mask_length"][:, None]
        yield "mask", "goes on behind its end", np.any(padding & (columns["mask"] != 0), axis=1)
    if "mask_size" in columns and "mask_length" in columns:
        has_size = (columns["mask_size"] > 0).all(axis=1)
        has_mask = columns["mask_length"] > 0
        yield "mask_size", "does not go with the mask", has_mask != has_size


def _all(values: npt.NDArray[np.bool_]) -> Rows:
    rows: Rows = np.all(values.reshape(len(values), -1), axis=1)
    return rows
