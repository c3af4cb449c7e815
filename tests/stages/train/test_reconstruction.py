"""Absolute positions come back from pixels and root-free points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from stages.train.projection import normalize_pixels, project
from stages.train.reconstruction import (
    INFERENCE_RAGGED,
    INFERENCE_SHARED_POINTS,
    TRAINING,
    TRAINING_START,
    Reconstruction,
    full_perspective_reference,
    reconstruct_absolute,
    reconstruction_mask,
    weak_perspective_reference,
)
from stages.train.settings import HeadSettings, LossSettings
from tests.stages.train.scenes import Floats, Scene, random_scene

HEAD = HeadSettings()
CALLERS = [TRAINING, TRAINING_START, INFERENCE_RAGGED, INFERENCE_SHARED_POINTS]


def perfect_heads(scene: Scene) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Exact pixels, exact points moved to somewhere else, intrinsics."""
    truth, intrinsics = (
        tf.constant(array, tf.float32) for array in (scene.truth, scene.intrinsics)
    )
    offset = tf.random.stateless_normal([len(scene.truth), 1, 3], [1, 2])
    return project(truth, intrinsics, min_depth_m=0.001), truth + offset, intrinsics


@pytest.mark.parametrize("how", [TRAINING, INFERENCE_RAGGED, INFERENCE_SHARED_POINTS])
@pytest.mark.parametrize("depth_m", [2.0, 4.0, 8.0])
def test_perfect_heads_give_perfect_positions(how: Reconstruction, depth_m: float) -> None:
    scene = random_scene(1, depth_m=depth_m)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    found = reconstruct_absolute(coords2d, coords3d, intrinsics=intrinsics, how=how, head=HEAD)
    # What is left is the pull of the Tikhonov term.
    assert np.abs(found - scene.truth).max() < 0.01 * depth_m


def test_weak_perspective_comes_near() -> None:
    scene = random_scene(2, depth_m=8.0)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    found = reconstruct_absolute(
        coords2d, coords3d, intrinsics=intrinsics, how=TRAINING_START, head=HEAD
    )
    assert np.abs(found - scene.truth).max() < 0.05 * 8


@pytest.mark.parametrize("how", CALLERS)
def test_where_the_3d_head_puts_its_origin_does_not_matter(how: Reconstruction) -> None:
    scene = random_scene(3)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    noisy = coords3d + tf.random.stateless_normal(coords3d.shape, [3, 4]) * 0.05
    first, second = (
        reconstruct_absolute(coords2d, points, intrinsics=intrinsics, how=how, head=HEAD)
        for points in (noisy, noisy + tf.constant([0.3, -0.7, 0.4]))
    )
    # Not exact: the Tikhonov term pulls towards the origin.
    np.testing.assert_allclose(first, second, atol=0.02)


def numpy_full_perspective(n: Floats, points: Floats, usable: np.ndarray, regul: float) -> Floats:
    """The normal equations as a matrix, in float64."""
    q = n * points[:, 2:] - points[:, :2]
    count = max(usable.sum(), 1)
    a, c = (np.sqrt((x[usable] ** 2).sum() / count + 1e-10) for x in (n, q))
    rows, right = [], []
    for i, weight in enumerate(usable + 1e-4):
        rows += [
            weight * np.array([1, 0, -n[i, 0] / a]),
            weight * np.array([0, 1, -n[i, 1] / a]),
        ]
        right += list(weight * q[i] / c)
    matrix = np.array(rows)
    r = np.linalg.solve(matrix.T @ matrix + regul * np.eye(3), matrix.T @ np.array(right))
    return r * [c, c, c / a]


@pytest.mark.parametrize("regularization", [1e-4, 1.0])
def test_the_full_perspective_reference_solves_the_regularised_equations(
    regularization: float,
) -> None:
    scene = random_scene(4, noise=0.1)
    usable = scene.validity.copy()  # the last example has no usable point
    normalized = normalize_pixels(
        tf.constant(scene.pixels, tf.float32), tf.constant(scene.intrinsics, tf.float32)
    )
    found = full_perspective_reference(
        normalized,
        tf.constant(scene.prediction, tf.float32),
        usable=tf.constant(usable),
        regularization=regularization,
    )
    for n in range(len(scene.truth)):
        expected = numpy_full_perspective(
            normalized[n].numpy().astype(np.float64), scene.prediction[n], usable[n], regularization
        )
        np.testing.assert_allclose(found[n], expected, rtol=1e-3, atol=1e-4)


def test_without_usable_points_weak_perspective_is_a_metre_away() -> None:
    scene = random_scene(5)
    found = weak_perspective_reference(
        tf.constant(scene.pixels, tf.float32),
        tf.constant(scene.truth, tf.float32),
        usable=tf.zeros(scene.validity.shape, tf.bool),
    )
    np.testing.assert_allclose(found, np.tile([0, 0, 1], [len(scene.truth), 1]), atol=1e-6)


