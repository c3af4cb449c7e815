"""Cameras project as OpenCV does, and every step has its way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.cameras import (
    Camera,
    camera_to_image,
    distort,
    homography,
    image_to_camera,
    looking_at,
    make_camera,
    mirrored,
    reproject,
    rolled,
    scaled,
    undistort,
    with_principal_point,
    with_square_pixels,
    without_distortion,
    world_to_camera,
    world_to_image,
    zoomed,
)

KINECT = [0.51, -2.72, 0.00044, -0.0003, 1.57, 0.39, -2.53, 1.49]
WIDE = [-0.21, 0.11, 0.0013, -0.0009, -0.025]


def random_camera(seed: int, *, distortion: list[float] | None = None) -> Camera:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return make_camera(
        [[rng.uniform(400, 900), rng.normal(), 310], [0, rng.uniform(400, 900), 255], [0, 0, 1]],
        rotation=rotation,
        position=rng.normal(size=3),
        distortion=distortion,
        world_up=rng.normal(size=3),
    )


def points_before(camera: Camera, seed: int, n_points: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.4, 0.4, (n_points, 3)) * [3, 3, 1] + [0, 0, 3]
    return points @ camera.rotation + camera.position


@pytest.mark.parametrize("n_coefficients", [0, 4, 5, 8, 12, 14])
def test_projection_agrees_with_opencv(n_coefficients: int) -> None:
    coefficients = np.random.default_rng(n_coefficients).normal(size=n_coefficients) * 0.05
    camera = random_camera(1, distortion=coefficients.tolist())
    camera = make_camera(
        camera.intrinsics * np.array([[1, 0, 1], [1, 1, 1], [1, 1, 1]]),  # OpenCV knows no skew
        rotation=camera.rotation,
        position=camera.position,
        distortion=coefficients,
    )
    world = points_before(camera, 2)
    expected, _ = cv2.projectPoints(
        world - camera.position,
        cv2.Rodrigues(camera.rotation)[0],
        np.zeros(3),
        camera.intrinsics,
        coefficients if n_coefficients else None,
    )
    np.testing.assert_allclose(world_to_image(world, camera), expected[:, 0], atol=1e-9)


@pytest.mark.parametrize("coefficients", [WIDE, KINECT, [0.05] * 12 + [0.03, -0.02]])
def test_undistorting_undoes_distorting_across_the_whole_picture(
    coefficients: list[float],
) -> None:
    full = np.zeros(14)
    full[: len(coefficients)] = coefficients
    points = np.stack(np.meshgrid(*[np.linspace(-0.75, 0.75, 31)] * 2), axis=-1)
    np.testing.assert_allclose(undistort(distort(points, full), full), points, atol=1e-12)


def test_where_no_ray_leads_to_a_pixel_the_nearest_finite_one_is_found() -> None:
    strong = np.zeros(14)
    strong[0] = -0.5  # nothing is imaged beyond radius 0.544
    found = undistort(np.array([[0.2, 0.1], [3.0, 0.0], [0.0, 0.8]]), strong)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(distort(found[:1], strong), [[0.2, 0.1]], atol=1e-14)


def test_too_many_coefficients_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 14"):
        make_camera(np.eye(3), distortion=np.zeros(15))


@pytest.mark.parametrize("distortion", [None, WIDE])
def test_pixels_become_rays_and_rays_pixels(distortion: list[float] | None) -> None:
    camera = random_camera(3, distortion=distortion)
    pixels = np.random.default_rng(4).uniform([0, 0], [620, 500], (50, 2))
    rays = image_to_camera(pixels, camera)
    np.testing.assert_allclose(camera_to_image(rays * 7, camera), pixels, atol=1e-9)


@pytest.mark.parametrize("distortion", [None, WIDE])
def test_reprojecting_is_projecting_into_the_other_camera(distortion: list[float] | None) -> None:
    source = random_camera(5, distortion=distortion)
    target = rolled(zoomed(without_distortion(looking_at([200, 300], source)), 1.3), 0.4)
    world = points_before(source, 6)
    np.testing.assert_allclose(
        reproject(world_to_image(world, source), source, target),
        world_to_image(world, target),
        atol=1e-7,
    )


def test_without_distortion_reprojection_is_a_homography() -> None:
    source = random_camera(7)
    target = looking_at([100, 50], scaled(source, 0.7))
    pixels = np.array([[0.0, 0], [600, 10], [300, 400]])
    mapped = np.concatenate([pixels, np.ones((3, 1))], axis=1) @ homography(source, target).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], reproject(pixels, source, target))
    with pytest.raises(ValueError, match="distorted"):
        homography(random_camera(7, distortion=WIDE), target)


@pytest.mark.parametrize("seed", range(5))
def test_looking_at_a_pixel_is_upright_and_centred_on_it(seed: int) -> None:
    source = random_camera(seed, distortion=WIDE)
    turned = without_distortion(looking_at([420, 130], source))
    np.testing.assert_allclose(turned.rotation @ turned.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turned.rotation) == pytest.approx(1)
    center = turned.intrinsics[:2, 2]
    np.testing.assert_allclose(reproject([420, 130], source, turned), center, atol=1e-8)
    assert turned.rotation[0] @ source.world_up == pytest.approx(0, abs=1e-12)
    up_in_camera = turned.rotation @ source.world_up
    assert up_in_camera[1] < 0


def test_looking_straight_down_keeps_the_cameras_own_up() -> None:
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    camera = make_camera(np.diag([500, 500, 1]), rotation=rotation, world_up=[0, -1, 0])
    np.testing.assert_allclose(looking_at([0, 0], camera).rotation, rotation, atol=1e-12)


def test_an_unknown_up_is_the_cameras_own() -> None:
    rotation = rolled(make_camera(np.eye(3)), 0.3).rotation
    camera = make_camera(np.diag([500, 500, 1]), rotation=rotation)
    np.testing.assert_allclose(looking_at([0, 0], camera).rotation, rotation, atol=1e-12)


def test_rolling_turns_the_picture_about_the_principal_point() -> None:
    camera = with_principal_point(with_square_pixels(random_camera(8)), [300, 200])
    camera = make_camera(camera.intrinsics * np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]]))
    right = camera.intrinsics[:2, 2] + [10, 0]
    turned = reproject(right, camera, rolled(camera, np.pi / 2))
    np.testing.assert_allclose(turned, [300, 190], atol=1e-6)


def test_mirroring_twice_changes_nothing_and_once_swaps_the_sides() -> None:
    camera = make_camera([[500, 0, 127.5], [0, 500, 127.5], [0, 0, 1]])
    np.testing.assert_array_equal(mirrored(mirrored(camera)).rotation, camera.rotation)
    pixels = reproject([[0.0, 10], [200, 30]], camera, mirrored(camera))
    np.testing.assert_allclose(pixels, [[255, 10], [55, 30]])


def test_square_pixels_have_one_focal_length_and_stretch_the_rest_along() -> None:
    square = with_square_pixels(make_camera([[400, 4, 100], [0, 600, 90], [0, 0, 1]]))
    np.testing.assert_allclose(square.intrinsics, [[500, 5, 125], [0, 500, 75], [0, 0, 1]])


def test_world_points_go_through_position_first() -> None:
    camera = make_camera(np.eye(3), rotation=np.diag([-1, 1, -1]), position=[1, 2, 3])
    np.testing.assert_allclose(world_to_camera([1, 2, 0], camera), [0, 0, 3])
