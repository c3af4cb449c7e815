"""The canonical body gives every joint and surface point its place, and says which it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from errors import ConfigError
from stages.train.canonical_body import (
    CanonicalBody,
    joint_table,
    load_canonical_body,
    surface_points,
)

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
JOINTS = {
    "pelv": np.array([0.01, 0, 0], np.float32),
    "lhip": np.array([0.1, -0.1, 0], np.float32),
    "rhip": np.array([-0.12, -0.1, 0], np.float32),
    "lhip_coco": np.array([0.2, -0.1, 0], np.float32),
    "rhip_coco": np.array([-0.2, -0.1, 0], np.float32),
}
BODY = CanonicalBody(VERTICES, FACES, JOINTS)


def save(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {
        "canonical_vertices": VERTICES,
        "faces": FACES,
        "joint_names": np.array(list(JOINTS)),
        "canonical_joints": np.stack(list(JOINTS.values())),
    }
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_a_body_is_read_as_it_was_written(tmp_path: Path) -> None:
    body = load_canonical_body(save(tmp_path / "body.npz"))
    np.testing.assert_array_equal(body.vertices, VERTICES)
    np.testing.assert_array_equal(body.faces, FACES)
    assert list(body.joints) == list(JOINTS)
    np.testing.assert_array_equal(body.joints["rhip"], JOINTS["rhip"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": None}, "cannot be read"),
        ({"faces": FACES + 1}, "contradicts itself"),
        ({"joint_names": np.array(["pelv"])}, "contradicts itself"),
        ({"joint_names": np.array([object()])}, "cannot be read"),
    ],
)
def test_a_broken_body_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_canonical_body(save(tmp_path / "body.npz", **changes))


def test_a_missing_body_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cli\.py sample"):
        load_canonical_body(tmp_path / "none.npz")


def test_joints_are_placed_by_whole_name_then_by_stem_and_symmetrically() -> None:
    table = joint_table(
        BODY, {"coco": ("pelv_coco", "lhip_coco", "rhip_coco"), "mads": ("lhip", "rhip", "tail")}
    )
    assert table.ids("coco").tolist() == [0, 1, 2]
    assert table.ids("mads").tolist() == [3, 4, -1]
    assert table.start("mads") == 3
    assert table.unlocated == {"mads": ("tail",)}
    expected = [[0, 0, 0], [0.2, -0.1, 0], [-0.2, -0.1, 0], [0.11, -0.1, 0], [-0.11, -0.1, 0]]
    np.testing.assert_allclose(table.initial[:5], expected, atol=1e-7)


def test_surface_points_are_combinations_of_corners_of_this_mesh() -> None:
    weights = np.array([[0.2, 0.3, 0.5]], np.float32)
    found = surface_points(BODY, FACES[3:], weights)
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.5]])
    with pytest.raises(ConfigError, match="4 vertices"):
        surface_points(BODY, np.array([[0, 1, 4]], np.int32), weights)
