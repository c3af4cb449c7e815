"""Batch renormalisation (Ioffe 2017): batch statistics in training, pulled towards running ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from errors import ConfigError


class BatchRenormalization(keras.layers.Layer):
    """Normalise each channel, in training by γ·x̂·r + (γ·d + β) with clipped corrections r and d.

    x̂ is normalised by the batch's mean and *biased* variance. r = sqrt((var + ε) / (running var
    + ε)), clipped to [1/rmax, rmax], and d = (mean − running mean) / sqrt(running var + ε), clipped
    to ±dmax, let no gradient through; `var` in r and in the running average is the *unbiased*
    variance, as the fused kernel returns it. With rmax = 1 and dmax = 0 (the beginning) this is
    plain batch normalisation; raise both by `set_limits` as training goes on.

    Statistics are computed in float32, also under mixed precision. Inputs (..., C).

    Args:
        momentum: share of the running average that stays at each step, see `adapted_momentum`.
        epsilon: added to variances.
        parts: sizes of the parts of a batch that have statistics of their own in training ("ghost"
            batches, Hoffer et al. 2017); running averages take the parts' mean. None: one part.
    """

    def __init__(
        self,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        parts: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.parts = tuple(parts)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = (input_shape[-1],)
        self.gamma = self._float32("gamma", channels, "ones")
        self.beta = self._float32("beta", channels, "zeros")
        self.moving_mean = self._float32("moving_mean", channels, "zeros", trainable=False)
        self.moving_variance = self._float32("moving_variance", channels, "ones", trainable=False)
        self.rmax = self._float32("rmax", (), "ones", trainable=False)
        self.dmax = self._float32("dmax", (), "zeros", trainable=False)

    def set_limits(self, *, rmax: float, dmax: float) -> None:
        """How far the corrections may go from now on (`schedule.renorm_limits`)."""
        self.rmax.assign(rmax)
        self.dmax.assign(dmax)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        # The tensors, not the Keras variables: inside a float16 layer those would be autocast.
        gamma, beta, moving_mean, moving_variance, rmax, dmax = (
            tf.convert_to_tensor(variable.value)
            for variable in (
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                self.rmax,
                self.dmax,
            )
        )
        if not training or not self.trainable:
            scale = gamma * tf.math.rsqrt(moving_variance + self.epsilon)
            shifted = tf.cast(x, tf.float32) - moving_mean
            return tf.cast(shifted * scale + beta, x.dtype)

        moving_stddev = tf.sqrt(moving_variance + self.epsilon)
        outputs, means, variances = [], [], []
        for part in self._split(x):
            normalized, mean, variance = self._normalize_by_batch(part, tf.ones_like(gamma))
            r = tf.sqrt(variance + self.epsilon) / moving_stddev
            r = tf.stop_gradient(tf.clip_by_value(r, 1 / rmax, rmax))
            d = (mean - moving_mean) / moving_stddev
            d = tf.stop_gradient(tf.clip_by_value(d, -dmax, dmax))
            normalized = tf.cast(normalized, tf.float32)
            outputs.append(tf.cast(normalized * (gamma * r) + (gamma * d + beta), x.dtype))
            means.append(mean)
            variances.append(variance)
        self._update(self.moving_mean, moving_mean, tf.add_n(means) / len(means))
        self._update(self.moving_variance, moving_variance, tf.add_n(variances) / len(means))
        return outputs[0] if len(outputs) == 1 else tf.concat(outputs, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "parts": list(self.parts),
        }

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def _split(self, x: tf.Tensor) -> list[tf.Tensor]:
        if not self.parts:
            return [x]
        if x.shape[0] is not None and x.shape[0] != sum(self.parts):
            raise ConfigError(
                f"ghost_bn is made for {sum(self.parts)} examples, a device sees {x.shape[0]}",
                where="params.yaml: train.norm.ghost_bn",
                cause="batch sizes, devices and grad_accum_steps decide how many these are",
                next_command="give sizes that add up to that number",
            )
        return list(tf.split(x, self.parts, axis=0))

    def _normalize_by_batch(
        self, x: tf.Tensor, ones: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """x̂ in the dtype of x, mean and unbiased variance in float32, by the fused kernel."""
        images = x if len(x.shape) == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
        normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            images, ones, tf.zeros_like(ones), epsilon=self.epsilon, is_training=True
        )
        return tf.reshape(normalized, tf.shape(x)), mean, variance

    def _update(self, variable: Any, old: tf.Tensor, batch: tf.Tensor) -> None:
        batch = tf.stop_gradient(batch)
        variable.assign(old * self.momentum + batch * (1 - self.momentum))

    def _float32(
        self, name: str, shape: tuple[int | None, ...], initializer: str, *, trainable: bool = True
    ) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            dtype="float32",
            autocast=False,
        )


def adapted_momentum(momentum: float, *, devices: int, accumulation: int) -> float:
    """Momentum under which several small updates a step forget as fast as one large one.

    Args:
        devices: replicas whose statistics are averaged.
        accumulation: micro-batches of a step.
    """
    return float((1 - (1 - momentum) / devices) ** (1 / accumulation))
