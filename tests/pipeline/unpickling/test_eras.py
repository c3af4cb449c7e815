"""Pickles of every era and protocol read as the same columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.unpickling import (
    Examples,
    Extract,
    PickledDataset,
    Reading,
    body_columns,
    boxes,
    camera_columns,
    coords2d,
    image_paths,
    load_annotations,
    mask_columns,
    read_isolated,
    surface_points,
    world_coords,
)
from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS, Era

N = genuine.N_EXAMPLES


def dataset_of(path: Path, root: object, era: Era) -> PickledDataset:
    path.write_bytes(genuine.pickled(root, era))
    return load_annotations(path)


def all_examples(dataset: PickledDataset) -> Examples:
    return Examples([a for split in dataset.examples.values() for a in split.attributes])


@pytest.mark.parametrize("era", ERAS, ids=str)
def test_every_era_and_protocol_reads_the_same(era: Era, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "set.pkl", genuine.dataset3d(era), era)
    assert dataset.dimensions == 3
    assert dataset.skeleton.joint_names == genuine.JOINT_NAMES
    assert dataset.skeleton.edges == genuine.EDGES
    assert dataset.skeleton.mirror == genuine.MIRROR
    assert {name: len(split) for name, split in dataset.examples.items()} == {
        "train": 3,
        "valid": 0,
        "test": 4,
    }
    assert dataset.train_bones is not None
    assert dataset.train_bones.dtype == np.float32
    assert dataset.train_bones.tolist() == [1.5, 2, 2.5]
    assert era.dict_library in dataset.era
    assert f"numpy {era.numpy_major}" in dataset.era
    assert f"protocol {era.protocol}" in dataset.era

    examples = all_examples(dataset)
    assert image_paths(examples) == [f"images/{i}.jpg" for i in range(N)]

    coords = world_coords(examples, n_joints=4)
    assert coords.reading.tolist() == [Reading.READ] * N
    expected = np.stack([genuine.world_coords(i) for i in range(N)])
    expected[4, 1] = np.nan  # SparseCoords without that joint
    np.testing.assert_array_equal(coords.values, expected)

    box = boxes(examples)
    assert box.values.dtype == np.float32
    np.testing.assert_array_equal(box.values, [[1, 2, 3, 4 + i] for i in range(N)])

    cameras = camera_columns(examples)
    assert cameras.reading.tolist() == [Reading.READ] * (N - 1) + [Reading.FISHEYE]
    for i in range(N - 1):
        parts = genuine.camera_parts(i)
        np.testing.assert_array_equal(cameras.rotation[i], parts["R"])
        np.testing.assert_array_equal(cameras.optical_centre[i], parts["t"])
        np.testing.assert_array_equal(cameras.intrinsics[i], parts["intrinsic_matrix"])
        np.testing.assert_array_equal(cameras.world_up[i], parts["world_up"])
        coefficients = genuine.distortion(i)
        n_coefficients = 0 if coefficients is None else len(coefficients)
        assert cameras.distortion_length[i] == n_coefficients
        np.testing.assert_array_equal(
            cameras.distortion[i, :n_coefficients], [] if coefficients is None else coefficients
        )
        assert not cameras.distortion[i, n_coefficients:].any()

    masks = mask_columns(examples)
    assert masks.reading.tolist() == [Reading.READ] * (N - 1) + [Reading.ABSENT]
    assert masks.counts == [genuine.COUNTS] * (N - 1) + [b""]
    assert masks.size.tolist() == [[2, 2]] * (N - 1) + [[0, 0]]

    bodies = body_columns(examples)
    has_body = [era.dict_library == "addict" and i % 2 == 0 for i in range(N)]
    assert bodies.reading.tolist() == [Reading.READ if has else Reading.ABSENT for has in has_body]
    for i, has in enumerate(has_body):
        assert bodies.model[i] == ("smpl" if has else "")
        assert bodies.pose_length[i] == (72 if has else 0)
        assert bodies.pose[i].sum() == (36 if has else 0)
        assert bodies.kid_factor[i] == (0.5 if has else 0)
        assert bodies.scale[i] == 1
        assert bodies.translation[i].tolist() == ([1, 2, 3] if has else [0, 0, 0])


@pytest.mark.parametrize("era", ERAS[::3], ids=str)
def test_two_dimensional_sets(era: Era, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "set.pkl", genuine.dataset2d(era), era)
    assert dataset.dimensions == 2
    assert dataset.train_bones is None
    train = dataset.examples["train"]
    np.testing.assert_array_equal(
        coords2d(train, n_joints=4).values, [np.full((4, 2), i) for i in range(4)]
    )
    assert camera_columns(train).reading.tolist() == [Reading.ABSENT] * 4
    points = surface_points(train)
    assert points.reading.tolist() == [
        Reading.READ,
        Reading.ABSENT,
        Reading.MALFORMED,
        Reading.MALFORMED,
    ]
    assert points.lengths.tolist() == [2, 0, 0, 0]
    assert points.pixels.tolist() == [[1, 2], [3, 4]]
    assert points.vertices.tolist() == [[0, 1, 2], [6889, 3, 4]]
    assert points.weights.tolist() == [[0.5, 0.25, 0.25], [1, 0, 0]]


def test_an_isolated_read_brings_home_equal_arrays(tmp_path: Path) -> None:
    era = ERAS[-2]
    dataset = dataset_of(tmp_path / "set.pkl", genuine.dataset3d(era), era)

    def extract(dataset: PickledDataset) -> Extract:
        train = dataset.examples["train"]
        cameras = camera_columns(train)
        coords = world_coords(train, n_joints=4)
        return Extract({"K": cameras.intrinsics, "x": coords.values}, {"era": dataset.era})

    here, home = extract(dataset), read_isolated(tmp_path / "set.pkl", extract)
    assert home.facts == here.facts
    for name, array in here.arrays.items():
        assert home.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(home.arrays[name], array)


def test_names_come_from_ids_where_there_is_no_list(tmp_path: Path) -> None:
    era = ERAS[0]
    root = genuine.dataset3d(era)
    del root.joint_info.names
    dataset = dataset_of(tmp_path / "set.pkl", root, era)
    assert dataset.skeleton.joint_names == genuine.JOINT_NAMES


def test_extra_attributes_are_tolerated_and_missing_ones_absent(tmp_path: Path) -> None:
    era = ERAS[-2]
    root = genuine.dataset3d(era)
    root.comment = {"by": "somebody"}
    first, second = root.examples[0][:2]
    first.custom = ["anything", {"nested": (1, 2)}]
    for attribute in ("world_coords", "bbox", "camera", "mask", "image_path"):
        delattr(second, attribute)
    train = dataset_of(tmp_path / "set.pkl", root, era).examples["train"]
    for column in (world_coords(train, n_joints=4), boxes(train)):
        assert column.reading.tolist() == [Reading.READ, Reading.ABSENT, Reading.READ]
    assert camera_columns(train).reading[1] == Reading.ABSENT
    assert mask_columns(train).reading[1] == Reading.ABSENT
    assert image_paths(train)[1] is None


def test_a_camera_shared_by_many_examples_is_read_for_each(tmp_path: Path) -> None:
    era = ERAS[-2]
    root = genuine.dataset3d(era)
    for example in root.examples[0][1:]:
        example.camera = root.examples[0][0].camera
    train = dataset_of(tmp_path / "set.pkl", root, era).examples["train"]
    cameras = camera_columns(train)
    assert cameras.reading.tolist() == [Reading.READ] * 3
    assert (cameras.intrinsics == cameras.intrinsics[0]).all()
    assert (cameras.distortion_length == cameras.distortion_length[0]).all()


def test_float64_and_big_endian_arrays(tmp_path: Path) -> None:
    era = ERAS[-2]
    root = genuine.dataset3d(era)
    exact = np.arange(12).reshape(4, 3) / 3
    root.examples[0][0].world_coords = exact
    root.examples[0][1].world_coords = exact.astype(">f8")
    root.examples[0][2].world_coords = exact.astype(">f4")
    train = dataset_of(tmp_path / "set.pkl", root, era).examples["train"]
    coords = world_coords(train, n_joints=4).values
    np.testing.assert_array_equal(coords[:2], [exact, exact])
    np.testing.assert_array_equal(coords[2], exact.astype(np.float32))
