"""One step's forward pass: flip, predict, reconstruct, compare each kind with its truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.schema import Kind
from stages.train.body_supervision import QueryPoints
from stages.train.losses import loss_with_2d_truth, loss_with_3d_truth, total_loss
from stages.train.masked import masked_mean
from stages.train.metrics import mean_relative_distance
from stages.train.model import LocalizerModel, Prediction
from stages.train.projection import project
from stages.train.reconstruction import TRAINING, reconstruct_absolute, reconstruction_mask

WITH_3D_TRUTH = (Kind.PARAM, Kind.KP3D)
# What a batch must hold on the device; the rest (which example it was) stays with the host.
DEVICE_ARRAYS = (
    "image",
    "intrinsics",
    "coords3d",
    "coords2d",
    "point_validity",
    "joint_ids",
    "canonical_points",
    "root_index",
    "body",
)


class StepLosses(NamedTuple):
    """Scalars. Where several devices share a batch, each one's part of them: they add up.

    Attributes:
        total: what is minimised.
        kinds: each kind's loss, unweighted; 0 for a kind that is not in the batch.
        regularization: of the layers.
        mean_error_mm: of the 3D kinds, means aligned; the curve to look at.
    """

    total: tf.Tensor
    kinds: Mapping[str, tf.Tensor]
    regularization: tf.Tensor
    mean_error_mm: tf.Tensor


def step_losses(
    model: LocalizerModel,
    batch: Mapping[str, tf.Tensor],
    *,
    kinds: Mapping[Kind, slice],
    step: tf.Tensor,
    optimizer_step: tf.Tensor,
    seed: int,
    training: bool = True,
    n_drawn: int | None = None,
    batch_statistics: bool = True,
) -> StepLosses:
    """Losses of one batch, or of a part of one.

    Args:
        model: the localizer.
        batch: `DEVICE_ARRAYS`, the kinds one after another.
        kinds: each kind's part of the batch.
        step: int64 scalar; decides the draws, together with the seed, and the loss schedule.
        optimizer_step: int64 scalar; decides when full perspective begins.
        seed: of flips and mixing weights.
        training: False: no flips, mix ½, running statistics.
        n_drawn: examples of the whole batch, of which `slot` says which are here; None: this is it.
        batch_statistics: False: the network runs as at inference (`finetune_in_inference_mode`).
    """
    if training and model.query_points is not None:
        batch = model.query_points.complete(
            batch, kinds=kinds, seed=seed, step=step, n_drawn=n_drawn
        )
    coords3d, uncert = predict_absolute(
        model,
        batch,
        kinds=kinds,
        step=step,
        optimizer_step=optimizer_step,
        seed=seed,
        training=training,
        n_drawn=n_drawn,
        batch_statistics=batch_statistics,
    )
    return _compare(model, batch, coords3d, uncert, kinds=kinds, step=step)


def predict_absolute(
    model: LocalizerModel,
    batch: Mapping[str, tf.Tensor],
    *,
    kinds: Mapping[Kind, slice],
    step: tf.Tensor,
    optimizer_step: tf.Tensor,
    seed: int,
    training: bool,
    n_drawn: int | None = None,
    batch_statistics: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Points in camera space (N, P, 3), metres, and their uncertainty (N, P), metres.

    Reconstructed as in training: from the points whose truth says that they can be relied on.
    Arguments as in `step_losses`.
    """
    settings = model.settings
    n_examples = batch["image"].shape[0]
    flipped, mix = _draws(
        n_examples if n_drawn is None else n_drawn,
        seed=seed,
        step=step,
        settings=settings,
        training=training,
    )
    if n_drawn is not None:
        flipped, mix = (tf.gather(drawn, batch["slot"]) for drawn in (flipped, mix))
    predicted = _predict(
        model, batch, kinds=kinds, flipped=flipped, training=training and batch_statistics
    )

    has_3d_truth = np.zeros(n_examples, bool)
    for kind in WITH_3D_TRUTH:
        has_3d_truth[kinds[kind]] = True
    validity, truth3d = batch["point_validity"], batch["coords3d"]
    min_depth_m = settings.head.min_projection_depth_m
    projected = project(truth3d, batch["intrinsics"], min_depth_m=min_depth_m)
    truth2d = tf.where(has_3d_truth[:, np.newaxis, np.newaxis], projected, batch["coords2d"])
    true_depth = tf.where(has_3d_truth[:, np.newaxis], truth3d[..., 2], 1.0)
    coords3d = reconstruct_absolute(
        predicted.coords2d,
        predicted.coords3d,
        intrinsics=batch["intrinsics"],
        mask=reconstruction_mask(
            truth2d,
            validity=validity,
            true_depth=true_depth,
            uncert=predicted.uncert,
            step=step,
            training_steps=settings.optimisation.required_training_steps,
            loss=settings.loss,
            head=settings.head,
        ),
        mix=mix,
        weak_perspective=optimizer_step < settings.head.weak_perspective_steps,
        how=TRAINING,
        head=settings.head,
    )
    return coords3d, predicted.uncert


