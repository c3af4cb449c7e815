"""Heat maps are read out where they peak, and mean the pixels that their cells look at."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from stages.train.localizer_head import (
    head_logits,
    localize,
    soft_argmax_2d,
    soft_argmax_3d,
    to_metres,
    to_pixels,
)
from stages.train.settings import HeadSettings

HEAD = HeadSettings()


def test_a_peak_is_read_out_at_its_place() -> None:
    height, width, depth = 5, 8, 4
    for y, x, z in ((0, 0, 0), (4, 7, 3), (2, 3, 1)):
        logits = np.full((1, height, width, depth), -1e4, np.float32)
        logits[0, y, x, z] = 0
        place = soft_argmax_3d(tf.constant(logits))
        np.testing.assert_allclose(place, [[x / 7, y / 4, z / 3]], atol=1e-6)
        flat = soft_argmax_2d(tf.constant(logits.max(axis=-1)))
        np.testing.assert_allclose(flat, [[x / 7, y / 4]], atol=1e-6)


def test_an_even_map_is_read_out_in_the_middle() -> None:
    np.testing.assert_allclose(
        soft_argmax_3d(tf.zeros([2, 3, 6, 6, 8])), np.full((2, 3, 3), 0.5), rtol=1e-6
    )


def test_cells_look_at_pixels_a_stride_apart() -> None:
    cells = tf.linspace([0.0, 0.0], [1.0, 1.0], 8)
    np.testing.assert_allclose(to_pixels(cells, head=HEAD)[:, 0], 16 + 32 * np.arange(8))
    corner = HeadSettings(centered_stride=False)
    np.testing.assert_allclose(to_pixels(cells, head=corner)[:, 1], 32 * np.arange(8))
    np.testing.assert_allclose(
        to_pixels(tf.ones([1, 2]), head=HEAD, stride=16), [[255 - 15 + 8] * 2]
    )


def test_metres_span_the_box() -> None:
    ends = to_metres(tf.constant([[0.0, 0, 0], [1, 1, 1]]), head=HEAD)
    np.testing.assert_allclose(ends[1] - ends[0], [2.2 * 224 / 256, 2.2 * 224 / 256, 2.2])


def naive_outputs(features, weights, head: HeadSettings):
    """One point after the other, one cell after the other."""
    n_examples, height, width, channels = features.shape
    shape = (n_examples, weights.shape[1])
    coords2d, coords3d, uncert = np.zeros((*shape, 2)), np.zeros((*shape, 3)), np.zeros(shape)
    for n, p in np.ndindex(shape):
        matrix = weights[n, p].reshape(channels + 1, 2 + head.depth)
        maps = np.array(
            [
                [np.append(features[n, y, x], 1) @ matrix for x in range(width)]
                for y in range(height)
            ]
        )
        volume = np.exp(maps[..., 2:] - maps[..., 2:].max())
        volume /= volume.sum()
        flat = np.exp(maps[..., 1] - maps[..., 1].max())
        flat /= flat.sum()
        xs, ys, zs = (np.linspace(0, 1, size) for size in (width, height, head.depth))
        coords2d[n, p] = (volume.sum((0, 2)) @ xs, volume.sum((1, 2)) @ ys)
        coords3d[n, p] = (flat.sum(0) @ xs, flat.sum(1) @ ys, volume.sum((0, 1)) @ zs)
        raw = (maps[..., 0] * volume.sum(2)).sum()
        uncert[n, p] = np.log1p(np.exp(raw + head.uncert_bias)) + head.uncert_bias2
    return coords2d, coords3d, uncert


@pytest.mark.parametrize("depth", [1, 8])
def test_the_head_is_its_formula(depth: int) -> None:
    rng = np.random.default_rng(1)
    head = HeadSettings(depth=depth, uncert_bias=0.3)
    features = rng.normal(size=(2, 4, 5, 6))
    weights = rng.normal(size=(2, 3, 7 * (2 + depth)))
    found = localize(tf.constant(features, tf.float32), tf.constant(weights, tf.float32), head=head)
    for array, expected in zip(found, naive_outputs(features, weights, head), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)


def test_points_shared_by_all_examples_are_as_good_as_repeated_ones() -> None:
    features = tf.random.stateless_normal([3, 4, 4, 5], [1, 1])
    weights = tf.random.stateless_normal([6, 6 * 10], [2, 2])
    shared = localize(features, weights, head=HEAD)
    repeated = localize(features, tf.tile(weights[tf.newaxis], [3, 1, 1]), head=HEAD)
    for first, second in zip(shared, repeated, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5)


def test_the_uncertainty_does_not_teach_the_volume_where_to_look() -> None:
    features = tf.random.stateless_normal([1, 4, 4, 5], [3, 3])
    weights = tf.random.stateless_normal([1, 2, 6 * 10], [4, 4])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        uncert = localize(features, weights, head=HEAD).uncert
    gradient = tf.reshape(tape.gradient(uncert, weights), [2, 6, 10]).numpy()
    assert np.abs(gradient[..., 0]).min() > 0
    assert not gradient[..., 1:].any()


def test_half_precision_comes_in_single_precision_comes_out() -> None:
    features = tf.cast(tf.random.stateless_normal([1, 4, 4, 5], [5, 5]), tf.float16)
    weights = tf.cast(tf.random.stateless_normal([1, 2, 6 * 10], [6, 6]), tf.float16)
    assert head_logits(features, weights, depth=8).dtype == tf.float32
    assert {tensor.dtype for tensor in localize(features, weights, head=HEAD)} == {tf.float32}
