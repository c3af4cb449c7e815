"""The picture encoder: EfficientNetV2 from Keras applications, or a small residual network.

Every strided convolution pads symmetrically, so that cell i of the output is centred on pixel
s·i; with centred strides the last one shifts its padding by one towards the bottom right, which
moves the centre to s·i + s/2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from errors import ConfigError
from stages.train.settings import BackboneSettings, HeadSettings

# name: (stem channels, ((channels, blocks, stride) per stage))
RESIDUAL_NETWORKS: dict[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "residual-tiny": (16, ((32, 1, 2), (64, 1, 2), (128, 2, 2))),
    "residual-small": (24, ((48, 1, 2), (96, 2, 2), (160, 2, 2))),
}
EFFICIENT_NETWORKS = {
    "efficientnetv2-s": "EfficientNetV2S",
    "efficientnetv2-m": "EfficientNetV2M",
    "efficientnetv2-l": "EfficientNetV2L",
}

IMAGENET = "imagenet"  # the weights that Keras applications can download

NormFactory = Callable[[str], keras.layers.Layer]


def build_backbone(
    backbone: BackboneSettings,
    *,
    head: HeadSettings,
    norm: NormFactory,
    max_norm: float,
) -> keras.Model:
    """The encoder from pictures in 0...1 (N, S, S, 3) to features (N, S/s, S/s, C).

    Args:
        backbone: the network's name, and where to take its weights from, if anywhere: a file of
            this backbone's weights, one of Keras applications (without the top), or `imagenet`,
            which Keras downloads.
        head: the input side S and the stride s.
        norm: makes a normalisation layer of the given name.
        max_norm: the greatest norm of a convolution's output filter.

    Raises:
        ConfigError: the name is unknown, the network cannot have this stride, or the weights are
            missing or do not fit.
    """
    name = backbone.backbone
    if name in RESIDUAL_NETWORKS:
        model = _residual_network(name, head=head, norm=norm, max_norm=max_norm)
    elif name in EFFICIENT_NETWORKS:
        model = _efficient_network(
            name,
            head=head,
            norm=norm,
            max_norm=max_norm,
            survival_prob=backbone.survival_prob,
        )
    else:
        known = ", ".join([*RESIDUAL_NETWORKS, *EFFICIENT_NETWORKS])
        raise ConfigError(
            f"unknown backbone {name!r}",
            where="params.yaml: train.backbone.backbone",
            cause=f"known: {known}",
        )
    source = backbone.load_backbone_from
    if source is None:
        return model
    if name in EFFICIENT_NETWORKS and (source == IMAGENET or _is_published(Path(source))):
        _adopt(model, _published_network(name, side=head.proc_side, source=source), where=source)
    else:
        load_weights(model, Path(source))
    return model


def load_weights(model: keras.Model, path: Path) -> None:
    """Take weights from a Keras weights or model file; what renormalisation adds stays as it is.

    Raises:
        ConfigError: the file is missing or its layers do not fit.
    """
    where = str(path)
    if not path.is_file():
        raise ConfigError("there is no such weights file", where=where)
    try:
        with warnings.catch_warnings():
            # Keras warns of layers that it does not find, and leaves them as they are.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(where, skip_mismatch=False)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise ConfigError(
            "the weights do not fit the backbone",
            where=where,
            cause=str(error).splitlines()[0],
        ) from error


class _Aligned(keras.layers.Layer):
    """Pads a strided convolution by k//2 on each side, or `shift` pixels further along."""

    kernel_size: tuple[int, ...]

    def __init__(self, *args: Any, shift: int = 0, **kwargs: Any) -> None:
        kwargs["padding"] = "valid"
        super().__init__(*args, **kwargs)
        self.shift = shift

    def call(self, inputs: Any) -> Any:
        return super().call(_pad(inputs, kernel_size=self.kernel_size[0], shift=self.shift))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return super().compute_output_shape(_padded(input_shape, self.kernel_size[0]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shift": self.shift}


@keras.saving.register_keras_serializable(package="poseshard")
class AlignedConv2D(_Aligned, keras.layers.Conv2D):
    """A strided convolution whose cells are centred."""


@keras.saving.register_keras_serializable(package="poseshard")
class AlignedDepthwiseConv2D(_Aligned, keras.layers.DepthwiseConv2D):
    """The depthwise counterpart of `AlignedConv2D`."""


def _pad(inputs: Any, *, kernel_size: int, shift: int) -> Any:
    before, after = kernel_size // 2 - shift, kernel_size // 2 + shift
    return keras.ops.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])


