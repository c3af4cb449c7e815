"""The point field: from a canonical query point to the weights of its heat maps.

Sárándi and Pons-Moll 2024, "Neural Localizer Fields". The published variant describes a point by
a learned approximation of its global point signature (Rustamov 2007), the eigenfunctions of the
body volume's Laplacian, each divided by the root of its eigenvalue.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.train.settings import FieldSettings


class RowMeanSquare(keras.regularizers.Regularizer):
    """coefficient · mean over input rows of the sum over outputs of the squared kernel."""

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        return self.coefficient * tf.reduce_mean(tf.reduce_sum(tf.square(kernel), axis=1))

    def get_config(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient}


class FourierFeatures(keras.layers.Layer):
    """sin of [y, y + π/2] / sqrt(size), y a learned linear map of the input, in float32.

    After Tancik et al. 2020 and, with learned frequencies, Li et al. 2021. The input (..., 3) is
    expected in about −0.5...0.5.
    """

    def __init__(self, size: int, *, stddev: float, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = size
        self.stddev = stddev

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.frequencies = self.add_weight(
            name="frequencies",
            shape=(input_shape[-1], self.size // 2),
            initializer=keras.initializers.RandomNormal(stddev=self.stddev),
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        phase = tf.matmul(x, self.frequencies)
        waves = tf.sin(tf.concat([phase, phase + math.pi / 2], axis=-1))
        return waves / math.sqrt(self.size)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "stddev": self.stddev}


class Eigenfunctions(keras.layers.Layer):
    """The first non-constant eigenfunctions at normalised points (..., 3), approximated.

    Fourier features, a dense layer with GELU, a dense layer of `field_posenc_dim` outputs; meant to
    be fitted to the true eigenfunctions before the field is trained.
    """

    def __init__(self, settings: FieldSettings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fourier = FourierFeatures(
            settings.field_fourier_dim, stddev=settings.field_fourier_stddev, name="fourier"
        )
        self.hidden = _gelu_layer(
            settings.field_gps_hidden_size, name="hidden", dtype=self.dtype_policy
        )
        self.out = keras.layers.Dense(
            settings.field_posenc_dim, name="out", dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.fourier.build(input_shape)
        self.hidden.build((None, self.fourier.size))
        self.out.build((None, self.hidden.units))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.out(self.hidden(self.fourier(x)))


class PointField(keras.layers.Layer):
    """Query points to numbers: (..., 3) -> (..., output_size).

    Points are canonical, metres. They are rounded to half precision (about 1 mm at 1 m; the
    reference does so, and what it was trained with is what it knows), moved by the centre and
    divided per axis by the extent of the canonical volume. Then `field_type` decides:

    * gps: eigenfunctions, each times `lbo_eigval_scale` / sqrt(its eigenvalue), the first one
      times 0 with `lbo_zero_first`;
    * fourier: Fourier features alone, `field_posenc_dim` of them;
    * vanilla: a dense layer with GELU of that size.

    Dense layers with GELU and a linear one follow. The first of the trainable kernels after the
    encoding carries the regulariser.

    Args:
        output_size: (link + 1)·(2 + depth).
        bounds: (2, 3), least and greatest coordinates of the canonical volume, metres.
        eigenvalues: (field_posenc_dim,), ascending, without the constant function's 0; only gps.

    Raises:
        ValueError: the eigenvalues are missing, too few, or not positive.
    """

    def __init__(
        self,
        output_size: int,
        *,
        bounds: npt.ArrayLike,
        settings: FieldSettings,
        eigenvalues: npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        low, high = np.asarray(bounds, np.float32)
        self.output_size = output_size
        self.settings = settings
        self.center = (low + high) / 2
        self.extent = high - low
        self.signature_scale = _signature_scale(eigenvalues, settings)
        regularizer: RowMeanSquare | None = RowMeanSquare(settings.lbo_eigval_regul)

        policy = self.dtype_policy
        width = settings.field_posenc_dim
        if settings.field_type == "gps":
            self.encoding: keras.layers.Layer = Eigenfunctions(
                settings, name="eigenfunctions", dtype=policy
            )
            width += 3 * settings.lbo_concat_coord
        elif settings.field_type == "fourier":
            self.encoding = FourierFeatures(
                width, stddev=settings.field_fourier_stddev, name="fourier"
            )
        else:
            self.encoding = _gelu_layer(
                width, name="encoding", dtype=policy, kernel_regularizer=regularizer
            )
            regularizer = None

        self.hidden = []
        for i in range(settings.field_hidden_layers):
            self.hidden.append(
                _gelu_layer(
                    settings.field_hidden_size,
                    name=f"hidden_{i}",
                    dtype=policy,
                    kernel_regularizer=regularizer,
                )
            )
            regularizer = None
        self.out = keras.layers.Dense(
            output_size, name="out", dtype=policy, kernel_regularizer=regularizer
        )
        self._encoding_size = width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.encoding.build((None, 3))
        if self.settings.field_type == "gps":
            # Only now: weights made later would not know of it.
            self.encoding.trainable = self.settings.finetune_gps
        width = self._encoding_size
        for layer in self.hidden:
            layer.build((None, width))
            width = layer.units
        self.out.build((None, width))

    def call(self, points: tf.Tensor) -> tf.Tensor:
        x = self.encode(points)
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)

    def normalize(self, points: tf.Tensor) -> tf.Tensor:
        """Canonical metres to about −0.5...0.5 per axis, float32."""
        if self.settings.query_float16:
            points = tf.cast(points, tf.float16)
        return (tf.cast(points, tf.float32) - self.center) / self.extent

    def encode(self, points: tf.Tensor) -> tf.Tensor:
        """What the dense layers see of the points."""
        x = self.normalize(points)
        encoded = self.encoding(x)
        if self.signature_scale is None:
            return encoded
        signature = encoded * tf.cast(self.signature_scale, encoded.dtype)
        if self.settings.lbo_concat_coord:
            signature = tf.concat([signature, tf.cast(x, signature.dtype)], axis=-1)
        return signature


def _gelu_layer(size: int, **kwargs: Any) -> keras.layers.Dense:
    return keras.layers.Dense(size, activation=_exact_gelu, **kwargs)


def _exact_gelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def _signature_scale(
    eigenvalues: npt.ArrayLike | None, settings: FieldSettings
) -> npt.NDArray[np.float32] | None:
    if settings.field_type != "gps":
        return None
    if eigenvalues is None:
        raise ValueError("a gps field needs the eigenvalues of the canonical volume")
    values = np.asarray(eigenvalues, np.float64)[: settings.field_posenc_dim]
    if len(values) < settings.field_posenc_dim:
        raise ValueError(
            f"{len(values)} eigenvalues for field_posenc_dim = {settings.field_posenc_dim}"
        )
    if values.min() <= 1e-6:
        raise ValueError("leave out the constant eigenfunction, whose eigenvalue is zero")
    scale = settings.lbo_eigval_scale / np.sqrt(values)
    if settings.lbo_zero_first:
        scale[0] = 0
    return scale.astype(np.float32)
