"""From features and per-point weights to pixels, metres and an uncertainty, by soft-argmax.

Every query point brings its own linear map of the feature cells to 2 + D channels: an uncertainty
map, a 2D heat map for metric x and y, and a volume of D depth slices (Sárándi and Pons-Moll 2024;
volumetric soft-argmax after Sun et al. 2018; the split into an image-space and a metric heat map
after Sárándi et al., "MeTRAbs", 2021). All of it in float32, also under mixed precision.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from stages.train.settings import HeadSettings


class HeadOutput(NamedTuple):
    """What the heat maps say of N examples and P points.

    Attributes:
        coords2d: (N, P, 2), fractions 0...1 of the heat map's width and height.
        coords3d: (N, P, 3), fractions 0...1 of the metric box.
        uncert: (N, P), metres, positive.
    """

    coords2d: tf.Tensor
    coords3d: tf.Tensor
    uncert: tf.Tensor


def localize(features: tf.Tensor, weights: tf.Tensor, *, head: HeadSettings) -> HeadOutput:
    """Apply each point's weights to the feature cells and read the heat maps out.

    Args:
        features: (N, H, W, C).
        weights: (N, P, (C + 1)·(2 + depth)), or (P, ...) where all examples ask for the same
            points; read as a matrix of C + 1 rows, the last one being the bias.
    """
    logits = head_logits(features, weights, depth=head.depth)
    volume = _softmax(logits[..., 2:], axes=3)
    coords2d_and_z = _expectations(volume)
    metric_xy = soft_argmax_2d(logits[..., 1])
    # The volume says where to look for the uncertainty; it does not learn from it.
    where = tf.stop_gradient(tf.reduce_sum(volume, axis=-1))
    raw = tf.reduce_sum(logits[..., 0] * where, axis=(2, 3))
    return HeadOutput(
        coords2d=coords2d_and_z[..., :2],
        coords3d=tf.concat([metric_xy, coords2d_and_z[..., 2:]], axis=-1),
        uncert=tf.math.softplus(raw + head.uncert_bias) + head.uncert_bias2,
    )


def head_logits(features: tf.Tensor, weights: tf.Tensor, *, depth: int) -> tf.Tensor:
    """Channels of every point in every feature cell: float32 (N, P, H, W, 2 + depth).

    Args:
        features: (N, H, W, C).
        weights: (N, P, (C + 1)·(2 + depth)) or (P, (C + 1)·(2 + depth)).
    """
    features = tf.cast(features, tf.float32)
    channels = features.shape[-1]
    leading = tf.shape(weights)[:-1]
    shape = tf.concat([leading, [channels + 1, 2 + depth]], axis=0)
    matrices = tf.reshape(tf.cast(weights, tf.float32), shape)
    # A feature that is always 1 takes the bias along: cutting the last row off would copy them all.
    ones = tf.ones_like(features[..., :1])
    points = "pcd" if len(weights.shape) == 2 else "npcd"
    return tf.einsum(f"nhwc,{points}->nphwd", tf.concat([features, ones], axis=-1), matrices)


def soft_argmax_2d(logits: tf.Tensor) -> tf.Tensor:
    """Expected place in each map, x along the width: (..., H, W) -> (..., 2), in 0...1."""
    return _expectations(_softmax(logits, axes=2)[..., tf.newaxis])[..., :2]


def soft_argmax_3d(logits: tf.Tensor) -> tf.Tensor:
    """Expected place in each volume: (..., H, W, D) -> (..., 3) as x, y, z, in 0...1."""
    return _expectations(_softmax(logits, axes=3))


def to_pixels(coords01: tf.Tensor, *, head: HeadSettings, stride: int | None = None) -> tf.Tensor:
    """Fractions of the heat map to pixels of the crop.

    The first and the last cell look at pixels that lie a whole number of strides apart; centred
    strides shift both by half a stride.

    Args:
        coords01: (..., 2).
        stride: default the training stride; at inference `head.stride_test`.
    """
    stride = head.stride_train if stride is None else stride
    span = (head.proc_side - 1) - (head.proc_side - 1) % stride
    offset = stride // 2 if head.centered_stride else 0
    return coords01 * span + offset


def to_metres(coords01: tf.Tensor, *, head: HeadSettings, stride: int | None = None) -> tf.Tensor:
    """Fractions (..., 3) of the metric box to metres, up to translation."""
    pixels = to_pixels(coords01[..., :2], head=head, stride=stride)
    xy = pixels * (head.box_size_m / head.proc_side)
    return tf.concat([xy, coords01[..., 2:] * head.box_size_m], axis=-1)


def _softmax(logits: tf.Tensor, *, axes: int) -> tf.Tensor:
    """Softmax over the last `axes` axes together."""
    shape = tf.shape(logits)
    flat = tf.reshape(tf.cast(logits, tf.float32), tf.concat([shape[:-axes], [-1]], axis=0))
    return tf.reshape(tf.nn.softmax(flat), shape)


def _expectations(probabilities: tf.Tensor) -> tf.Tensor:
    """Mean x, y, z of distributions (..., H, W, D) over grids from 0 to 1 inclusive: (..., 3)."""
    means = []
    for axis, others in ((-2, (-3, -1)), (-3, (-2, -1)), (-1, (-3, -2))):
        marginal = tf.reduce_sum(probabilities, axis=others)
        grid = tf.linspace(0.0, 1.0, tf.shape(probabilities)[axis])
        means.append(tf.reduce_sum(marginal * grid, axis=-1))
    return tf.stack(means, axis=-1)