def _padded(shape: Any, kernel_size: int) -> tuple[Any, ...]:
    extra = 2 * (kernel_size // 2)
    n, height, width, channels = shape
    return (n, None if height is None else height + extra, width and width + extra, channels)


def _residual_network(
    name: str, *, head: HeadSettings, norm: NormFactory, max_norm: float
) -> keras.Model:
    stem, stages = RESIDUAL_NETWORKS[name]
    strides = _strides(2 * math.prod(s for _, _, s in stages), head=head, n_stages=len(stages))
    constraint = keras.constraints.MaxNorm(max_norm, axis=[0, 1, 2])

    def conv(x: Any, channels: int, *, kernel: int, stride: int, name: str, shift: int = 0) -> Any:
        options: dict[str, Any] = {
            "strides": stride,
            "use_bias": False,
            "kernel_initializer": "he_normal",
            "kernel_constraint": constraint,
            "name": name,
        }
        if stride == 1:
            return keras.layers.Conv2D(channels, kernel, padding="same", **options)(x)
        return AlignedConv2D(channels, kernel, shift=shift, **options)(x)

    shift = 1 if head.centered_stride else 0
    last_strided = max((i for i, s in enumerate(strides) if s == 2), default=-1)
    inputs = keras.Input((head.proc_side, head.proc_side, 3))
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="to_signed")(inputs)
    x = conv(x, stem, kernel=3, stride=2, name="stem_conv", shift=shift if last_strided < 0 else 0)
    x = keras.layers.Activation("relu", name="stem_relu")(norm("stem_norm")(x))
    for i_stage, ((channels, n_blocks, _), stride) in enumerate(zip(stages, strides, strict=True)):
        for i_block in range(n_blocks):
            prefix = f"stage{i_stage + 1}_block{i_block + 1}"
            step = stride if i_block == 0 else 1
            moved = shift if (i_stage == last_strided and step == 2) else 0
            residual = x
            x = conv(x, channels, kernel=3, stride=step, name=f"{prefix}_conv1", shift=moved)
            x = keras.layers.Activation("relu")(norm(f"{prefix}_norm1")(x))
            x = conv(x, channels, kernel=3, stride=1, name=f"{prefix}_conv2")
            x = norm(f"{prefix}_norm2")(x)
            x = _squeeze_excite(x, channels, prefix=prefix)
            if i_block == 0:
                if step == 2:
                    residual = keras.layers.AveragePooling2D(2, name=f"{prefix}_pool")(residual)
                residual = conv(residual, channels, kernel=1, stride=1, name=f"{prefix}_skip")
                residual = norm(f"{prefix}_skip_norm")(residual)
            x = keras.layers.Activation("relu")(keras.layers.Add()([x, residual]))
    return keras.Model(inputs, x, name=name.replace("-", "_"))


