"""From camera space to pixels and back, and where a pixel lies relative to the heat map."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from stages.train.masked import masked_mean
from stages.train.settings import HeadSettings


def project(points: tf.Tensor, intrinsics: tf.Tensor, *, min_depth_m: float) -> tf.Tensor:
    """Pinhole projection of points in camera space, continued smoothly enough behind the camera.

    The whole vector is divided by max(depth, `min_depth_m`). Nearer than that the homogeneous
    coordinate is no longer 1, so that the principal point shrinks too.

    Args:
        points: (N, P, 3), metres.
        intrinsics: (N, 3, 3), pixels.

    Returns:
        (N, P, 2), pixels.
    """
    homogeneous = points / tf.maximum(points[..., 2:], min_depth_m)
    return tf.matmul(homogeneous, intrinsics[:, :2], transpose_b=True)


def normalize_pixels(pixels: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """First two coordinates of K⁻¹ (u, v, 1).

    Args:
        pixels: (N, P, 2).
        intrinsics: (N, 3, 3), last row (0, 0, 1).

    Returns:
        (N, P, 2), on the plane at depth 1.
    """
    k = intrinsics[:, tf.newaxis]
    u = pixels[..., 0] - k[..., 0, 2]
    v = pixels[..., 1] - k[..., 1, 2]
    determinant = k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]
    x = (k[..., 1, 1] * u - k[..., 0, 1] * v) / determinant
    y = (k[..., 0, 0] * v - k[..., 1, 0] * u) / determinant
    return tf.stack([x, y], axis=-1)


def back_project(
    normalized: tf.Tensor, relative_depth: tf.Tensor, *, reference_depth: tf.Tensor
) -> tf.Tensor:
    """(x, y, 1) · (relative depth + reference depth).

    Args:
        normalized: (N, P, 2), on the plane at depth 1.
        relative_depth: (N, P), metres.
        reference_depth: (N,), metres.

    Returns:
        (N, P, 3), metres, camera space.
    """
    depth = (relative_depth + reference_depth[:, tf.newaxis])[..., tf.newaxis]
    return tf.concat([normalized * depth, depth], axis=-1)


def is_within_fov(
    pixels: tf.Tensor, *, border: float, head: HeadSettings, stride: int | None = None
) -> tf.Tensor:
    """Whether pixels keep a distance of `border` strides from the edge of what the heat map sees.

    Both coordinates must lie in [stride·border + o, proc_side − stride·border + o], with o = 0
    for centred strides and −stride/2 otherwise. A negative border widens the window.

    Args:
        pixels: (..., 2).
        stride: default the training stride.

    Returns:
        bool (...).
    """
    stride = head.stride_train if stride is None else stride
    offset = 0.0 if head.centered_stride else -stride / 2
    low = stride * border + offset
    high = head.proc_side - stride * border + offset
    return tf.reduce_all((pixels >= low) & (pixels <= high), axis=-1)


def center_on_mean(
    points: tf.Tensor,
    validity: tf.Tensor | None = None,
    *,
    joints: Sequence[int] | None = None,
) -> tf.Tensor:
    """Subtract from each example the mean of its valid points, or of the listed ones only.

    Args:
        points: (N, P, 3).
        validity: bool (N, P); None: all are valid.
        joints: average over these points only.
    """
    averaged, mask = points, validity
    if joints is not None:
        averaged = tf.gather(points, joints, axis=1)
        mask = None if validity is None else tf.gather(validity, joints, axis=1)
    return points - masked_mean(averaged, mask, axis=1, keepdims=True)


def center_on_last(points: tf.Tensor) -> tf.Tensor:
    """Subtract each example's last point; points (N, P, 3)."""
    return points - points[:, -1:]
