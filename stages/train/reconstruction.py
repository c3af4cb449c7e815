"""From pixels and 3D points of unknown position to absolute camera coordinates.

The network predicts every point twice: in pixels, and in metres up to translation. A common
translation makes the two agree (Sárándi et al., "MeTRAbs", 2021, section on absolute pose
reconstruction; Sárándi and Pons-Moll 2024 mix both where the point is in view).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import tensorflow as tf

from stages.train.masked import masked_mean, masked_mean_and_deviation
from stages.train.projection import back_project, is_within_fov, normalize_pixels, project
from stages.train.settings import HeadSettings, LossSettings

_POINT_WEIGHT_FLOOR = 1e-4  # unusable points keep this much, so that the system never is singular
_SQUARE_FLOOR = 1e-10
_MIN_DEVIATION = 1e-5


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """How one caller reconstructs.

    Attributes:
        points_border: strides; predictions nearer the edge do not help to find the translation.
        output_border: strides; points nearer the edge come out 3D-based; None: `points_border`.
        decide_on_3d: that test looks at the projected 3D-based estimate, not at the mixed one.
        weak_perspective: find the translation from sizes instead of least squares.
        is_mixed: in view, the 3D-based estimate has a share in the output.
    """

    points_border: float = 0.75
    output_border: float | None = None
    decide_on_3d: bool = True
    weak_perspective: bool = False
    is_mixed: bool = True


# In training, the share is drawn per example, U(0, 1); else it is the settings' one.
TRAINING = Reconstruction(points_border=1.0, output_border=0.55, decide_on_3d=False)
TRAINING_START = replace(TRAINING, weak_perspective=True)
INFERENCE_RAGGED = Reconstruction(points_border=0.6)
INFERENCE_SHARED_POINTS = Reconstruction(points_border=1.0, output_border=0.6)


def reconstruct_absolute(
    coords2d: tf.Tensor,
    coords3d: tf.Tensor,
    *,
    intrinsics: tf.Tensor,
    mask: tf.Tensor | None = None,
    mix: tf.Tensor | float | None = None,
    weak_perspective: tf.Tensor | bool | None = None,
    how: Reconstruction = TRAINING,
    head: HeadSettings,
    stride: int | None = None,
) -> tf.Tensor:
    """Absolute coordinates of every point, usable for reconstruction or not.

    In view, the point is the mix of the 3D-based and the 2D-based estimate; elsewhere, or behind
    the camera, the 3D-based one alone.

    Args:
        coords2d: (N, P, 2), pixels.
        coords3d: (N, P, 3), metres, up to translation.
        intrinsics: (N, 3, 3).
        mask: bool (N, P), points that may take part; None: all.
        mix: scalar or (N, 1, 1), the 3D-based estimate's share; default `head.mix_3d_inside_fov`.
        weak_perspective: overrides that of `how`; may be a scalar bool tensor.
        stride: of the field of view; default the training stride.

    Returns:
        float32 (N, P, 3), metres, camera space.
    """
    coords2d, coords3d, intrinsics = (
        tf.cast(tensor, tf.float32) for tensor in (coords2d, coords3d, intrinsics)
    )
    mix = head.mix_3d_inside_fov if mix is None else mix
    weak = how.weak_perspective if weak_perspective is None else weak_perspective
    output_border = how.points_border if how.output_border is None else how.output_border

    normalized = normalize_pixels(coords2d, intrinsics)
    usable = is_within_fov(coords2d, border=how.points_border, head=head, stride=stride)
    if mask is not None:
        usable &= mask
    reference = _reference(normalized, coords3d, usable, weak, head.fullpersp_l2_regul)

    based_on_3d = coords3d + reference[:, tf.newaxis]
    based_on_2d = back_project(normalized, coords3d[..., 2], reference_depth=reference[:, 2])
    if how.is_mixed:
        mix = tf.cast(mix, tf.float32)
        based_on_2d = mix * based_on_3d + (1 - mix) * based_on_2d

    judged = based_on_3d if how.decide_on_3d else based_on_2d
    pixels = project(judged, intrinsics, min_depth_m=head.min_projection_depth_m)
    inside = is_within_fov(pixels, border=output_border, head=head, stride=stride)
    inside &= based_on_3d[..., 2] > head.in_front_depth_m
    return tf.where(inside[..., tf.newaxis], based_on_2d, based_on_3d)


def weak_perspective_reference(
    normalized: tf.Tensor, coords3d: tf.Tensor, *, usable: tf.Tensor
) -> tf.Tensor:
    """Translation that gives the 3D points the size and place which they have in the picture.

    Depth is the ratio of the points' deviations in metres and on the plane at depth 1. Without a
    usable point the answer is (0, 0, 1).

    Args:
        normalized: (N, P, 2), on the plane at depth 1.
        coords3d: (N, P, 3), metres, up to translation.
        usable: bool (N, P).

    Returns:
        (N, 3), metres.
    """
    _, deviation3d = masked_mean_and_deviation(coords3d[..., :2], usable)
    mean2d, deviation2d = masked_mean_and_deviation(normalized, usable)
    depth = tf.math.divide_no_nan(
        tf.maximum(deviation3d, _MIN_DEVIATION), tf.maximum(deviation2d, _MIN_DEVIATION)
    )
    center = tf.concat([mean2d, tf.ones_like(depth)], axis=-1) * depth
    return (center - masked_mean(coords3d, usable, axis=1, keepdims=True))[:, 0]


def full_perspective_reference(
    normalized: tf.Tensor, coords3d: tf.Tensor, *, usable: tf.Tensor, regularization: float
) -> tf.Tensor:
    """Translation r with x_rel + r_x = n_x (z_rel + r_z), likewise y, by linear least squares.

    Both the coefficients and the right sides are scaled to unit root mean square; each point's two
    rows carry the weight usable + 1e-4; Tikhonov term `regularization`. The 3×3 normal equations
    are solved by eliminating r_x and r_y, with sums about the weighted mean, which in float32
    keeps digits that a factorisation of the matrix loses when the points subtend a small angle.

    Args and returns as `weak_perspective_reference`. Without a usable point the answer is finite
    and has no meaning.
    """
    target = normalized * coords3d[..., 2:] - coords3d[..., :2]
    # The masked mean's quirk is wanted: mean squared length of the 2-vectors.
    n_scale, target_scale = (
        tf.sqrt(masked_mean(tf.square(x), usable, axis=(1, 2), keepdims=True) + _SQUARE_FLOOR)
        for x in (normalized, target)
    )
    n = normalized / n_scale
    target = target / target_scale
    weight = tf.square(tf.cast(usable, n.dtype) + _POINT_WEIGHT_FLOOR)[..., tf.newaxis]
    weight_sum = tf.reduce_sum(weight, axis=1, keepdims=True) + regularization

    n_mean = tf.reduce_sum(weight * n, axis=1, keepdims=True) / weight_sum
    target_mean = tf.reduce_sum(weight * target, axis=1, keepdims=True) / weight_sum
    n_centered = n - n_mean
    spread = tf.reduce_sum(weight * tf.square(n_centered), axis=(1, 2), keepdims=True)
    spread += regularization * (1 + tf.reduce_sum(tf.square(n_mean), axis=2, keepdims=True))
    z = -tf.reduce_sum(weight * n_centered * target, axis=(1, 2), keepdims=True) / spread
    xy = target_mean + n_mean * z
    return (tf.concat([xy, z / n_scale], axis=-1) * target_scale)[:, 0]


def reconstruction_mask(
    true_coords2d: tf.Tensor,
    *,
    validity: tf.Tensor,
    true_depth: tf.Tensor | None,
    uncert: tf.Tensor | None,
    step: tf.Tensor | int,
    training_steps: int,
    loss: LossSettings,
    head: HeadSettings,
) -> tf.Tensor:
    """Points that may take part in the reconstruction during training.

    Valid, with their truth in view and (where there is 3D truth) in front of the camera, and, once
    `max_uncert_start` of the training is over, predicted with some certainty.

    Args:
        true_coords2d: (N, P, 2), pixels.
        validity: bool (N, P).
        true_depth: (N, P), metres; None for kinds without 3D truth.
        uncert: (N, P), metres; None: no uncertainty is predicted.

    Returns:
        bool (N, P).
    """
    mask = validity & is_within_fov(true_coords2d, border=head.truth_border, head=head)
    if true_depth is not None:
        mask &= true_depth > head.in_front_depth_m
    if uncert is not None and loss.nll_loss:
        too_early = tf.cast(step, tf.float32) < head.max_uncert_start * training_steps
        mask &= too_early | (tf.cast(uncert, tf.float32) < head.max_uncert)
    return mask


def _reference(
    normalized: tf.Tensor,
    coords3d: tf.Tensor,
    usable: tf.Tensor,
    weak: tf.Tensor | bool,
    regularization: float,
) -> tf.Tensor:
    def by_sizes() -> tf.Tensor:
        return weak_perspective_reference(normalized, coords3d, usable=usable)

    def by_least_squares() -> tf.Tensor:
        return full_perspective_reference(
            normalized, coords3d, usable=usable, regularization=regularization
        )

    if tf.is_tensor(weak):
        return tf.cond(weak, by_sizes, by_least_squares)
    return by_sizes() if weak else by_least_squares()
