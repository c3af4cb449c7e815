"""Every rule of `verify` is broken by one edit, named with its column and row, and by no other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.schema import Kind, Status
from stages.verify.invariants import violations

N_ROWS, ROW = 5, 3
WIDTHS = {"image": 1000, "mask": 8}

Columns = dict[str, np.ndarray]


def sound_columns() -> Columns:
    validity = np.ones((N_ROWS, 4), bool)
    validity[:, 3] = False
    coords3d = np.full((N_ROWS, 4, 3), 2, np.float32)
    coords3d[~validity] = 0
    weights = np.full((N_ROWS, 4, 3), 1 / 3, np.float32)
    weights[~validity] = 0
    return {
        "status": np.zeros(N_ROWS, np.uint8),
        "intrinsics": np.tile(np.diag([500, 500, 1]).astype(np.float32), (N_ROWS, 1, 1)),
        "extrinsics": np.tile(np.eye(3, 4, dtype=np.float32), (N_ROWS, 1, 1)),
        "world_up": np.tile(np.float32([0, -1, 0]), (N_ROWS, 1)),
        "root_index": np.zeros(N_ROWS, np.int32),
        "point_validity": validity,
        "coords3d": coords3d,
        "surface_vertices": np.where(validity[:, :, None], [[[1, 2, 3]]], 0).astype(np.int32),
        "surface_weights": weights,
        "body_model": np.zeros(N_ROWS, np.uint8),
        "bbox": np.ones((N_ROWS, 4), np.float32),
        "image_length": np.full(N_ROWS, 900, np.int32),
        "mask": np.tile(np.uint8([7, 7, 0, 0, 0, 0, 0, 0]), (N_ROWS, 1)),
        "mask_length": np.full(N_ROWS, 2, np.int32),
        "mask_size": np.full((N_ROWS, 2), 64, np.int32),
    }


def put(column: str, place: tuple[int, ...], value: float) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns[column][(ROW, *place)] = value

    return edit


EDITS = {
    "an unknown status": ("status", put("status", (), 200)),
    "the status of a shard that is gone": ("status", put("status", (), Status.MISSING)),
    "a NaN": ("coords3d", put("coords3d", (1, 2), np.nan)),
    "an infinite box": ("bbox", put("bbox", (0,), np.inf)),
    "a value of an invalid point": ("coords3d", put("coords3d", (3, 0), 1)),
    "a point beyond the horizon": ("coords3d", put("coords3d", (1, 2), 1e6)),
    "a root out of range": ("root_index", put("root_index", (), 4)),
    "a root before the range": ("root_index", put("root_index", (), -2)),
    "an invalid root": ("root_index", put("root_index", (), 3)),
    "a negative focal length": ("intrinsics", put("intrinsics", (0, 0), -500)),
    "a homography": ("intrinsics", put("intrinsics", (2, 0), 1)),
    "no rotation": ("extrinsics", put("extrinsics", (0, 0), 2)),
    "a long up": ("world_up", put("world_up", (1,), -2)),
    "weights that do not sum to 1": ("surface_weights", put("surface_weights", (0, 0), 0.9)),
    "a negative vertex": ("surface_vertices", put("surface_vertices", (0, 0), -1)),
    "an unknown body": ("body_model", put("body_model", (), 9)),
    "a negative box": ("bbox", put("bbox", (2,), -1)),
    "a picture longer than its row": ("image_length", put("image_length", (), 1001)),
    "a mask that goes on": ("mask", put("mask", (5,), 1)),
    "a mask without a size": ("mask_size", put("mask_size", (0,), 0)),
}


def found(columns: Columns) -> list[tuple[str, list[int]]]:
    broken = violations(columns, kind=Kind.KP3D, widths=WIDTHS)
    return [(v.column, np.flatnonzero(v.rows).tolist()) for v in broken]


def test_sound_columns_break_no_rule() -> None:
    assert found(sound_columns()) == []


@pytest.mark.parametrize("name", EDITS)
def test_a_broken_rule_is_named(name: str) -> None:
    column, edit = EDITS[name]
    columns = sound_columns()
    edit(columns)
    assert (column, [ROW]) in found(columns)
    assert all(rows == [ROW] for _, rows in found(columns))


def test_a_usable_example_needs_a_point_and_a_camera() -> None:
    columns = sound_columns()
    for name in ("point_validity", "coords3d", "surface_weights", "surface_vertices"):
        columns[name][ROW] = 0
    columns["root_index"][ROW] = -1
    columns["intrinsics"][ROW] = 0
    assert {column for column, rows in found(columns)} == {"point_validity", "intrinsics"}
    columns["status"][ROW] = Status.NO_VALID_POINT
    assert found(columns) == []


def test_columns_that_could_not_be_read_are_passed_over() -> None:
    for name in sound_columns():
        columns = sound_columns()
        del columns[name]
        assert found(columns) == []
