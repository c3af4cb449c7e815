"""Masked reductions do at their edges what the losses and the reconstruction build on."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from stages.train.masked import length_mask, masked_mean, masked_mean_and_deviation

NAN = float("nan")


def test_the_mean_over_everything_is_that_of_the_valid_entries() -> None:
    x = tf.constant([[1.0, NAN], [3.0, 8.0]])
    mask = tf.constant([[True, False], [True, True]])
    assert masked_mean(x, mask).numpy() == 4.0


def test_without_a_mask_it_is_the_plain_mean() -> None:
    x = tf.constant([[1.0, 2.0], [3.0, 6.0]])
    assert masked_mean(x).numpy() == 3.0
    np.testing.assert_allclose(masked_mean(x, axis=1), [1.5, 4.5])


def test_the_mean_of_nothing_is_zero_and_pulls_at_nothing() -> None:
    x = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    mask = tf.zeros([2, 2], tf.bool)
    for axis in (None, 1):
        with tf.GradientTape() as tape:
            mean = masked_mean(x, mask, axis=axis)
        np.testing.assert_array_equal(mean, np.zeros_like(mean))
        np.testing.assert_array_equal(tape.gradient(mean, x), np.zeros([2, 2]))


def test_a_mean_over_points_and_coordinates_counts_points_only() -> None:
    x = tf.constant([[[1.0, 2.0], [3.0, 4.0], [50.0, 60.0]]])
    mask = tf.constant([[True, True, False]])
    assert masked_mean(x, mask, axis=(1, 2)).numpy() == [(1 + 2 + 3 + 4) / 2]


def test_a_mean_over_axes_is_poisoned_by_nan_even_where_masked() -> None:
    x = tf.constant([[1.0, NAN]])
    assert np.isnan(masked_mean(x, tf.constant([[True, False]]), axis=1)).all()


def test_the_deviation_is_a_length_per_point() -> None:
    points = tf.constant([[[3.0, 4.0], [-3.0, -4.0], [9.0, 9.0]]])
    mean, deviation = masked_mean_and_deviation(points, tf.constant([[True, True, False]]))
    np.testing.assert_allclose(mean, [[[0, 0]]], atol=1e-6)
    np.testing.assert_allclose(deviation, [[[5]]], rtol=1e-6)


def test_row_lengths_make_a_mask() -> None:
    expected = [[True, True, False], [False, False, False], [True, True, True]]
    np.testing.assert_array_equal(length_mask(tf.constant([2, 0, 3]), width=3), expected)
