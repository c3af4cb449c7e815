"""The localizer: a picture and canonical query points in, camera-space points out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.settings import from_mapping
from stages.train.backbone import build_backbone
from stages.train.batch_renormalization import BatchRenormalization, adapted_momentum
from stages.train.body_supervision import QueryPoints
from stages.train.canonical_body import JointTable
from stages.train.canonical_joints import CanonicalJoints
from stages.train.localizer_head import localize, to_metres, to_pixels
from stages.train.point_field import PointField
from stages.train.reconstruction import INFERENCE_SHARED_POINTS, reconstruct_absolute
from stages.train.settings import TrainSettings
from stages.train.synchronized_normalization import BatchNormalization


class Prediction(NamedTuple):
    """What the head says of N pictures and P points each, before absolute reconstruction.

    Attributes:
        coords2d: (N, P, 2), pixels of the crop.
        coords3d: (N, P, 3), metres, up to translation.
        uncert: (N, P), metres.
    """

    coords2d: tf.Tensor
    coords3d: tf.Tensor
    uncert: tf.Tensor


@keras.saving.register_keras_serializable(package="poseshard")
class LocalizerModel(keras.Model):
    """Backbone, link layer, point field and head, with every skeleton's canonical joints.

    Called with a mapping of `image` (N, S, S, 3) in 0...1, `intrinsics` (N, 3, 3) and
    `canonical_points` (P, 3) or (N, P, 3) in metres, it returns a mapping of `coords2d` (N, P, 2),
    pixels, `coords3d` (N, P, 3), metres in the camera frame, and `uncert` (N, P), metres.

    Args:
        settings: the recipe.
        table: all skeletons' joints.
        bounds: (2, 3), least and greatest coordinates of the canonical body.
        eigenvalues: of the canonical volume, for a gps field.
    """

    def __init__(
        self,
        settings: TrainSettings,
        *,
        table: JointTable,
        bounds: npt.ArrayLike,
        eigenvalues: npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": "localizer", **kwargs})
        self.settings = settings
        self.query_points: QueryPoints | None = None  # of training; no part of the saved model
        self.table = table
        self.bounds = np.asarray(bounds, np.float32)
        self.eigenvalues = None if eigenvalues is None else np.asarray(eigenvalues, np.float32)
        head, link_dim = settings.head, settings.backbone.backbone_link_dim
        max_norm = settings.optimisation.constrain_kernel_norm
        self.backbone = build_backbone(
            settings.backbone, head=head, norm=self._norm, max_norm=max_norm
        )
        self.link = keras.layers.Conv2D(
            link_dim,
            1,
            use_bias=False,
            kernel_constraint=keras.constraints.MaxNorm(max_norm, axis=[0, 1, 2]),
            name="link",
        )
        self.link_norm = self._norm("link_norm")
        self.field = PointField(
            (link_dim + 1) * (2 + head.depth),
            bounds=self.bounds,
            settings=settings.field,
            eigenvalues=self.eigenvalues,
            name="field",
        )
        self.canonical_joints = CanonicalJoints(
            table.names,
            positions=table.initial,
            max_offset=settings.field.max_canonical_offset,
            trainable=settings.field.trainable_canonical_joints,
            name="canonical_joints",
        )
        self.link.build(self.backbone.output_shape)
        self.link_norm.build((*self.backbone.output_shape[:-1], link_dim))
        self.field.build((None, 3))
        self.built = True

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        features = self.features(inputs["image"], training=training)
        predicted = self.predict_points(features, self.field(inputs["canonical_points"]))
        head = self.settings.head
        coords3d = reconstruct_absolute(
            predicted.coords2d,
            predicted.coords3d,
            intrinsics=inputs["intrinsics"],
            mask=predicted.uncert < head.max_uncert,
            weak_perspective=head.weak_perspective,
            how=INFERENCE_SHARED_POINTS,
            head=head,
            stride=head.stride_test,
        )
        return {"coords2d": predicted.coords2d, "coords3d": coords3d, "uncert": predicted.uncert}

    def features(self, image: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Pictures (N, S, S, 3) in 0...1 to features (N, H, W, link)."""
        linked = self.link(self.backbone(image, training=training))
        return tf.nn.silu(self.link_norm(linked, training=training))

    def predict_points(self, features: tf.Tensor, weights: tf.Tensor) -> Prediction:
        """Read out the points whose weights (N, P, ·) or (P, ·) the field gave."""
        head = self.settings.head
        raw = localize(features, weights, head=head)
        return Prediction(
            to_pixels(raw.coords2d, head=head), to_metres(raw.coords3d, head=head), raw.uncert
        )

    def joint_locations(self) -> tf.Tensor:
        """Canonical places of the whole joint table: (T, 3), metres."""
        return self.canonical_joints.locations()

    def dataset_joints(self, dataset: str) -> tf.Tensor:
        """Canonical places of one dataset's joints: (J, 3), metres."""
        start = self.table.start(dataset)
        n_joints = len(self.table.names[self.table.datasets.index(dataset)])
        return self.joint_locations()[start : start + n_joints]

    @property
    def renormalizations(self) -> list[BatchRenormalization]:
        """The layers whose limits the schedule moves."""
        if not self.settings.norm.batch_renorm:
            return []
        return [
            layer for layer in self._flatten_layers() if isinstance(layer, BatchRenormalization)
        ]

    def _norm(self, name: str) -> keras.layers.Layer:
        norm, optimisation = self.settings.norm, self.settings.optimisation
        n_devices = tf.distribute.get_strategy().num_replicas_in_sync
        # Renormalisation takes each device's own statistics, as published; plain normalisation
        # those of the whole batch, so that any number of devices does the same.
        momentum = adapted_momentum(
            norm.momentum,
            devices=n_devices if norm.batch_renorm else 1,
            accumulation=optimisation.grad_accum_steps,
        )
        if norm.batch_renorm or norm.ghost_parts:
            # Without its ramp renormalisation is plain normalisation.
            return BatchRenormalization(
                momentum=momentum, epsilon=norm.epsilon, parts=norm.ghost_parts, name=name
            )
        if norm.group_norm:
            return keras.layers.GroupNormalization(groups=8, epsilon=norm.epsilon, name=name)
        kind = BatchNormalization if n_devices > 1 else keras.layers.BatchNormalization
        return kind(momentum=momentum, epsilon=norm.epsilon, name=name)

    def get_config(self) -> dict[str, Any]:
        # Where the data lay does not belong to the model.
        recipe = {k: v for k, v in settings_as_mapping(self.settings).items() if k != "data"}
        return {
            "settings": recipe,
            "table": {
                "datasets": list(self.table.datasets),
                "names": [list(names) for names in self.table.names],
                "initial": self.table.initial.tolist(),
                "located": self.table.located.tolist(),
            },
            "bounds": self.bounds.tolist(),
            "eigenvalues": None if self.eigenvalues is None else self.eigenvalues.tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> LocalizerModel:
        table = config["table"]
        recipe = dict(config["settings"])
        # The weights come with the model; what they began with may be gone by now.
        recipe["backbone"] = {**recipe["backbone"], "load_backbone_from": None}
        return cls(
            from_mapping(TrainSettings, recipe, where="the saved model"),
            table=JointTable(
                tuple(table["datasets"]),
                tuple(tuple(names) for names in table["names"]),
                np.asarray(table["initial"], np.float32),
                np.asarray(table["located"], bool),
            ),
            bounds=config["bounds"],
            eigenvalues=config["eigenvalues"],
        )


def settings_as_mapping(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain, JSON-able mappings that `from_mapping` reads back."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    mapping: dict[str, Any] = plain(settings)
    return mapping
