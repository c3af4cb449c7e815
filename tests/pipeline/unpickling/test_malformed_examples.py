"""What is wrong with one example is said of that example; its neighbours are read."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.unpickling import (
    Examples,
    Reading,
    body_columns,
    boxes,
    camera_columns,
    image_paths,
    load_annotations,
    mask_columns,
    world_coords,
)
from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS, make

ERA = next(era for era in ERAS if era.name == "posepile2025" and era.protocol == 5)
READ, ABSENT, MALFORMED, FISHEYE = Reading


def read_with(tmp_path: Path, attribute: str, value: object) -> Examples:
    """Three examples, `attribute` of the middle one replaced."""
    root = genuine.dataset3d(ERA)
    setattr(root.examples[0][1], attribute, value)
    path = tmp_path / "set.pkl"
    path.write_bytes(genuine.pickled(root, ERA))
    return load_annotations(path).examples["train"]


def camera(**changes: object) -> Any:
    parts: dict[str, object] = {**genuine.camera_parts(1), "distortion_coeffs": None, **changes}
    return make(
        genuine.Camera, **{name: part for name, part in parts.items() if part is not ABSENT}
    )


NAN3 = np.array([0, np.nan, 0], np.float32)


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (None, ABSENT),
        ("a camera", MALFORMED),
        ({"R": np.eye(3)}, MALFORMED),
        (camera(R=ABSENT), MALFORMED),
        (camera(R=None), MALFORMED),
        (camera(R=np.eye(4, dtype=np.float32)), MALFORMED),
        (camera(R=np.eye(3) * np.nan), MALFORMED),
        (camera(R=np.eye(3, dtype=bool)), MALFORMED),
        (camera(R=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]), MALFORMED),
        (camera(t=NAN3), MALFORMED),
        (camera(t=np.array([0, np.inf, 0])), MALFORMED),
        (camera(t=np.array([0, 1e300, 0])), MALFORMED),
        (camera(t=np.zeros((3, 1))), MALFORMED),
        (camera(t=[1.0, 2.0, 3.0]), READ),
        (camera(intrinsic_matrix=np.zeros((2, 3))), MALFORMED),
        (camera(intrinsic_matrix="K"), MALFORMED),
        (camera(distortion_coeffs=np.zeros(3, np.float32)), MALFORMED),
        (camera(distortion_coeffs=np.zeros(6, np.float32)), MALFORMED),
        (camera(distortion_coeffs=np.full(5, np.nan)), MALFORMED),
        (camera(distortion_coeffs="none"), MALFORMED),
        (camera(distortion_coeffs=np.zeros(14, np.float64)), READ),
        (camera(distortion_coeffs=[0.1, 0, 0, 0, 0]), READ),
        (camera(distortion_coeffs=np.zeros(4, np.float32)), FISHEYE),
        (camera(distortion_coeffs=ABSENT), READ),
        (camera(_distortion_model=make(genuine.BrownConradyEx)), MALFORMED),
        (camera(_distortion_model=make(genuine.FisheyeKannalaBrandt)), FISHEYE),
        (camera(_distortion_model=5), MALFORMED),
        (camera(world_up=NAN3), READ),
        (camera(world_up=None), READ),
    ],
)
def test_cameras(tmp_path: Path, value: object, reading: Reading) -> None:
    cameras = camera_columns(read_with(tmp_path, "camera", value))
    assert cameras.reading.tolist() == [READ, reading, READ]
    if reading != READ:
        np.testing.assert_array_equal(cameras.rotation[1], np.eye(3))
        for column in (cameras.optical_centre, cameras.intrinsics, cameras.distortion):
            assert not column[1].any()
    assert np.isfinite(cameras.world_up).all()


def sparse(**changes: object) -> Any:
    parts: dict[str, object] = {
        "shape": (4, 3),
        "i_valid_joints": np.array([0, 3], np.uint16),
        "valid_coords": np.ones((2, 3), np.float16),
    }
    return make(genuine.SparseCoords, **{**parts, **changes})


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (None, ABSENT),
        ("nowhere", MALFORMED),
        (np.zeros((5, 3), np.float32), MALFORMED),
        (np.zeros((4, 2), np.float32), MALFORMED),
        (np.zeros(12, np.float32), MALFORMED),
        (np.zeros((4, 3), bool), MALFORMED),
        (np.zeros((4, 3), np.int32), READ),
        (sparse(), READ),
        (sparse(shape=[4, 3]), READ),
        (sparse(shape=(5, 3)), MALFORMED),
        (sparse(shape=(10**9, 3)), MALFORMED),
        (sparse(shape=4), MALFORMED),
        (sparse(i_valid_joints=np.array([0, 4], np.uint16)), MALFORMED),
        (sparse(i_valid_joints=np.array([-1, 0])), MALFORMED),
        (sparse(i_valid_joints=np.array([0.0, 1.0])), MALFORMED),
        (sparse(i_valid_joints=np.array([1], np.uint16)), MALFORMED),
        (sparse(valid_coords=np.ones((2, 2))), MALFORMED),
        (sparse(valid_coords=None), MALFORMED),
        (make(genuine.SparseCoords), MALFORMED),
    ],
)
def test_world_coordinates(tmp_path: Path, value: object, reading: Reading) -> None:
    coords = world_coords(read_with(tmp_path, "world_coords", value), n_joints=4)
    assert coords.reading.tolist() == [READ, reading, READ]
    np.testing.assert_array_equal(coords.values[0], genuine.world_coords(0))
    np.testing.assert_array_equal(coords.values[2], genuine.world_coords(2))
    assert (reading == READ) == np.isfinite(coords.values[1]).any()


def rle(**changes: object) -> dict[str, object]:
    return {"size": [2, 2], "counts": genuine.COUNTS, **changes}


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (None, ABSENT),
        ("masks/1.png", ABSENT),
        (rle(), READ),
        (rle(size=(2, 2)), READ),
        (rle(size=np.array([2, 2])), READ),
        (rle(counts="04"), READ),
        (rle(size=[2, 3]), MALFORMED),
        (rle(size=[2, -2]), MALFORMED),
        (rle(size=[1 << 20, 1 << 20]), MALFORMED),
        (rle(size="2x2"), MALFORMED),
        (rle(size=None), MALFORMED),
        (rle(counts=b""), MALFORMED),
        (rle(counts=b"05"), MALFORMED),
        (rle(counts=b"0\xff"), MALFORMED),
        (rle(counts=b"0T"), MALFORMED),
        (rle(counts="0€"), MALFORMED),
        (rle(counts=[0, 4]), READ),
        (rle(counts=[0, 5]), MALFORMED),
        (rle(counts=[-4, 8]), MALFORMED),
        ({"size": [2, 2]}, MALFORMED),
        ({"size": [2, 2], "ucounts": np.array([1, 3], np.uint32)}, READ),
        ({"size": [2, 2], "ucounts": []}, MALFORMED),
        ({"size": [2, 2], "zcounts": zlib.compress(b"04")}, READ),
        ({"size": [2, 2], "zcounts": b"not zlib"}, MALFORMED),
        ({"size": [2, 2], "zcounts": zlib.compress(b"04")[:-1]}, MALFORMED),
        ({"size": [2, 2], "zcounts": zlib.compress(b"04") + b"x"}, MALFORMED),
        ({"size": [2, 2], "zcounts": zlib.compress(bytes(1 << 28), 9)}, MALFORMED),
        ([rle()], READ),
        ([rle(), rle()], MALFORMED),
        ([], MALFORMED),
        (np.array([[0, 1], [1, 0]], np.uint8), READ),
        (np.zeros((2, 2, 3), np.uint8), MALFORMED),
        (np.zeros((0, 2), np.uint8), MALFORMED),
        (7, MALFORMED),
        ([[[[]]]], MALFORMED),
    ],
)
def test_masks(tmp_path: Path, value: object, reading: Reading) -> None:
    masks = mask_columns(read_with(tmp_path, "mask", value))
    assert masks.reading.tolist() == [READ, reading, READ]
    assert bool(masks.counts[1]) == (reading == READ)
    assert masks.size[1].tolist() == ([2, 2] if reading == READ else [0, 0])


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (None, ABSENT),
        (np.zeros(3, np.float32), MALFORMED),
        (np.zeros((1, 4), np.float32), MALFORMED),
        ([1.0, 2.0, 3.0, 4.0], READ),
        ((1, 2, 3, 4), READ),
        ([np.float32(n) for n in (1, 2, 3, 4)], READ),
        ([1, 2, 3, None], MALFORMED),
        ([1 << 2000, 2, 3, 4], MALFORMED),
        ("box", MALFORMED),
    ],
)
def test_boxes(tmp_path: Path, value: object, reading: Reading) -> None:
    found = boxes(read_with(tmp_path, "bbox", value))
    assert found.reading.tolist() == [READ, reading, READ]
    expected = [1, 2, 3, 4] if reading == READ else [np.nan] * 4
    np.testing.assert_array_equal(found.values[1], expected)


def body(**changes: object) -> dict[str, object]:
    return {"type": "smplx", "gender": "Female", "pose": np.zeros(165, np.float32), **changes}


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (None, ABSENT),
        (body(), READ),
        (body(type="SMPL-H"), MALFORMED),
        (body(type=None), MALFORMED),
        (body(pose=None), READ),
        (body(pose=np.zeros(7, np.float32)), MALFORMED),
        (body(pose=np.zeros(168, np.float32)), MALFORMED),
        (body(pose=np.full(66, np.nan)), MALFORMED),
        (body(pose="stand"), MALFORMED),
        (body(shape=np.zeros(500)), MALFORMED),
        (body(trans=np.zeros(2)), MALFORMED),
        (body(scale=np.zeros(1)), READ),
        (body(scale=float("nan")), MALFORMED),
        (body(kid_factor="small"), MALFORMED),
        ("parameters", MALFORMED),
    ],
)
def test_bodies(tmp_path: Path, value: object, reading: Reading) -> None:
    bodies = body_columns(read_with(tmp_path, "parameters", value))
    assert bodies.reading.tolist() == [READ, reading, READ]
    assert bodies.model == ["smpl", "smplx" if reading == READ else "", "smpl"]
    assert bodies.gender[1] == ("female" if reading == READ else "")
    if reading != READ:
        assert not bodies.pose[1].any()
        assert bodies.scale[1] == 1


@pytest.mark.parametrize("value", [None, "", 3, "a\0b", "lone \ud800 half", ["a"]])
def test_impossible_paths_are_no_paths(tmp_path: Path, value: object) -> None:
    examples = read_with(tmp_path, "image_path", value)
    assert image_paths(examples) == ["images/0.jpg", None, "images/2.jpg"]


def test_paths_of_bytes_and_other_alphabets(tmp_path: Path) -> None:
    for value in ("bilder/größe.jpg", "bilder/größe.jpg".encode()):
        assert image_paths(read_with(tmp_path, "image_path", value))[1] == "bilder/größe.jpg"


def test_a_split_without_examples_has_empty_columns() -> None:
    empty = Examples([])
    assert image_paths(empty) == []
    assert world_coords(empty, n_joints=4).values.shape == (0, 4, 3)
    assert boxes(empty).values.shape == (0, 4)
    assert camera_columns(empty).rotation.shape == (0, 3, 3)
    assert mask_columns(empty).counts == []
    assert body_columns(empty).pose.shape == (0, 165)
