"""Reductions over the valid entries of a tensor, with the reference's behaviour at the edges."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Keeps the square root's gradient finite where all points coincide.
_VARIANCE_FLOOR = 1e-10


def masked_mean(
    x: tf.Tensor,
    mask: tf.Tensor | None = None,
    *,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
) -> tf.Tensor:
    """Mean of the entries whose mask is true; 0, with gradient 0, where there are none.

    Over everything (`axis` None) this is the plain mean of the true entries, and what stands in a
    masked-out place has no influence, NaN included. Where several devices share a batch, it is this
    device's part of that mean: the devices' answers add up to the mean over the whole batch.

    Over axes it is the sum of entry × mask divided by the number of *mask* entries. A mask with
    fewer axes than `x` gets trailing axes of length 1; where such an axis is reduced, the sum
    covers its entries while the count does not: with mask (N, P), x (N, P, D) and axis (1, 2) the
    answer is the mean per point of the sum over coordinates. Full-perspective reconstruction
    relies on that. A NaN in a masked-out place does poison this form.

    Args:
        x: float, any shape.
        mask: bool, the shape of `x` or of its leading axes; None: everything is valid.
    """
    if mask is None:
        return tf.reduce_mean(x, axis=axis, keepdims=keepdims)
    mask = _with_trailing_axes(mask, x)
    if axis is None:
        mask = tf.broadcast_to(mask, tf.shape(x))
        total = tf.reduce_sum(tf.where(mask, x, tf.zeros_like(x)), keepdims=keepdims)
        count = over_replicas(tf.reduce_sum(tf.cast(mask, x.dtype), keepdims=keepdims))
    else:
        total = masked_sum(x, mask, axis=axis, keepdims=keepdims)
        count = tf.reduce_sum(tf.cast(mask, x.dtype), axis=axis, keepdims=keepdims)
    return tf.math.divide_no_nan(total, count)


def over_replicas(count: tf.Tensor) -> tf.Tensor:
    """The sum of a number without gradient over all devices that share the batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return count
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(tf.stop_gradient(count)))


def masked_sum(
    x: tf.Tensor,
    mask: tf.Tensor | None = None,
    *,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
) -> tf.Tensor:
    """Sum of entry × mask; masks as in `masked_mean`."""
    if mask is not None:
        x = x * tf.cast(_with_trailing_axes(mask, x), x.dtype)
    return tf.reduce_sum(x, axis=axis, keepdims=keepdims)


def masked_mean_and_deviation(
    points: tf.Tensor, mask: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and root mean squared distance from it, of the valid points of each example.

    The deviation is sqrt(sum of squared differences over valid points and all coordinates / number
    of valid points + 1e-10): a length per point, not per coordinate.

    Args:
        points: (N, P, D).
        mask: bool (N, P); None: all are valid.

    Returns:
        Mean (N, 1, D) and deviation (N, 1, 1).
    """
    if mask is None:
        mask = tf.ones(tf.shape(points)[:2], tf.bool)
    mean = masked_mean(points, mask, axis=1, keepdims=True)
    variance = masked_mean(tf.square(points - mean), mask, axis=(1, 2), keepdims=True)
    return mean, tf.sqrt(variance + _VARIANCE_FLOOR)


def length_mask(lengths: tf.Tensor, *, width: int | tf.Tensor) -> tf.Tensor:
    """For row lengths int (N,), bool (N, width): true for the first `length` slots of each row."""
    return tf.sequence_mask(lengths, maxlen=width)


def _with_trailing_axes(mask: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    missing = len(x.shape) - len(mask.shape)
    return tf.reshape(mask, tf.concat([tf.shape(mask), [1] * missing], 0)) if missing else mask