def _draws(n_examples, *, seed, step, settings, training):  # type: ignore[no-untyped-def]
    """Which examples to flip, bool (N,), and the mixing weights (N, 1, 1)."""
    if not training:
        return tf.zeros([n_examples], tf.bool), tf.fill([n_examples, 1, 1], 0.5)
    seeds = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
    draws = tf.random.stateless_uniform([2, n_examples], seeds)
    return draws[0] < settings.crop.trainer_flip_prob, draws[1][:, tf.newaxis, tf.newaxis]


def _predict(
    model: LocalizerModel,
    batch: Mapping[str, tf.Tensor],
    *,
    kinds: Mapping[Kind, slice],
    flipped: tf.Tensor,
    training: bool,
) -> Prediction:
    """Predict every point, in mirrored pictures for its mirrored canonical place.

    The flip is undone on the outputs: the truth is not touched.
    """
    head = model.settings.head
    image = batch["image"]
    if model.settings.crop.trainer_flip_prob > 0:
        # As bytes: on a processor, mirroring floats takes as long as three of the convolutions.
        is_flipped = flipped[:, tf.newaxis, tf.newaxis, tf.newaxis]
        image = tf.where(is_flipped, tf.reverse(image, axis=[2]), image)
    image = tf.cast(image, tf.float32) / 255
    weights = _point_weights(model, batch, kinds=kinds, flipped=flipped)
    predicted = model.predict_points(model.features(image, training=training), weights)

    flipped = flipped[:, tf.newaxis]
    u, v = tf.unstack(predicted.coords2d, axis=-1)
    x, y, z = tf.unstack(predicted.coords3d, axis=-1)
    u = tf.where(flipped, head.proc_side - 1 - u, u)
    x = tf.where(flipped, -x, x)
    return Prediction(tf.stack([u, v], axis=-1), tf.stack([x, y, z], axis=-1), predicted.uncert)


def _point_weights(
    model: LocalizerModel,
    batch: Mapping[str, tf.Tensor],
    *,
    kinds: Mapping[Kind, slice],
    flipped: tf.Tensor,
) -> tf.Tensor:
    """What the field says of every slot: (N, P, ·).

    Where all points are joints, these are asked for once per batch, and once mirrored, not once
    per example. Slots without a point carry no loss and get the weights of something.
    """
    queries = QueryPoints() if model.query_points is None else model.query_points
    locations = model.joint_locations()
    n_joints = tf.shape(locations)[0]
    mirrored = locations * tf.constant([-1.0, 1.0, 1.0])
    table = model.field(tf.concat([locations, mirrored], axis=0))
    side = tf.where(flipped, n_joints, 0)[:, tf.newaxis]
    ids = tf.maximum(batch["joint_ids"], 0) + side
    parts = []
    for kind, part in kinds.items():
        if part.stop == part.start:
            continue
        if queries.has_free_points(kind):
            points = batch["canonical_points"][part]
            if kind is not Kind.DENSE:
                joint_ids = batch["joint_ids"][part]
                joints = tf.gather(locations, tf.maximum(joint_ids, 0))
                points = tf.where((joint_ids >= 0)[..., tf.newaxis], joints, points)
            sign = tf.where(flipped[part], -1.0, 1.0)[:, tf.newaxis]
            x, y, z = tf.unstack(points, axis=-1)
            parts.append(model.field(tf.stack([x * sign, y, z], axis=-1)))
        else:
            parts.append(tf.gather(table, ids[part]))
    return tf.concat(parts, axis=0)


def _compare(
    model: LocalizerModel,
    batch: Mapping[str, tf.Tensor],
    coords3d: tf.Tensor,
    uncert: tf.Tensor,
    *,
    kinds: Mapping[Kind, slice],
    step: tf.Tensor,
) -> StepLosses:
    settings = model.settings
    losses: dict[str, tf.Tensor] = {}
    distances, masks = [], []
    for kind, part in kinds.items():
        if part.stop == part.start:
            continue
        shared = {
            "intrinsics": batch["intrinsics"][part],
            "validity": batch["point_validity"][part],
            "uncert": uncert[part],
            "loss": settings.loss,
            "head": settings.head,
        }
        if kind in WITH_3D_TRUTH:
            truth = batch["coords3d"][part]
            root_index = batch["root_index"][part]
            losses[kind] = loss_with_3d_truth(
                truth, coords3d[part], root_index=root_index, step=step, **shared
            ).total
            validity = shared["validity"]
            distances.append(mean_relative_distance(truth, coords3d[part], validity=validity))
            masks.append(validity)
        else:
            losses[kind] = loss_with_2d_truth(batch["coords2d"][part], coords3d[part], **shared)
    regularization = tf.add_n(model.losses) if model.losses else tf.zeros([])
    regularization /= tf.distribute.get_strategy().num_replicas_in_sync
    total = total_loss(
        **losses, regularization=regularization, loss=settings.loss, check_finite=False
    )
    mean_error = tf.zeros([])
    if distances:
        mean_error = 1000 * masked_mean(tf.concat(distances, 0), tf.concat(masks, 0))
    return StepLosses(
        total,
        {kind.value: losses.get(kind.value, tf.zeros([])) for kind in kinds},
        regularization,
        mean_error,
    )
