"""The annotations move with the picture: project after the crop = crop after projecting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from errors import StoreError
from pipeline.cameras import Camera, camera_to_image, reproject
from pipeline.training_crop import UNCHANGED, GeometryDraws
from stages.train.augmentation import Scenery
from stages.train.examples import (
    ExampleReader,
    crop_cameras,
    decoding_factors,
    mirrored_points,
    reduced,
)
from stages.train.settings import BatchSettings, CropSettings, HeadSettings, TrainSettings
from stages.train.sources import Source
from tests.stages.train.stick_figures import IMAGE_SIDE, MIRROR, NAMES, stick_sources

SIZE = (IMAGE_SIDE, IMAGE_SIDE)
GEOMETRY_ONLY = TrainSettings(
    head=HeadSettings(proc_side=64, stride_train=16, stride_test=16),
    crop=CropSettings(color_aug=False, occlude_aug_prob=0, jpeg_aug_prob=0, background_aug_prob=0),
)


def source_of(dataset: str) -> Source:
    return next(s for s in stick_sources(BatchSettings()) if s.dataset == dataset)


@pytest.mark.parametrize("seed", range(4))
def test_3d_truth_projects_to_where_the_crop_shows_it(seed: int) -> None:
    source = source_of("mads")
    example = ExampleReader(GEOMETRY_ONLY, Scenery())(source, 3, np.random.default_rng(seed))
    assert source.coords3d is not None
    camera, target = _cameras_of(source, 3, seed)
    shown = reproject(camera_to_image(source.coords3d[3], camera), camera, target)
    shown = shown[MIRROR] if np.linalg.det(target.rotation) < 0 else shown
    homogeneous = example["coords3d"] @ example["intrinsics"].T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], shown, atol=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_2d_truth_without_a_camera_moves_with_the_picture(seed: int) -> None:
    source = source_of("coco")
    example = ExampleReader(GEOMETRY_ONLY, Scenery())(source, 2, np.random.default_rng(seed))
    assert source.coords2d is not None
    camera, target = _cameras_of(source, 2, seed)
    shown = reproject(source.coords2d[2], camera, target)
    shown = shown[MIRROR] if np.linalg.det(target.rotation) < 0 else shown
    valid = example["point_validity"]
    np.testing.assert_allclose(example["coords2d"][valid], shown[valid], atol=0.02)


def test_a_mirrored_picture_swaps_names_and_twice_mirrored_is_as_before() -> None:
    n_joints = len(NAMES)
    points = {
        "coords3d": np.arange(6 * n_joints, dtype=np.float32).reshape(2, -1, 3),
        "coords2d": np.arange(4 * n_joints, dtype=np.float32).reshape(2, -1, 2),
        "point_validity": np.arange(2 * n_joints).reshape(2, -1) % 3 > 0,
        "joint_ids": np.tile(np.arange(n_joints, dtype=np.int32), (2, 1)),
        "canonical_points": np.zeros((2, n_joints, 3), np.float32),
    }
    mirror, second = np.array(MIRROR), np.array([False, True])
    once = mirrored_points(points, mirror, second)
    left, right = NAMES.index("lwri"), NAMES.index("rwri")
    np.testing.assert_array_equal(once["coords3d"][1, left], points["coords3d"][1, right])
    np.testing.assert_array_equal(once["joint_ids"], points["joint_ids"])
    twice = mirrored_points(once, mirror, second)
    for name in points:
        np.testing.assert_array_equal(once[name][0], points[name][0])
        np.testing.assert_array_equal(twice[name], points[name])


def test_mirrored_surface_points_change_sides_on_the_body() -> None:
    canonical = np.tile(np.array([[0.3, 1, 2]], np.float32), (2, 1, 1))
    points = {"canonical_points": canonical, "coords2d": np.ones((2, 1, 2))}
    mirrored = mirrored_points(points, None, np.array([True, False]))
    np.testing.assert_allclose(mirrored["canonical_points"][:, 0], [[-0.3, 1, 2], [0.3, 1, 2]])
    np.testing.assert_array_equal(mirrored["coords2d"], points["coords2d"])


def test_a_mirrored_crop_is_the_crop_mirrored() -> None:
    source = source_of("agora")
    _, target = cameras(source, 0)
    _, mirrored = cameras(source, 0, GeometryDraws(flip=True))
    points = np.array([[0.2, -0.1, 3.0], [-0.4, 0.3, 4.0]])
    straight = camera_to_image(points @ target.rotation.T, target)
    reflected = camera_to_image(points @ mirrored.rotation.T, mirrored)
    np.testing.assert_allclose(reflected[:, 0], 63 - straight[:, 0], atol=1e-9)
    np.testing.assert_allclose(reflected[:, 1], straight[:, 1], atol=1e-9)


def test_without_a_generator_nothing_is_augmented_and_nothing_is_repacked() -> None:
    reader = ExampleReader(GEOMETRY_ONLY, Scenery())
    source = source_of("behave")
    one, other = reader(source, 1, None), reader(source, 1, None)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(one["point_validity"], source.validity[1])
    np.testing.assert_allclose(one["intrinsics"][:2, 2], 31.5)


@pytest.mark.parametrize("factor", [2, 4])
def test_decoding_smaller_moves_nothing(factor: int) -> None:
    """The centre of a blob stays where the reduced camera says it is."""
    image = np.zeros((256, 256), np.uint8)
    cv2.circle(image, (150, 90), 24, 255, -1)
    flags = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4}[factor]
    small = cv2.imdecode(cv2.imencode(".jpg", image)[1], flags).astype(float)
    rows, columns = np.indices(small.shape)
    centroid = np.array([(small * columns).sum(), (small * rows).sum()]) / small.sum()
    camera, _ = cameras(source_of("agora"), 0)
    smaller = reduced(camera[np.newaxis], np.array([factor]))[0]
    expected = reproject(np.array([150.0, 90.0]), camera, smaller)
    np.testing.assert_allclose(centroid, expected, atol=0.1)


def test_a_picture_is_decoded_smaller_only_where_the_crop_cannot_tell() -> None:
    source = source_of("coco")
    for side, factors in ((64, {1}), (8, {4, 8})):
        camera, target = cameras(source, 0, side=side)
        assert set(decoding_factors(camera[np.newaxis], target[np.newaxis])) <= factors


def test_a_broken_picture_names_its_row() -> None:
    source = source_of("mads")
    source.split.images[int(source.rows[4])] = b"\xff\xd8\xff cut"  # type: ignore[attr-defined]
    try:
        with pytest.raises(StoreError) as caught:
            ExampleReader(GEOMETRY_ONLY, Scenery())(source, 4, None)
        assert f"row {source.rows[4]}" in str(caught.value)
    finally:
        stick_sources.__globals__["stick_stores"].cache_clear()


def cameras(
    source: Source, position: int, draws: GeometryDraws = UNCHANGED, *, side: int = 64
) -> tuple[Camera, Camera]:
    """The camera of a stored picture and that of its crop."""
    parts = [(source, np.array([0]))]
    found = crop_cameras(parts, np.array([position]), np.array([SIZE]), side=side, draws=draws)
    return found[0][0], found[1][0]


def _cameras_of(source: Source, position: int, seed: int) -> tuple[Camera, Camera]:
    """The cameras that a reader with this seed used."""
    reader = ExampleReader(GEOMETRY_ONLY, Scenery())
    draws = reader.draw([source], np.array([0]), np.random.default_rng(seed))
    return cameras(source, position, draws.geometry)
