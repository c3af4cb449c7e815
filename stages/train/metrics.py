"""What training and evaluation report: errors in millimetres, percent and pixels."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from stages.train.masked import masked_mean
from stages.train.projection import project
from stages.train.settings import HeadSettings, LossSettings

PCK_THRESHOLD_M = 0.1
_REFERENCE_SIDE = 256  # px: pixel errors are given as if the crop had this side


class Metrics3D(NamedTuple):
    """Scalars over all valid points of a batch.

    Attributes:
        mean_error_abs: mm, distance of absolute points.
        mean_error: mm, distance after moving each example's valid points onto each other's mean;
            so even where there is a root.
        auc: %, mean of max(0, 1 − distance / 0.1 m), without a sweep over thresholds.
        pck: % of points with a distance of at most 0.1 m, means aligned.
        mean_error_procrustes: mm, after rotation, uniform scale and translation.
        mean_error_px: pixels of a 256 px crop; points out of view count too.
    """

    mean_error_abs: tf.Tensor
    mean_error: tf.Tensor
    auc: tf.Tensor
    pck: tf.Tensor
    mean_error_procrustes: tf.Tensor
    mean_error_px: tf.Tensor


def metrics_3d(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    *,
    intrinsics: tf.Tensor,
    validity: tf.Tensor,
    head: HeadSettings,
) -> Metrics3D:
    """Metrics where there is 3D truth.

    Args:
        truth, prediction: (N, P, 3), metres, camera space.
        intrinsics: (N, 3, 3).
        validity: bool (N, P).
    """
    truth, prediction = tf.cast(truth, tf.float32), tf.cast(prediction, tf.float32)
    true_pixels = project(truth, intrinsics, min_depth_m=head.min_projection_depth_m)
    distance = mean_relative_distance(truth, prediction, validity=validity)
    aligned = procrustes_align(prediction, truth, validity=validity)
    within = tf.cast(distance <= PCK_THRESHOLD_M, tf.float32)
    return Metrics3D(
        mean_error_abs=1000 * masked_mean(tf.norm(truth - prediction, axis=-1), validity),
        mean_error=1000 * masked_mean(distance, validity),
        auc=100 * masked_mean(closeness(distance, threshold_m=PCK_THRESHOLD_M), validity),
        pck=100 * masked_mean(within, validity),
        mean_error_procrustes=1000 * masked_mean(tf.norm(truth - aligned, axis=-1), validity),
        mean_error_px=pixel_error(
            true_pixels, prediction, intrinsics=intrinsics, validity=validity, head=head
        ),
    )


def pixel_error(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    *,
    intrinsics: tf.Tensor,
    validity: tf.Tensor,
    head: HeadSettings,
) -> tf.Tensor:
    """Mean distance of projected points from true pixels, scaled to a 256 px crop.

    Args:
        truth: (N, P, 2), pixels.
        prediction: (N, P, 3), metres, camera space.
        intrinsics: (N, 3, 3).
        validity: bool (N, P).
    """
    pixels = project(prediction, intrinsics, min_depth_m=head.min_projection_depth_m)
    scale = _REFERENCE_SIDE / head.proc_side
    return masked_mean(tf.norm(truth - pixels, axis=-1) * scale, validity)


def mean_relative_distance(
    truth: tf.Tensor, prediction: tf.Tensor, *, validity: tf.Tensor
) -> tf.Tensor:
    """Distance of points (N, P, 3) after taking off the mean difference of the valid ones: (N, P).

    Args:
        validity: bool (N, P).
    """
    difference = truth - prediction
    mean = masked_mean(difference, validity, axis=1, keepdims=True)
    return tf.norm(difference - mean, axis=-1)


def root_relative_distance(
    truth: tf.Tensor, prediction: tf.Tensor, *, validity: tf.Tensor, root_index: tf.Tensor
) -> tf.Tensor:
    """Distance of points (N, P, 3) after moving root onto root, or mean onto mean without one.

    Args:
        validity: bool (N, P).
        root_index: int (N,), -1 where the example has no root.

    Returns:
        (N, P), in the unit of the points.
    """
    difference = truth - prediction
    mean = masked_mean(difference, validity, axis=1, keepdims=True)
    root = tf.gather(difference, tf.maximum(root_index, 0), axis=1, batch_dims=1)[:, tf.newaxis]
    has_root = (root_index >= 0)[:, tf.newaxis, tf.newaxis]
    return tf.norm(difference - tf.where(has_root, root, mean), axis=-1)


def expected_error_factor(loss: LossSettings) -> float:
    """What a point's uncertainty is multiplied by to be its expected distance from the truth.

    Distance / (sqrt(3) uncertainty) + c · ln uncertainty is least where the uncertainty is the
    distance / (sqrt(3) c): a third of it with the published c = sqrt(3), all of it with
    `fix_uncert_factor`, c = 1 / sqrt(3).
    """
    return 1.0 if loss.fix_uncert_factor else 3.0


def closeness(distance: tf.Tensor, *, threshold_m: float) -> tf.Tensor:
    """1 at distance 0, falling linearly to 0 at the threshold: a point's area under PCK's curve."""
    return tf.maximum(0.0, 1 - distance / threshold_m)


def procrustes_align(
    prediction: tf.Tensor,
    truth: tf.Tensor,
    *,
    validity: tf.Tensor,
    allow_scaling: bool = True,
) -> tf.Tensor:
    """Move each predicted point set onto its truth by rotation, uniform scale and translation.

    The transformation that fits the valid points best (orthogonal Procrustes analysis, Schönemann
    1966, without reflections after Kabsch 1976) is applied to all of them. Without a valid point
    the result is NaN. Where the valid points of either set coincide, all land on the true mean.

    Args:
        prediction, truth: (N, P, 3).
        validity: bool (N, P).
        allow_scaling: otherwise only rotation and translation.

    Returns:
        (N, P, 3).
    """
    pose_mean, truth_mean = (
        masked_mean(points, validity, axis=1, keepdims=True) for points in (prediction, truth)
    )
    mask = validity[..., tf.newaxis]
    pose = prediction - pose_mean
    valid_pose, valid_truth = (
        tf.where(mask, centered, tf.zeros_like(centered)) for centered in (pose, truth - truth_mean)
    )
    pose_norm, truth_norm = (
        tf.norm(points, axis=(1, 2), keepdims=True) for points in (valid_pose, valid_truth)
    )
    covariance = tf.matmul(
        tf.math.divide_no_nan(valid_pose, pose_norm),
        tf.math.divide_no_nan(valid_truth, truth_norm),
        transpose_a=True,
    )
    singular, u, v = tf.linalg.svd(covariance)
    rotation = tf.matmul(u, v, transpose_b=True)
    # Turn the weakest direction round where the best orthogonal map is a reflection.
    sign = tf.where(tf.linalg.det(rotation) < 0, -1.0, 1.0)[:, tf.newaxis]
    signs = tf.concat([tf.ones_like(sign), tf.ones_like(sign), sign], axis=1)
    rotation = tf.matmul(u * signs[:, tf.newaxis], v, transpose_b=True)
    result = tf.matmul(pose, rotation)
    if allow_scaling:
        overlap = tf.reduce_sum(singular * signs, axis=1)[:, tf.newaxis, tf.newaxis]
        result *= tf.math.divide_no_nan(truth_norm, pose_norm) * overlap
    has_points = tf.reduce_any(validity, axis=1)[:, tf.newaxis, tf.newaxis]
    return tf.where(has_points, result + truth_mean, tf.constant(float("nan"), result.dtype))
