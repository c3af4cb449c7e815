"""The parts of the model do what their settings and names say: backbones, norms, precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from errors import ConfigError
from pipeline.schema import Kind
from stages.settings import from_mapping
from stages.train.backbone import (
    AlignedConv2D,
    AlignedDepthwiseConv2D,
    build_backbone,
    load_weights,
)
from stages.train.batch_renormalization import BatchRenormalization
from stages.train.schedule import renorm_limits
from stages.train.settings import (
    BackboneSettings,
    HeadSettings,
    NormSettings,
    TrainSettings,
)
from stages.train.sources import KINDS
from stages.train.supervision import step_losses
from tests.stages.train.stick_figures import NAMES
from tests.stages.train.tiny_run import tiny_model, tiny_settings

MAX_NORM = keras.constraints.MaxNorm


def plain_norm(name: str) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(name=name)


def build(name: str, *, side: int = 64, stride: int = 32, **options: Any) -> keras.Model:
    return build_backbone(
        BackboneSettings(backbone=name, **options),
        head=HeadSettings(proc_side=side, stride_train=stride, stride_test=stride),
        norm=plain_norm,
        max_norm=20.0,
    )


@pytest.mark.parametrize("name", ["residual-tiny", "residual-small"])
@pytest.mark.parametrize(("stride", "cells"), [(16, 4), (8, 8)])
def test_residual_backbones_have_the_stride_that_is_asked_for(
    name: str, stride: int, cells: int
) -> None:
    assert build(name, stride=stride).output_shape[1:3] == (cells, cells)


def test_a_stride_that_a_backbone_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="stride"):
        build("efficientnetv2-s", stride=16)
    with pytest.raises(ConfigError, match="stride"):
        build("residual-tiny", stride=32)
    with pytest.raises(ConfigError, match="unknown backbone"):
        build("resnet9000")


@pytest.mark.parametrize(("shift", "kernel"), [(0, 3), (1, 3), (0, 5), (1, 5)])
@pytest.mark.parametrize("kind", [AlignedConv2D, AlignedDepthwiseConv2D])
def test_a_strided_convolution_is_centred_on_the_pixel_that_its_cell_says(
    kind: type, shift: int, kernel: int
) -> None:
    """Cell i on pixel 2 i, or on 2 i + 1 where the padding is shifted."""
    amount = {} if kind is AlignedDepthwiseConv2D else {"filters": 1}
    layer = kind(**amount, kernel_size=kernel, strides=2, shift=shift, use_bias=False)
    layer.build((None, 16, 16, 1))
    layer.set_weights([np.ones(layer.weights[0].shape)])
    pixels = np.zeros((16, 16, 16, 1), np.float32)
    pixels[np.arange(16), np.arange(16), np.arange(16)] = 1
    seen = np.flatnonzero(layer(pixels)[:, 4, 4, 0])
    assert seen.tolist() == list(range(8 + shift - kernel // 2, 9 + shift + kernel // 2))
    assert layer(pixels).shape == (16, 8, 8, 1)


def test_centred_strides_centre_the_cells_of_a_backbone() -> None:
    """With stride 16, cell 8 is centred on pixel 136."""
    keras.utils.set_random_seed(1)
    model = build_backbone(
        BackboneSettings(backbone="residual-tiny"),
        head=HeadSettings(proc_side=256, stride_train=16, stride_test=16),
        norm=lambda name: keras.layers.Identity(name=name),
        max_norm=20.0,
    )
    for variable in model.trainable_variables:
        if len(variable.shape) == 4:
            # Equal taps: what a cell sees is symmetric about its centre.
            variable.assign(tf.fill(variable.shape, 1.0 / np.prod(variable.shape[:3])))
    x = tf.fill([1, 256, 256, 3], 0.9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(model(x, training=False)[0, 8, 8])
    seen = np.abs(tape.gradient(y, x).numpy()[0]).sum(axis=-1)
    places = np.arange(256)
    center = [(seen.sum(axis=1) * places).sum(), (seen.sum(axis=0) * places).sum()] / seen.sum()
    np.testing.assert_allclose(center, 136, atol=1.0)


def test_a_picture_shifted_by_a_stride_has_its_features_shifted_by_a_cell() -> None:
    keras.utils.set_random_seed(1)
    model = build("residual-tiny", side=256, stride=16)
    picture = np.random.default_rng(0).random((1, 256, 256, 3)).astype(np.float32)
    shifted = np.roll(picture, 16, axis=2)
    first, second = model(picture, training=False), model(shifted, training=False)
    middle = second[:, 7:9, 8:10]
    moved = np.abs(middle - first[:, 7:9, 7:9]).mean()
    unmoved = np.abs(middle - first[:, 7:9, 8:10]).mean()
    # A little is left of the edges, where the pictures differ: cells see nearly all of them.
    assert moved < 0.02 * unmoved


def test_the_published_backbone_is_built_padded_and_constrained() -> None:
    model = build("efficientnetv2-s")
    assert model.output_shape == (None, 2, 2, 1280)
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    strided = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        and np.max(layer.strides) > 1
    ]
    assert len(strided) == 5
    assert [layer.shift for layer in strided] == [0, 0, 0, 0, 1]
    assert isinstance(strided[-1], keras.layers.DepthwiseConv2D)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(isinstance(layer.kernel_constraint, MAX_NORM) for layer in convolutions)
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == sorted(rates) and max(rates) == pytest.approx(0.2, abs=0.01)


@pytest.mark.long
def test_the_large_published_backbone_is_built() -> None:
    assert build("efficientnetv2-l").output_shape == (None, 2, 2, 1280)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    first = build("residual-tiny", stride=16)
    path = tmp_path / "backbone.weights.h5"
    first.save_weights(path)
    keras.utils.set_random_seed(2)
    second = build("residual-tiny", stride=16, load_backbone_from=str(path))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="no such weights"):
        build("residual-tiny", stride=16, load_backbone_from=str(tmp_path / "missing.weights.h5"))
    with pytest.raises(ConfigError, match="do not fit"):
        load_weights(build("residual-small", stride=16), path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_published_weights_are_taken_layer_by_layer(tmp_path: Path) -> None:
    published = keras.applications.EfficientNetV2S(
        include_top=False, weights=None, input_shape=(64, 64, 3), include_preprocessing=False
    )
    statistics = published.get_layer("stem_bn")
    statistics.moving_mean.assign(tf.range(24.0))
    path = tmp_path / "notop.weights.h5"
    published.save_weights(path)
    model = build("efficientnetv2-s", load_backbone_from=str(path))
    (network,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    n_compared = 0
    for layer in filter(lambda layer: layer.weights, published.layers):
        own = {weight.name: weight for weight in network.get_layer(layer.name).weights}
        for weight in layer.weights:
            np.testing.assert_array_equal(own[weight.name], weight)
            n_compared += 1
    assert n_compared == len(published.weights)


def test_filters_are_kept_below_the_greatest_norm(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    settings = replace(
        settings, optimisation=replace(settings.optimisation, constrain_kernel_norm=0.5)
    )
    model = tiny_model(settings)
    kernels = [model.link.kernel, *(v for v in model.backbone.trainable_variables if v.ndim == 4)]
    assert len(kernels) > 3
    for kernel in kernels:
        assert kernel.constraint is not None
        large = tf.fill(kernel.shape, 3.0)
        norms = np.sqrt(np.square(kernel.constraint(large)).sum(axis=(0, 1, 2)))
        np.testing.assert_allclose(norms, 0.5, rtol=1e-3)


def test_the_ramp_of_renormalisation_goes_as_published() -> None:
    norm = NormSettings()
    for step, rmax, dmax in (
        (0, 1, 0),
        (7500, 1, 0),
        (12500, 2, 2.5),
        (17500, 3, 5),
        (10**6, 3, 5),
    ):
        found = renorm_limits(step, settings=norm)
        assert (float(found[0]), float(found[1])) == pytest.approx((rmax, dmax))
    scaled = renorm_limits(17500, settings=replace(norm, renorm_limit_scale=2.0))
    assert float(scaled[1]) == pytest.approx(10)


def test_parts_of_a_batch_are_normalised_by_themselves() -> None:
    x = np.random.default_rng(0).normal(2, 3, (6, 4, 4, 5)).astype(np.float32)
    x[4:] += 10
    ghost, plain = BatchRenormalization(parts=(4, 2)), BatchRenormalization()
    for layer in (ghost, plain):
        layer.build(x.shape)
    found = ghost(x, training=True)
    expected = [plain(x[:4], training=True), plain(x[4:], training=True)]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)
    assert np.abs(found - plain(x, training=True)).max() > 0.5
    means = (x[:4].mean(axis=(0, 1, 2)) + x[4:].mean(axis=(0, 1, 2))) / 2
    np.testing.assert_allclose(ghost.moving_mean.numpy(), 0.1 * means, rtol=1e-3)
    restored = BatchRenormalization.from_config(ghost.get_config())
    assert restored.parts == (4, 2)
    with pytest.raises(ConfigError, match="made for 6 examples"):
        ghost(x[:5], training=True)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, BatchRenormalization),
        ({"batch_renorm": False}, keras.layers.BatchNormalization),
        ({"batch_renorm": False, "group_norm": True}, keras.layers.GroupNormalization),
        ({"batch_renorm": False, "ghost_bn": "2,3"}, BatchRenormalization),
    ],
)
def test_the_settings_choose_the_normalisation(
    values: dict[str, Any], kind: type, tmp_path: Path
) -> None:
    settings = replace(tiny_settings(tmp_path), norm=NormSettings(**values))
    if settings.norm.group_norm:  # the quick network has fewer channels than groups
        backbone = replace(settings.backbone, backbone="residual-small")
        settings = replace(settings, backbone=backbone)
    model = tiny_model(settings)
    norms = [layer for layer in model._flatten_layers() if "norm" in layer.name.lower()]
    norms = [layer for layer in norms if type(layer) is not keras.Model]
    assert norms and all(isinstance(layer, kind) for layer in norms)
    assert bool(model.renormalizations) == values.get("batch_renorm", True)
    if kind is BatchRenormalization:
        assert norms[0].parts == ((2, 3) if values else ())


@pytest.mark.parametrize(
    "values",
    [
        {"group_norm": True},
        {"batch_renorm": False, "group_norm": True, "ghost_bn": "2,3"},
        {"ghost_bn": "a few"},
        {"ghost_bn": "3,0"},
    ],
)
def test_contradictory_normalisation_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_mapping(NormSettings, values, where="train.norm")


@pytest.fixture(params=["float16", "bfloat16"])
def mixed_precision(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(f"mixed_{request.param}")
    yield request.param
    keras.mixed_precision.set_dtype_policy(before)


def test_losses_and_weights_stay_in_single_precision(mixed_precision: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = tiny_model(tiny_settings(tmp_path))
    batch, kinds = small_batch(model.settings)
    features = model.features(tf.zeros([1, 16, 16, 3]), training=False)
    assert features.dtype == mixed_precision
    step = tf.constant(1, tf.int64)
    weights = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        losses = step_losses(model, batch, kinds=kinds, step=step, optimizer_step=step, seed=1)
        scaled = losses.total * 128
    gradients = tape.gradient(scaled, weights, unconnected_gradients="zero")
    values = [losses.total, losses.regularization, losses.mean_error_mm, *losses.kinds.values()]
    assert {value.dtype for value in values} == {tf.float32}
    assert {weight.dtype for weight in weights} == {tf.float32}
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)
    assert all(np.isfinite(value) for value in values)
    assert sum(np.abs(tf.convert_to_tensor(g)).max() > 0 for g in gradients) > len(gradients) / 2


def small_batch(settings: TrainSettings) -> tuple[dict[str, tf.Tensor], dict[Kind, slice]]:
    """Two examples of each kind, of points around 4 m away."""
    rng = np.random.default_rng(0)
    n, n_points, side = 8, 6, settings.head.proc_side
    points = rng.normal(0, 0.4, (n, n_points, 3)) + np.array([0, 0, 4])
    intrinsics = np.array([[side * 2, 0, side / 2], [0, side * 2, side / 2], [0, 0, 1]])
    pixels = (points @ intrinsics.T)[..., :2] / points[..., 2:]
    arrays = {
        "image": rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8),
        "intrinsics": np.tile(intrinsics, (n, 1, 1)).astype(np.float32),
        "coords3d": points.astype(np.float32),
        "coords2d": pixels.astype(np.float32),
        "point_validity": np.ones((n, n_points), bool),
        "joint_ids": rng.integers(0, len(NAMES), (n, n_points)).astype(np.int32),
        "canonical_points": rng.uniform(-0.5, 0.5, (n, n_points, 3)).astype(np.float32),
        "root_index": np.zeros(n, np.int32),
        "body": np.zeros((n, 0), np.float32),
    }
    kinds = {kind: slice(2 * i, 2 * i + 2) for i, kind in enumerate(KINDS)}
    return {name: tf.constant(value) for name, value in arrays.items()}, kinds
