"""The training losses: robust likelihood-style norms of 3D and 2D residuals.

After Sárándi and Pons-Moll, "Neural Localizer Fields for Continuous 3D Human Pose and Shape
Estimation" (NeurIPS 2024), whose heads predict an uncertainty for every point, and their public
training code, whose constants LossSettings lists. Everything is computed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from stages.train.masked import masked_mean
from stages.train.projection import is_within_fov, project
from stages.train.settings import HeadSettings, LossSettings


class Loss3D(NamedTuple):
    """Scalars. `absolute` is unscaled; `absloss_factor` enters `total` only."""

    relative: tf.Tensor
    absolute: tf.Tensor
    projected: tf.Tensor
    total: tf.Tensor


def charbonnier(x: tf.Tensor, *, epsilon: float = 0.0) -> tf.Tensor:
    """sqrt(mean_d(x_d²) + ε²) − ε over the last axis; its gradient at x = 0 is 0.

    Args:
        x: (..., D).
        epsilon: width of the quadratic bottom; with 0 the value is |x| / sqrt(D).
    """
    mean_square = tf.reduce_mean(tf.square(x), axis=-1)
    if epsilon:
        return tf.sqrt(mean_square + epsilon**2) - epsilon
    # Both sides of the selection must have finite gradients, or 0 · inf makes NaN.
    is_zero = tf.equal(mean_square, 0)
    root = tf.sqrt(tf.where(is_zero, tf.ones_like(mean_square), mean_square))
    return tf.where(is_zero, tf.zeros_like(root), root)


def robust_norm(
    x: tf.Tensor, uncert: tf.Tensor | None = None, *, settings: LossSettings
) -> tf.Tensor:
    """Norm of a residual, turned into a likelihood by the predicted uncertainty σ.

    With σ: (charbonnier(x / σ) + c ln σ) · σ^β, the last factor without gradient, where c is
    sqrt(D), or 1/sqrt(D) with `fix_uncert_factor`, and β is `beta_nll` (the weighting of Seitzer
    et al. 2022, "On the Pitfalls of Heteroscedastic Uncertainty Estimation"). With `nll_loss` off,
    σ is ignored.

    Args:
        x: (..., D).
        uncert: (...), positive.

    Returns:
        (...).
    """
    if uncert is None:
        return charbonnier(x, epsilon=settings.charb_eps_without_uncert)
    if not settings.nll_loss:
        return charbonnier(x, epsilon=settings.charb_eps)
    root_dim = float(x.shape[-1]) ** 0.5
    factor = 1 / root_dim if settings.fix_uncert_factor else root_dim
    norm = charbonnier(x / uncert[..., tf.newaxis], epsilon=settings.charb_eps)
    value = norm + factor * tf.math.log(uncert)
    if settings.beta_nll == 0:
        return value
    return value * tf.stop_gradient(tf.pow(uncert, settings.beta_nll))


def loss_with_3d_truth(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    *,
    intrinsics: tf.Tensor,
    validity: tf.Tensor,
    root_index: tf.Tensor,
    uncert: tf.Tensor | None,
    step: tf.Tensor | int,
    loss: LossSettings,
    head: HeadSettings,
) -> Loss3D:
    """Root-relative, absolute and projected loss of one sub-batch; each a mean over all its points.

    Before `absloss_start_step` the absolute loss counts with its value but gives no gradient (with
    0 if it is not finite).

    Args:
        truth, prediction: (N, P, 3), metres, camera space.
        intrinsics: (N, 3, 3).
        validity: bool (N, P).
        root_index: int (N,), -1 where the example has none (then relative to the mean).
        uncert: (N, P), metres; None: no uncertainty is predicted.
        step: the training step, an int or a scalar tensor.
    """
    truth, prediction, intrinsics, uncert = _as_float32(truth, prediction, intrinsics, uncert)
    relative = _relative_loss(truth - prediction, validity, root_index, uncert, loss)
    truth, prediction = (_only_valid(points, validity) for points in (truth, prediction))

    has_depth = validity & (truth[..., 2] > loss.min_true_depth_m)
    started = tf.greater_equal(step, loss.absloss_start_step)
    # Gating what goes in, rather than what comes out, keeps even a NaN gradient out.
    absolute = _absolute_loss(
        truth,
        _with_gradient_if(started, prediction),
        has_depth,
        None if uncert is None else _with_gradient_if(started, uncert),
        loss,
    )
    projected = _projected_loss(truth, prediction, intrinsics, has_depth, uncert, loss, head)
    counted = tf.where(started | tf.math.is_finite(absolute), absolute, tf.zeros_like(absolute))
    total = relative + projected + loss.absloss_factor * counted
    return Loss3D(relative, absolute, projected, total)


def loss_with_2d_truth(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    *,
    intrinsics: tf.Tensor,
    validity: tf.Tensor,
    uncert: tf.Tensor | None,
    loss: LossSettings,
    head: HeadSettings,
) -> tf.Tensor:
    """Projected loss of a sub-batch whose truth is pixels, a scalar.

    Points count where truth and projection both lie in the widened window; whether the prediction
    lies in front of the camera is not asked.

    Args:
        truth: (N, P, 2), pixels.
        prediction: (N, P, 3), metres, camera space.
        intrinsics: (N, 3, 3).
        validity: bool (N, P).
        uncert: (N, P), metres, or None.
    """
    truth, prediction, intrinsics, uncert = _as_float32(truth, prediction, intrinsics, uncert)
    projected = project(
        _only_valid(prediction, validity), intrinsics, min_depth_m=head.min_projection_depth_m
    )
    border = _loss2d_border(loss, head)
    counts = (
        validity
        & is_within_fov(projected, border=border, head=head)
        & is_within_fov(truth, border=border, head=head)
    )
    return _mean_norm((truth - projected) * _metres_per_pixel(head), counts, uncert, loss)


def total_loss(
    *,
    param: tf.Tensor | None = None,
    kp3d: tf.Tensor | None = None,
    dense: tf.Tensor | None = None,
    kp2d: tf.Tensor | None = None,
    regularization: tf.Tensor | None = None,
    loss: LossSettings,
    check_finite: bool = True,
) -> tf.Tensor:
    """Weighted sum of the four kinds' losses and the layers' regularisers; None: not in the batch.

    Raises:
        tf.errors.InvalidArgumentError: a term is not finite (with `check_finite`); it names which.
    """
    weighted = {
        "param": (param, loss.loss_factor_param),
        "kp3d": (kp3d, loss.loss_factor_kp),
        "dense": (dense, loss.loss_factor_dense),
        "kp2d": (kp2d, loss.loss_factor_2d),
        "regularization": (regularization, 1.0),
    }
    total = tf.zeros([], tf.float32)
    for name, (term, factor) in weighted.items():
        if term is None:
            continue
        value = tf.cast(term, tf.float32)
        if check_finite:
            value = tf.debugging.check_numerics(value, f"the loss of {name} is not finite")
        total += factor * value
    return total


def _relative_loss(
    residual: tf.Tensor,
    validity: tf.Tensor,
    root_index: tf.Tensor,
    uncert: tf.Tensor | None,
    loss: LossSettings,
) -> tf.Tensor:
    valid_residual = tf.where(validity[..., tf.newaxis], residual, tf.zeros_like(residual))
    mean = masked_mean(valid_residual, validity, axis=1, keepdims=True)
    root = tf.gather(residual, tf.maximum(root_index, 0), axis=1, batch_dims=1)[:, tf.newaxis]
    has_root = (root_index >= 0)[:, tf.newaxis, tf.newaxis]
    return _mean_norm(residual - tf.where(has_root, root, mean), validity, uncert, loss)


def _absolute_loss(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    mask: tf.Tensor,
    uncert: tf.Tensor | None,
    loss: LossSettings,
) -> tf.Tensor:
    residual = truth - prediction
    depth_factor = tf.minimum(1.0, loss.absloss_full_depth_m / tf.abs(truth[..., 2:]))
    residual = tf.concat([residual[..., :2], residual[..., 2:] * depth_factor], axis=-1)
    widened = None if uncert is None else uncert * loss.absloss_uncert_factor
    return _mean_norm(residual, mask, widened, loss)


def _projected_loss(
    truth: tf.Tensor,
    prediction: tf.Tensor,
    intrinsics: tf.Tensor,
    mask: tf.Tensor,
    uncert: tf.Tensor | None,
    loss: LossSettings,
    head: HeadSettings,
) -> tf.Tensor:
    border = _loss2d_border(loss, head)
    residual = tf.zeros([], tf.float32)
    for points, sign in ((truth, 1.0), (prediction, -1.0)):
        pixels = project(points, intrinsics, min_depth_m=head.min_projection_depth_m)
        in_front = points[..., 2] > head.in_front_depth_m
        mask &= in_front & is_within_fov(pixels, border=border, head=head)
        residual += sign * pixels
    return _mean_norm(residual * _metres_per_pixel(head), mask, uncert, loss)


def _mean_norm(
    residual: tf.Tensor, mask: tf.Tensor, uncert: tf.Tensor | None, loss: LossSettings
) -> tf.Tensor:
    """Masked mean of the robust norm; nothing leaks from masked-out points, not even NaN."""
    residual = tf.where(mask[..., tf.newaxis], residual, tf.zeros_like(residual))
    if uncert is not None:
        uncert = tf.where(mask, uncert, tf.ones_like(uncert))
    return masked_mean(robust_norm(residual, uncert, settings=loss), mask)


def _only_valid(points: tf.Tensor, validity: tf.Tensor) -> tf.Tensor:
    """Invalid points put in front of the camera, where projecting them is harmless."""
    return tf.where(validity[..., tf.newaxis], points, tf.constant([0.0, 0.0, 1.0]))


def _with_gradient_if(condition: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return tf.where(condition, x, tf.stop_gradient(x))


def _loss2d_border(loss: LossSettings, head: HeadSettings) -> float:
    return loss.loss2d_border * head.proc_side / 256


def _metres_per_pixel(head: HeadSettings) -> float:
    return head.box_size_m / head.proc_side


def _as_float32(*tensors: tf.Tensor | None) -> list[tf.Tensor]:
    return [None if tensor is None else tf.cast(tensor, tf.float32) for tensor in tensors]
