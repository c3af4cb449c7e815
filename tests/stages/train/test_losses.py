"""The losses are their formulas, and nothing but valid points pulls at the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stages.train.losses import (
    Loss3D,
    charbonnier,
    loss_with_2d_truth,
    loss_with_3d_truth,
    robust_norm,
    total_loss,
)
from stages.train.settings import HeadSettings, LossSettings
from tests.stages.train.scenes import Floats, Scene, random_scene

HEAD = HeadSettings()
SETTINGS = [
    LossSettings(),
    LossSettings(nll_loss=False),
    LossSettings(beta_nll=0.0, charb_eps=0.01),
    LossSettings(fix_uncert_factor=True, beta_nll=0.5),
]


def loss3d(scene: Scene, step: int = 10_000, loss: LossSettings | None = None, **changed: Any):
    arrays = {"truth": scene.truth, "prediction": scene.prediction, "uncert": scene.uncert}
    tensors = {
        name: array if tf.is_tensor(array) else tf.constant(array, tf.float32)
        for name, array in {**arrays, **changed}.items()
    }
    return loss_with_3d_truth(
        tensors["truth"],
        tensors["prediction"],
        intrinsics=tf.constant(scene.intrinsics, tf.float32),
        validity=tf.constant(scene.validity),
        root_index=tf.constant(scene.root_index),
        uncert=tensors["uncert"],
        step=step,
        loss=LossSettings() if loss is None else loss,
        head=HEAD,
    )


# --- the formulas again, example by example and point by point, in float64 -------------------


def numpy_norm(x: Floats, sigma: float, loss: LossSettings) -> float:
    if not loss.nll_loss:
        return float(np.sqrt(np.mean(x**2) + loss.charb_eps**2) - loss.charb_eps)
    root = np.sqrt(len(x))
    factor = 1 / root if loss.fix_uncert_factor else root
    norm = np.sqrt(np.mean((x / sigma) ** 2) + loss.charb_eps**2) - loss.charb_eps
    return float((norm + factor * np.log(sigma)) * sigma**loss.beta_nll)


def numpy_project(point: Floats, k: Floats) -> Floats:
    return (k @ (point / max(point[2], HEAD.min_projection_depth_m)))[:2]


def numpy_in_window(pixel: Floats) -> bool:
    margin = 20 * HEAD.stride_train * HEAD.proc_side / 256
    return bool((pixel >= -margin).all() and (pixel <= HEAD.proc_side + margin).all())


def numpy_loss3d(scene: Scene, loss: LossSettings) -> tuple[float, float, float]:
    relative, absolute, projected = [], [], []
    for n in range(len(scene.truth)):
        d = scene.truth[n] - scene.prediction[n]
        if scene.root_index[n] >= 0:
            origin = d[scene.root_index[n]]
        else:
            origin = d[scene.validity[n]].mean(axis=0) if scene.validity[n].any() else np.zeros(3)
        for p in np.flatnonzero(scene.validity[n]):
            truth, sigma = scene.truth[n, p], scene.uncert[n, p]
            relative.append(numpy_norm(d[p] - origin, sigma, loss))
            if truth[2] <= 0.3:
                continue
            squeezed = d[p] * [1, 1, min(1, 5 / abs(truth[2]))]
            absolute.append(numpy_norm(squeezed, 4 * sigma, loss))
            prediction = scene.prediction[n, p]
            pixels = [numpy_project(x, scene.intrinsics[n]) for x in (truth, prediction)]
            if prediction[2] > 0.001 and all(map(numpy_in_window, pixels)):
                residual = (pixels[0] - pixels[1]) * 2.2 / 256
                projected.append(numpy_norm(residual, sigma, loss))
    return tuple(float(np.mean(x)) if x else 0.0 for x in (relative, absolute, projected))


def numpy_loss2d(scene: Scene, loss: LossSettings) -> float:
    values = []
    for n, p in np.argwhere(scene.validity):
        pixel = numpy_project(scene.prediction[n, p], scene.intrinsics[n])
        if numpy_in_window(pixel) and numpy_in_window(scene.pixels[n, p]):
            residual = (scene.pixels[n, p] - pixel) * 2.2 / 256
            values.append(numpy_norm(residual, scene.uncert[n, p], loss))
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("loss", SETTINGS)
@pytest.mark.parametrize(("depth_m", "noise"), [(4.0, 0.1), (7.0, 0.3), (0.6, 0.4)])
def test_the_loss_with_3d_truth_is_its_formula(
    loss: LossSettings, depth_m: float, noise: float
) -> None:
    scene = random_scene(1, depth_m=depth_m, noise=noise)
    found = loss3d(scene, loss=loss)
    expected = numpy_loss3d(scene, loss)
    np.testing.assert_allclose(found[:3], expected, rtol=2e-5)
    np.testing.assert_allclose(
        found.total, expected[0] + expected[2] + 0.1 * expected[1], rtol=2e-5
    )


@pytest.mark.parametrize("loss", SETTINGS)
@pytest.mark.parametrize("depth_m", [4.0, 0.6])
def test_the_loss_with_2d_truth_is_its_formula(loss: LossSettings, depth_m: float) -> None:
    scene = random_scene(2, depth_m=depth_m)
    found = loss_with_2d_truth(
        tf.constant(scene.pixels, tf.float32),
        tf.constant(scene.prediction, tf.float32),
        intrinsics=tf.constant(scene.intrinsics, tf.float32),
        validity=tf.constant(scene.validity),
        uncert=tf.constant(scene.uncert, tf.float32),
        loss=loss,
        head=HEAD,
    )
    np.testing.assert_allclose(found, numpy_loss2d(scene, loss), rtol=2e-5)


def test_the_gradient_is_the_slope_of_the_formula() -> None:
    # β = 0, as the weight σ^β is held still on purpose.
    loss = LossSettings(beta_nll=0.0)
    scene = random_scene(3)
    prediction, uncert = tf.constant(scene.prediction), tf.constant(scene.uncert)
    with tf.GradientTape() as tape:
        tape.watch([prediction, uncert])
        total = loss3d(scene, loss=loss, prediction=prediction, uncert=uncert).total
    gradients = tape.gradient(total, [prediction, uncert])

    def value(**moved: Floats) -> float:
        relative, absolute, projected = numpy_loss3d(replace(scene, **moved), loss)
        return relative + projected + 0.1 * absolute

    rng = np.random.default_rng(4)
    for name, gradient in zip(("prediction", "uncert"), gradients, strict=True):
        array = getattr(scene, name)
        direction = rng.normal(size=array.shape) * 1e-6
        slope = value(**{name: array + direction}) - value(**{name: array - direction})
        expected = float(np.sum(gradient.numpy() * direction)) * 2
        assert slope == pytest.approx(expected, rel=1e-3)


def test_a_residual_of_zero_pulls_nowhere() -> None:
    x = tf.zeros([2, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = charbonnier(x)
    np.testing.assert_array_equal(tape.gradient(value, x), np.zeros([2, 3]))
    assert np.isnan(charbonnier(tf.constant([[np.nan, 0.0]]))).all()


def test_beta_one_gives_each_point_the_pull_it_would_have_without_uncertainty() -> None:
    x = tf.constant([[0.3, -0.2, 0.1]])
    pulls = []
    for uncert in (0.05, 2.0):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = robust_norm(x, tf.constant([uncert]), settings=LossSettings())
        pulls.append(tape.gradient(value, x).numpy())
    np.testing.assert_allclose(pulls[0], pulls[1], rtol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_weight_of_a_point_does_not_pull_at_its_uncertainty(beta: float) -> None:
    x, uncert = tf.constant([[0.3, -0.2, 0.1]]), tf.constant([0.25])
    pulls = []
    for beta_nll in (0.0, beta):
        with tf.GradientTape() as tape:
            tape.watch(uncert)
            value = robust_norm(x, uncert, settings=LossSettings(beta_nll=beta_nll))
        pulls.append(tape.gradient(value, uncert).numpy())
    np.testing.assert_allclose(pulls[1], pulls[0] * 0.25**beta, rtol=1e-5)


def test_the_relative_loss_does_not_see_a_common_translation() -> None:
    scene = random_scene(5)
    moved = replace(scene, prediction=scene.prediction + np.array([0.5, -0.2, 1.0]))
    np.testing.assert_allclose(loss3d(scene).relative, loss3d(moved).relative, rtol=1e-4)
    assert abs(loss3d(scene).absolute - loss3d(moved).absolute) > 0.1


def test_the_absolute_loss_counts_before_its_start_but_does_not_pull() -> None:
    scene = random_scene(6)
    gradients = {}
    for step in (0, 4999, 5000):
        prediction = tf.constant(scene.prediction, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            found = loss3d(scene, step=step, prediction=prediction)
        gradients[step] = tape.gradient(found.total, prediction).numpy()
        np.testing.assert_allclose(found.total, loss3d(scene).total, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        parts = loss3d(scene, prediction=prediction)
        without = parts.relative + parts.projected
    expected = tape.gradient(without, prediction).numpy()
    np.testing.assert_allclose(gradients[4999], expected, atol=1e-7)
    assert np.abs(gradients[5000] - expected).max() > 1e-5


def test_a_prediction_behind_the_camera_has_no_projected_loss() -> None:
    # With the principal point at the corner, a point on the axis projects there from behind too.
    truth, behind = (tf.constant([[[0.0, 0.0, z], [0.1, 0.0, 2.0]]]) for z in (2.0, -1.0))
    found = loss_with_3d_truth(
        truth,
        behind + tf.constant([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]]),
        intrinsics=tf.constant([[[100.0, 0, 0], [0, 100, 0], [0, 0, 1]]]),
        validity=tf.constant([[True, True]]),
        root_index=tf.constant([-1]),
        uncert=tf.constant([[0.1, 0.1]]),
        step=0,
        loss=LossSettings(nll_loss=False),
        head=HEAD,
    )
    # Of the second point alone: 5 px in u.
    np.testing.assert_allclose(found.projected, 5 * 2.2 / 256 / np.sqrt(2), rtol=1e-5)


def test_an_infinite_absolute_loss_is_forgiven_before_its_start() -> None:
    scene = random_scene(7)
    broken = LossSettings(absloss_uncert_factor=float("inf"))
    uncert = tf.constant(scene.uncert, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(uncert)
        early = loss3d(scene, step=0, loss=broken, uncert=uncert)
    assert not np.isfinite(early.absolute)
    np.testing.assert_allclose(early.total, early.relative + early.projected)
    assert np.isfinite(tape.gradient(early.total, uncert)).all()
    assert not np.isfinite(loss3d(scene, step=5000, loss=broken).total)


def test_what_stands_in_invalid_places_does_not_matter_at_all() -> None:
    scene = random_scene(8)
    dirty = {
        name: np.where(
            scene.validity.reshape(array.shape[:2] + (1,) * (array.ndim - 2)), array, np.nan
        )
        for name, array in (
            ("truth", scene.truth),
            ("prediction", scene.prediction),
            ("uncert", scene.uncert),
        )
    }
    tensors = {name: tf.constant(array, tf.float32) for name, array in dirty.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        found: Loss3D = loss3d(scene, **tensors)
    np.testing.assert_allclose(found, loss3d(scene), rtol=1e-6)
    gradients = tape.gradient(found.total, [tensors["prediction"], tensors["uncert"]])
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert not gradient.numpy()[~scene.validity].any()


def test_a_batch_without_valid_points_costs_nothing() -> None:
    scene = random_scene(9)
    empty = replace(scene, validity=np.zeros_like(scene.validity))
    np.testing.assert_array_equal(loss3d(empty), np.zeros(4))


def test_half_precision_predictions_are_compared_in_single_precision() -> None:
    scene = random_scene(10)
    half = tf.constant(scene.prediction, tf.float16)
    assert loss3d(scene, prediction=half).total.dtype == tf.float32


def test_the_loss_may_be_traced_with_the_step_as_a_tensor() -> None:
    scene = random_scene(11)
    traced = tf.function(lambda step: loss3d(scene, step=step).total)
    np.testing.assert_allclose(traced(tf.constant(7)), loss3d(scene, step=7).total, rtol=1e-6)


def test_the_total_weighs_the_kinds() -> None:
    one = tf.constant(1.0)
    loss = LossSettings()
    everything = total_loss(param=one, kp3d=one, dense=one, kp2d=one, regularization=one, loss=loss)
    np.testing.assert_allclose(everything, 1 + 0.75 + 0.05 + 0.1 + 1)
    np.testing.assert_allclose(total_loss(kp3d=one, loss=loss), 0.75)


def test_a_term_that_is_not_finite_is_named() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="dense is not finite"):
        total_loss(param=tf.constant(1.0), dense=tf.constant(np.nan), loss=LossSettings())