def _squeeze_excite(x: Any, channels: int, *, prefix: str) -> Any:
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}_squeeze")(x)
    gate = keras.layers.Dense(channels // 4, activation="relu", name=f"{prefix}_reduce")(gate)
    gate = keras.layers.Dense(channels, activation="sigmoid", name=f"{prefix}_expand")(gate)
    return keras.layers.Multiply(name=f"{prefix}_excite")([x, gate])


def _strides(full_stride: int, *, head: HeadSettings, n_stages: int) -> list[int]:
    """Stages that keep their stride of 2, the later ones giving it up for a finer output."""
    ratio = full_stride / head.stride_train
    given_up = math.log2(ratio) if ratio >= 1 else -1.0
    if not given_up.is_integer() or given_up > n_stages or given_up < 0:
        raise ConfigError(
            f"this backbone cannot have the stride {head.stride_train}",
            where="params.yaml: train.head.stride_train",
            cause=f"its strides are powers of two up to {full_stride}",
        )
    return [2] * (n_stages - int(given_up)) + [1] * int(given_up)


def _efficient_network(
    name: str, *, head: HeadSettings, norm: NormFactory, max_norm: float, survival_prob: float
) -> keras.Model:
    if head.stride_train != 32:
        raise ConfigError(
            f"EfficientNetV2 has the stride 32, not {head.stride_train}",
            where="params.yaml: train.head.stride_train",
        )
    published = _published_network(name, side=head.proc_side)
    strided = [layer.name for layer in published.layers if _is_strided(layer)]
    constraint = keras.constraints.MaxNorm(max_norm, axis=[0, 1, 2])
    scale = (1 - survival_prob) / 0.2  # Keras's own stochastic depth loses 0.2 at the end

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            return norm(layer.name)
        if isinstance(layer, keras.layers.Dropout):
            return keras.layers.Dropout(
                config["rate"] * scale, noise_shape=config["noise_shape"], name=layer.name
            )
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            config["depthwise_constraint"] = keras.constraints.MaxNorm(max_norm, axis=[0, 1])
            kind: type[keras.layers.Layer] = keras.layers.DepthwiseConv2D
            aligned: type[keras.layers.Layer] = AlignedDepthwiseConv2D
        elif isinstance(layer, keras.layers.Conv2D):
            config["kernel_constraint"] = constraint
            kind, aligned = keras.layers.Conv2D, AlignedConv2D
        else:
            return type(layer).from_config(config)
        if layer.name not in strided:
            return kind.from_config(config)
        moved = head.centered_stride and layer.name == strided[-1]
        return aligned.from_config({**config, "shift": int(moved)})

    network = keras.models.clone_model(published, clone_function=replace)
    inputs = keras.Input((head.proc_side, head.proc_side, 3))
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="to_signed")(inputs)
    return keras.Model(inputs, network(x), name=name.replace("-", "_"))


def _published_network(name: str, *, side: int, source: str | None = None) -> keras.Model:
    """The network as Keras applications has it, with weights from a file of theirs, or ImageNet's.

    Raises:
        ConfigError: the weights cannot be had.
    """
    constructor = getattr(keras.applications, EFFICIENT_NETWORKS[name])
    try:
        network: keras.Model = constructor(
            include_top=False,
            weights=IMAGENET if source == IMAGENET else None,
            input_shape=(side, side, 3),
            include_preprocessing=False,
        )
    except Exception as error:  # of Keras's download, whatever it meets
        if source != IMAGENET:
            raise
        raise ConfigError(
            "ImageNet's weights could not be downloaded",
            where="params.yaml: train.backbone.load_backbone_from",
            cause=str(error).splitlines()[0],
            next_command="give the path of a downloaded notop file instead",
        ) from error
    if source not in (None, IMAGENET):
        load_weights(network, Path(source))
    return network


def _is_published(path: Path) -> bool:
    """Whether a weights file is of the bare network, not of this backbone, which is nested."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        layers = file.get("layers", file)
        return any(key in layers for key in ("stem_conv", "conv2d"))


def _adopt(model: keras.Model, published: keras.Model, *, where: str) -> None:
    """Copy weights layer by layer, by name; what renormalisation adds stays as it is."""
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    for layer in filter(lambda layer: layer.weights, published.layers):
        own = {weight.name: weight for weight in network.get_layer(layer.name).weights}
        for weight in layer.weights:
            if weight.name not in own:
                raise ConfigError(
                    f"the backbone's {layer.name} has no {weight.name}",
                    where=where,
                    cause="published weights go with batch (re)normalisation only",
                )
            own[weight.name].assign(weight)


def _is_strided(layer: keras.layers.Layer) -> bool:
    is_conv = isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    return is_conv and bool(np.max(layer.strides) > 1)