@pytest.mark.parametrize("how", CALLERS)
def test_it_is_finite_with_finite_gradients_even_where_nothing_is_usable(
    how: Reconstruction,
) -> None:
    scene = random_scene(6)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    with tf.GradientTape() as tape:
        tape.watch([coords2d, coords3d])
        found = reconstruct_absolute(
            coords2d,
            coords3d,
            intrinsics=intrinsics,
            mask=tf.constant(scene.validity),
            how=how,
            head=HEAD,
        )
    assert np.isfinite(found).all()
    for gradient in tape.gradient(found, [coords2d, coords3d]):
        assert np.isfinite(gradient).all()


def test_points_out_of_view_are_placed_by_the_3d_head_alone() -> None:
    scene = random_scene(7)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    far = tf.concat([coords2d[:, :-1], coords2d[:, -1:] + 3.0], axis=1)
    beside = tf.concat([coords3d[:, :-1], coords3d[:, -1:] + tf.constant([9.0, 0, 0])], axis=1)
    mask = tf.constant(np.arange(30) < 29)[tf.newaxis] & tf.ones([5, 30], tf.bool)
    found = reconstruct_absolute(
        far, beside, intrinsics=intrinsics, mask=mask, how=TRAINING, mix=0.0, head=HEAD
    )
    other = reconstruct_absolute(
        coords2d, beside, intrinsics=intrinsics, mask=mask, how=TRAINING, mix=0.0, head=HEAD
    )
    # Decided on the 2D-based estimate in training: in view, so pixels decide the place.
    assert np.abs(found[:, -1] - other[:, -1]).max() > 1e-3
    by_3d = replace(TRAINING, decide_on_3d=True)
    found, other = (
        reconstruct_absolute(
            pixels, beside, intrinsics=intrinsics, mask=mask, how=by_3d, mix=0.0, head=HEAD
        )
        for pixels in (far, coords2d)
    )
    np.testing.assert_array_equal(found[:, -1], other[:, -1])


def test_points_behind_the_camera_are_placed_by_the_3d_head_alone() -> None:
    scene = random_scene(12)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    behind = tf.concat([coords3d[:, :-1], coords3d[:, -1:] - tf.constant([0.0, 0, 10])], axis=1)
    mask = tf.constant(np.arange(30) < 29)[tf.newaxis] & tf.ones([5, 30], tf.bool)
    how = replace(TRAINING, output_border=-1e6)
    rigid, found = (
        reconstruct_absolute(
            coords2d, behind, intrinsics=intrinsics, mask=mask, how=how, mix=mix, head=HEAD
        )
        for mix in (1.0, 0.0)
    )
    assert (rigid[:, -1, 2].numpy() < 0).all()
    np.testing.assert_allclose(found[:, -1], rigid[:, -1], rtol=1e-6)


def test_a_mix_of_one_is_the_3d_based_estimate_and_of_zero_lies_on_the_rays() -> None:
    scene = random_scene(8, noise=0.1)
    coords2d, coords3d, intrinsics = perfect_heads(scene)
    coords3d += tf.random.stateless_normal(coords3d.shape, [5, 6]) * 0.1
    how = replace(TRAINING, output_border=-100.0)
    rigid, on_rays = (
        reconstruct_absolute(coords2d, coords3d, intrinsics=intrinsics, how=how, mix=mix, head=HEAD)
        for mix in (1.0, tf.zeros([5, 1, 1]))
    )
    offset = rigid - coords3d
    np.testing.assert_allclose(offset, tf.repeat(offset[:, :1], 30, axis=1), atol=1e-5)
    np.testing.assert_allclose(project(on_rays, intrinsics, min_depth_m=0.001), coords2d, atol=0.01)


def test_the_mode_may_be_a_tensor() -> None:
    scene = random_scene(9)
    coords2d, coords3d, intrinsics = perfect_heads(scene)

    @tf.function
    def reconstruct(step: tf.Tensor) -> tf.Tensor:
        return reconstruct_absolute(
            coords2d,
            coords3d,
            intrinsics=intrinsics,
            weak_perspective=step < HEAD.weak_perspective_steps,
            how=TRAINING,
            head=HEAD,
        )

    for step, how in ((0, TRAINING_START), (499, TRAINING_START), (500, TRAINING)):
        expected = reconstruct_absolute(
            coords2d, coords3d, intrinsics=intrinsics, how=how, head=HEAD
        )
        np.testing.assert_allclose(reconstruct(tf.constant(step)), expected, rtol=1e-5)


def test_only_certain_points_take_part_once_a_tenth_of_the_training_is_over() -> None:
    pixels = tf.constant([[[128.0, 128.0], [128.0, 128.0], [5.0, 128.0], [128.0, 128.0]]])
    masks = {
        step: reconstruction_mask(
            pixels,
            validity=tf.constant([[True, True, True, False]]),
            true_depth=tf.constant([[1.0, 1.0, 1.0, 1.0]]),
            uncert=tf.constant([[0.1, 0.5, 0.1, 0.1]]),
            step=step,
            training_steps=1000,
            loss=LossSettings(),
            head=HEAD,
        )
        .numpy()[0]
        .tolist()
        for step in (0, 99, 100)
    }
    assert masks[0] == masks[99] == [True, True, False, False]
    assert masks[100] == [True, False, False, False]
