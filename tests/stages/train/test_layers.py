"""The layers of our own: batch renormalisation, the point field, the canonical joints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.train.batch_renormalization import BatchRenormalization, adapted_momentum
from stages.train.canonical_joints import CanonicalJoints, is_hand_joint, joint_symmetry
from stages.train.point_field import PointField, RowMeanSquare
from stages.train.settings import FieldSettings

BOUNDS = np.array([[-1.0, -1.2, -0.2], [1.0, 0.6, 0.2]], np.float32)
SMALL = FieldSettings(
    field_posenc_dim=12,
    field_fourier_dim=16,
    field_gps_hidden_size=20,
    field_hidden_size=8,
)
EIGENVALUES = np.linspace(3, 90, 12)


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(1)


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def images(shape: tuple[int, ...] = (4, 5, 3, 6)) -> np.ndarray:
    return np.random.default_rng(1).normal(2.0, 3.0, shape).astype(np.float32)


def renormalization(x: np.ndarray, rmax: float, dmax: float, **options: Any) -> Any:
    layer = BatchRenormalization(**options)
    layer.build(x.shape)
    rng = np.random.default_rng(2)
    layer.gamma.assign(rng.normal(size=x.shape[-1]))
    layer.beta.assign(rng.normal(size=x.shape[-1]))
    layer.moving_mean.assign(rng.normal(size=x.shape[-1]))
    layer.moving_variance.assign(rng.uniform(1, 20, x.shape[-1]))
    layer.set_limits(rmax=rmax, dmax=dmax)
    return layer


@pytest.mark.parametrize("shape", [(4, 5, 3, 6), (20, 6)])
@pytest.mark.parametrize(("rmax", "dmax"), [(1.0, 0.0), (1.5, 0.3), (30.0, 50.0)])
def test_renormalisation_is_its_formula(shape: tuple[int, ...], rmax: float, dmax: float) -> None:
    x = images(shape)
    layer = renormalization(x, rmax, dmax, momentum=0.8)
    gamma, beta, running_mean, running_variance = (
        v.numpy().astype(np.float64)
        for v in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean, unbiased = flat.mean(0), flat.var(0, ddof=1)
    r = np.clip(np.sqrt((unbiased + 1e-3) / (running_variance + 1e-3)), 1 / rmax, rmax)
    d = np.clip((mean - running_mean) / np.sqrt(running_variance + 1e-3), -dmax, dmax)
    expected = gamma * ((flat - mean) / np.sqrt(flat.var(0) + 1e-3) * r + d) + beta
    found = layer(x, training=True)
    np.testing.assert_allclose(found, expected.reshape(shape), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.8 * running_mean + 0.2 * mean, 1e-4)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), 0.8 * running_variance + 0.2 * unbiased, rtol=1e-4
    )


def test_unclipped_it_normalises_by_the_running_statistics() -> None:
    x = images()
    layer = renormalization(x, 1e4, 1e4)
    inferred = layer(x, training=False)
    # Up to biased against unbiased variance, 1 in 60.
    np.testing.assert_allclose(layer(x, training=True), inferred, rtol=0.02, atol=0.1)


def test_without_corrections_it_pulls_like_batch_normalisation() -> None:
    x = tf.constant(images())
    ours = renormalization(x, 1.0, 0.0)
    plain = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    plain.build(x.shape)
    plain.gamma.assign(ours.gamma)
    plain.beta.assign(ours.beta)
    results = []
    for layer in (ours, plain):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.sin(y))
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        results.append([y, *gradients])
    for first, second in zip(*results, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    x = images()
    layer = renormalization(x, 1.0, 0.0)
    layer.trainable = False
    before = layer.moving_mean.numpy()
    np.testing.assert_allclose(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_statistics_stay_in_single_precision(mixed_precision: None) -> None:
    x = tf.constant(images(), tf.float16)
    layer = renormalization(x, 3.0, 5.0)
    assert layer(x, training=True).dtype == tf.float16
    assert {v.dtype for v in layer.variables} == {"float32"}
    # 1e-4 would vanish beside 2048 in half precision.
    layer.moving_mean.assign(tf.fill([6], 2048.1))
    layer(x, training=True)
    assert abs(layer.moving_mean.numpy() % 1 - 0).max() > 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_the_layer_survives_saving_in_a_model(tmp_path: Any) -> None:
    x = images()
    layer = renormalization(x, 2.0, 1.0, momentum=0.7)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    expected = model(x, training=False)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(
        tmp_path / "model.keras",
        custom_objects={"BatchRenormalization": BatchRenormalization},
    )
    np.testing.assert_array_equal(restored(x, training=False), expected)
    assert restored.layers[0].momentum == 0.7


def test_many_small_updates_forget_as_fast_as_one() -> None:
    assert adapted_momentum(0.9, devices=1, accumulation=1) == pytest.approx(0.9)
    assert adapted_momentum(0.9, devices=1, accumulation=4) ** 4 == pytest.approx(0.9)
    assert adapted_momentum(0.9, devices=2, accumulation=1) == pytest.approx(0.95)


def field(settings: FieldSettings, **options: Any) -> PointField:
    layer = PointField(
        7, bounds=BOUNDS, settings=settings, **{"eigenvalues": EIGENVALUES, **options}
    )
    layer.build((None, 3))
    return layer


def points(*shape: int) -> tf.Tensor:
    return tf.random.stateless_uniform([*shape, 3], [1, 2], -0.5, 0.5)


@pytest.mark.parametrize("field_type", ["gps", "fourier", "vanilla"])
@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_every_field_maps_points_to_numbers(field_type: str, hidden_layers: int) -> None:
    layer = field(replace(SMALL, field_type=field_type, field_hidden_layers=hidden_layers))
    x = points(2, 9)
    with tf.GradientTape() as tape:
        y = layer(x)
    assert y.shape == (2, 9, 7)
    assert all(g is not None for g in tape.gradient(y, [v.value for v in layer.trainable_weights]))
    assert len(layer.losses) == 1
    np.testing.assert_allclose(layer(x[0]), y[0], atol=1e-5)


def test_the_regulariser_weighs_rows() -> None:
    kernel = tf.constant([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    assert RowMeanSquare(0.1)(kernel).numpy() == pytest.approx(0.1 * (5 + 25 + 0) / 3)
    layer = field(SMALL)
    expected = 1e-4 * np.mean(np.sum(layer.hidden[0].kernel.numpy() ** 2, axis=1))
    assert layer.losses[0].numpy() == pytest.approx(expected)


def test_low_frequencies_count_more() -> None:
    layer = field(SMALL)
    x = points(5)
    raw = layer.encoding(layer.normalize(x)).numpy()
    np.testing.assert_allclose(layer.encode(x), raw * 0.1 / np.sqrt(EIGENVALUES), rtol=1e-5)


def test_coordinates_may_go_along_with_the_signature() -> None:
    layer = field(replace(SMALL, lbo_concat_coord=True))
    x = points(5)
    np.testing.assert_allclose(layer.encode(x)[:, -3:], layer.normalize(x))
    assert layer(x).shape == (5, 7)


def test_queries_are_as_coarse_as_half_precision() -> None:
    near = tf.constant([[1.0, 1.0, 1.0], [1.0002, 1.0002, 1.0002]])
    first, second = field(SMALL)(near)
    np.testing.assert_array_equal(first, second)
    first, second = field(replace(SMALL, query_float16=False))(near)
    assert np.abs(first - second).max() > 0


def test_the_signature_can_be_kept_from_learning() -> None:
    for finetune, n_weights in ((False, 4), (True, 9)):
        model = keras.Sequential([field(replace(SMALL, finetune_gps=finetune))])
        assert len(model.trainable_variables) == n_weights


def test_a_field_without_fitting_eigenvalues_is_refused() -> None:
    for eigenvalues, message in (
        (None, "needs the eigenvalues"),
        (EIGENVALUES[:5], "5 eigenvalues"),
        (np.append(0, EIGENVALUES), "constant eigenfunction"),
    ):
        with pytest.raises(ValueError, match=message):
            field(SMALL, eigenvalues=eigenvalues)


def test_dense_layers_follow_the_precision_policy_frequencies_do_not(
    mixed_precision: None,
) -> None:
    layer = field(SMALL)
    assert layer(points(4)).dtype == tf.float16
    assert layer.encoding.fourier.compute_dtype == "float32"


SKELETONS = (("pelv", "rhip", "lhip", "lthumb1", "rthumb1"), ("lhip", "nose", "rhip", "lonely"))
POSITIONS = np.array(
    [
        [0, 0, 0],
        [0.1, 0, 0],
        [-0.1, 0, 0],
        [-0.5, 0.2, 0],
        [0.5, 0.2, 0],
        [-0.12, 0, 0],
        [0, 0.6, 0.1],
        [0.12, 0, 0],
        [0, 0.3, 0],
    ]
)


def test_twins_are_found_within_their_own_skeleton() -> None:
    symmetry = joint_symmetry(SKELETONS)
    assert symmetry.left == (2, 3, 5)
    assert symmetry.right == (1, 4, 7)
    assert symmetry.center == (0, 6, 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lthumb1", True),
        ("rpinky3_smplx", True),
        ("lhan3", True),
        ("lhan", False),
        ("lhan_coco", False),
        ("lwri_index", False),
        ("lank", False),
    ],
)
def test_finger_joints_are_told_by_name(name: str, expected: bool) -> None:
    assert is_hand_joint(name) is expected


def test_joints_can_be_kept_from_learning() -> None:
    fixed = CanonicalJoints(SKELETONS, positions=POSITIONS, trainable=False)
    free = CanonicalJoints(SKELETONS, positions=POSITIONS)
    model = keras.Sequential([fixed, free])
    assert len(model.trainable_variables) == 2


def test_learned_joints_stay_symmetric_and_fingers_stay_put() -> None:
    layer = CanonicalJoints(SKELETONS, positions=POSITIONS)
    np.testing.assert_allclose(layer.locations(), POSITIONS, atol=1e-7)
    rng = np.random.default_rng(3)
    layer.left_offsets.assign(rng.normal(size=(3, 3)))
    layer.center_offsets.assign(rng.normal(size=(3, 2)))
    moved = layer.locations().numpy()
    np.testing.assert_allclose(moved[[1, 7]] * [-1, 1, 1], moved[[2, 5]], rtol=1e-6)
    np.testing.assert_array_equal(moved[[3, 4]], POSITIONS[[3, 4]].astype(np.float32))
    assert not moved[[0, 6, 8], 0].any()
    assert np.abs(moved - POSITIONS)[[0, 1, 2, 5, 6, 7, 8]].max(axis=1).min() > 0.01
    np.testing.assert_array_equal(layer(tf.constant([[6], [1]])), moved[[[6], [1]]])


def test_no_joint_learns_to_wander_off() -> None:
    layer = CanonicalJoints(SKELETONS, positions=POSITIONS, max_offset=0.07)
    optimizer = keras.optimizers.SGD(1.0)
    variables = layer.trainable_variables
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer.locations() * tf.constant([1.0, -2.0, 3.0]))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True)
        )
    lengths = np.linalg.norm(layer.locations() - POSITIONS, axis=1)
    np.testing.assert_allclose(lengths[[0, 1, 2, 5, 6, 7, 8]], 0.07, rtol=1e-4)
