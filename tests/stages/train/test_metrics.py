"""Metrics measure what their names say."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from stages.train.metrics import (
    metrics_3d,
    pixel_error,
    procrustes_align,
    root_relative_distance,
)
from stages.train.projection import center_on_last, center_on_mean, is_within_fov, project
from stages.train.settings import HeadSettings
from tests.stages.train.scenes import Floats, random_scene

HEAD = HeadSettings()


def rotation(seed: int) -> Floats:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def align(prediction: Floats, truth: Floats, validity: np.ndarray, **options: bool) -> Floats:
    aligned = procrustes_align(
        tf.constant(prediction, tf.float32),
        tf.constant(truth, tf.float32),
        validity=tf.constant(validity),
        **options,
    )
    return aligned.numpy()


@pytest.mark.parametrize("seed", range(4))
def test_procrustes_undoes_rotation_scale_and_translation(seed: int) -> None:
    scene = random_scene(seed)
    moved = 0.4 * scene.truth @ rotation(seed) + [1, -2, 3]
    aligned = align(moved, scene.truth, scene.validity)
    np.testing.assert_allclose(aligned[:-1], scene.truth[:-1], atol=1e-4)


def test_procrustes_moves_masked_points_along_without_listening_to_them() -> None:
    scene = random_scene(5)
    moved = 2 * scene.truth @ rotation(5)
    moved[~scene.validity] += 100
    aligned = align(moved, scene.truth, scene.validity)
    np.testing.assert_allclose(aligned[scene.validity], scene.truth[scene.validity], atol=1e-4)
    off = np.linalg.norm(aligned - scene.truth, axis=-1)[:-1][~scene.validity[:-1]]
    np.testing.assert_allclose(off, 50 * np.sqrt(3), rtol=1e-4)


def test_procrustes_does_not_mirror() -> None:
    scene = random_scene(6)
    mirrored = scene.truth * [-1, 1, 1]
    aligned = align(mirrored, scene.truth, scene.validity)
    assert np.abs(aligned - scene.truth)[scene.validity].max() > 0.1
    # No other scale would fit better.
    for n in range(4):
        fitted, wanted = (x[n][scene.validity[n]] for x in (aligned, scene.truth))
        fitted, wanted = fitted - fitted.mean(axis=0), wanted - wanted.mean(axis=0)
        assert (fitted * wanted).sum() == pytest.approx((fitted**2).sum(), rel=1e-3)
    # What it found is a proper similarity: triple products keep their sign.
    corners = [0, *np.flatnonzero(scene.validity[0])[1:4]]
    before, after = (
        np.linalg.det(points[corners[1:]] - points[corners[0]])
        for points in (mirrored[0], aligned[0])
    )
    assert np.sign(before) == np.sign(after)


def test_procrustes_without_scaling_keeps_lengths() -> None:
    scene = random_scene(7)
    aligned = align(3 * scene.truth, scene.truth, scene.validity, allow_scaling=False)
    before, after = (
        np.linalg.norm(np.diff(points[:-1], axis=1), axis=-1)
        for points in (3 * scene.truth, aligned)
    )
    np.testing.assert_allclose(after, before, rtol=1e-4)


def test_procrustes_of_no_point_is_nan_and_of_one_point_is_exact() -> None:
    scene = random_scene(8)
    validity = np.zeros_like(scene.validity)
    validity[0, 3] = True
    aligned = align(scene.prediction, scene.truth, validity)
    np.testing.assert_allclose(aligned[0, 3], scene.truth[0, 3], rtol=1e-5)
    assert np.isnan(aligned[1:]).all()


def metrics(prediction: Floats, head: HeadSettings = HEAD):
    scene = random_scene(9)
    return metrics_3d(
        tf.constant(scene.truth, tf.float32),
        tf.constant(prediction, tf.float32),
        intrinsics=tf.constant(scene.intrinsics, tf.float32),
        validity=tf.constant(scene.validity),
        head=head,
    )


def test_a_perfect_prediction_has_perfect_metrics() -> None:
    found = metrics(random_scene(9).truth)
    np.testing.assert_allclose(found, [0, 0, 100, 100, 0, 0], atol=1e-2)


def test_a_translation_shows_in_absolute_and_pixel_errors_only() -> None:
    found = metrics(random_scene(9).truth + np.array([0.03, 0.0, 0.04]))
    assert found.mean_error_abs.numpy() == pytest.approx(50, rel=1e-4)
    assert found.mean_error_px > 1
    np.testing.assert_allclose(found[1:5], [0, 100, 100, 0], atol=0.05)


def test_auc_is_a_ramp_per_point() -> None:
    scene = random_scene(9)
    prediction = scene.truth.copy()
    # Pairs of valid points in opposite directions keep the mean where it is.
    n, first, second = 0, *np.flatnonzero(scene.validity[0])[1:3]
    prediction[n, first, 0] += 0.075
    prediction[n, second, 0] -= 0.075
    n_valid = scene.validity.sum()
    found = metrics(prediction)
    assert found.auc.numpy() == pytest.approx(100 * (n_valid - 2 * 0.75) / n_valid, rel=1e-4)
    assert found.pck.numpy() == pytest.approx(100)
    assert found.mean_error.numpy() == pytest.approx(150 / n_valid, rel=1e-3)


def test_pixel_errors_are_those_of_a_256_px_crop() -> None:
    scene = random_scene(10)
    truth, intrinsics = (
        tf.constant(array, tf.float32) for array in (scene.truth, scene.intrinsics)
    )
    pixels = project(truth, intrinsics, min_depth_m=0.001) + tf.constant([3.0, 4.0])
    for side in (256, 384):
        error = pixel_error(
            pixels,
            truth,
            intrinsics=intrinsics,
            validity=tf.constant(scene.validity),
            head=HeadSettings(proc_side=side),
        )
        assert error.numpy() == pytest.approx(5 * 256 / side, rel=1e-4)


def test_root_relative_distances_are_zero_at_the_root() -> None:
    scene = random_scene(11)
    distance = root_relative_distance(
        tf.constant(scene.truth, tf.float32),
        tf.constant(scene.prediction, tf.float32),
        validity=tf.constant(scene.validity),
        root_index=tf.constant(np.array([0, 4, -1, -1, -1], np.int32)),
    ).numpy()
    assert distance[0, 0] == distance[1, 4] == 0
    assert distance[0, 4] > 0 < distance[2].min()


def test_points_behind_the_camera_project_somewhere_finite() -> None:
    points = tf.constant([[[0.1, 0.2, -1.0], [0.0, 0.0, 0.0], [0.1, 0.2, 2.0]]])
    intrinsics = tf.constant([[[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]])
    pixels = project(points, intrinsics, min_depth_m=0.1).numpy()
    assert np.isfinite(pixels).all()
    np.testing.assert_allclose(pixels[0, 2], [55, 60])
    # Nearer than the least depth the homogeneous coordinate is not 1: cx is scaled by −1 / 0.1.
    np.testing.assert_allclose(pixels[0, 0], [100 - 500, 200 - 500])


def test_the_field_of_view_ends_a_border_before_the_last_cell() -> None:
    pixels = tf.constant([[32.0, 224.0], [31.9, 100.0], [100.0, 224.1]])
    assert is_within_fov(pixels, border=1, head=HEAD).numpy().tolist() == [True, False, False]
    shifted = HeadSettings(centered_stride=False)
    found = is_within_fov(pixels - 16, border=1, head=shifted).numpy().tolist()
    assert found == [True, False, False]


def test_centring_takes_the_valid_mean_or_the_last_point_away() -> None:
    points = tf.constant([[[1.0, 1, 1], [3, 3, 3], [9, 9, 9]]])
    valid = tf.constant([[True, True, False]])
    np.testing.assert_allclose(center_on_mean(points, valid)[0, :, 0], [-1, 1, 7])
    np.testing.assert_allclose(center_on_mean(points, joints=[2])[0, :, 0], [-8, -6, 0])
    np.testing.assert_allclose(center_on_last(points)[0, :, 0], [-8, -6, 0])
