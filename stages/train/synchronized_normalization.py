"""Batch normalisation by the moments of the whole batch, where several devices share it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, but for the moments in training.

    Keras's own `synchronized` fails where each worker has one device: there TensorFlow refuses to
    reduce tensors that were not assigned to a device, as gradients are not. The name is the same
    because Keras names a layer's weights in a file by its class: a model trained on one device can
    be loaded on several, and the other way round.
    """

    def _moments(self, inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(inputs, tf.float32)
        axes = list(range(len(x.shape) - 1))
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), tf.float32)
        n_devices = tf.distribute.get_strategy().num_replicas_in_sync
        mean = sum_over_replicas(tf.reduce_sum(x, axis=axes)) / (count * n_devices)
        variance = sum_over_replicas(tf.reduce_sum(tf.square(x - mean), axis=axes))
        variance /= count * n_devices
        return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)


@tf.custom_gradient
def sum_over_replicas(x: tf.Tensor) -> Any:
    """The sum over all devices, on each of them, with its gradient."""

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return _all_reduced(upstream)

    return _all_reduced(x), gradient


def _all_reduced(x: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.identity(x)
    # `identity` puts the tensor on this device, which the reduction asks for.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(x))
