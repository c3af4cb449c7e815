"""Pinhole cameras with lens distortion: projecting, undistorting, turning.

Frames: the camera looks along +z, x to the right, y down; x_camera = R (x_world − position). The
centre of the top-left pixel is (0, 0). Lengths are in whatever unit the camera's position has.
Everything is computed in float64.

One camera or many: a `Camera` whose arrays have a leading axis N stands for N cameras, and what
is done to it is done to each. Points then have that axis too and one more: (N, P, 2), (N, P, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

N_DISTORTION_COEFFICIENTS = 14
_OPENCV_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-16)
_NEWTON_STEPS = 30
_CONVERGED = 1e-14  # on the plane at depth 1: far below a billionth of a pixel
_COMPLEX_STEP = 1e-30


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera, or N cameras with a leading axis N, as arrays of float64.

    Attributes:
        intrinsics: (3, 3), pixels, last row (0, 0, 1).
        rotation: (3, 3), world to camera; of determinant −1 for a mirrored picture.
        position: (3,), the optical centre in the world.
        distortion: (14,), Brown-Conrady coefficients in OpenCV's order: k1 k2 p1 p2 k3 k4 k5
            k6 s1 s2 s3 s4 tx ty; zeros if none.
        world_up: (3,), unit; zeros where unknown, then the camera itself counts as upright.
    """

    intrinsics: Floats
    rotation: Floats
    position: Floats
    distortion: Floats
    world_up: Floats

    @property
    def is_distorted(self) -> bool:
        return bool(self.distortion.any())

    def __getitem__(self, i: Any) -> Camera:
        """One of many cameras, or some of them, as numpy indexes the leading axis."""
        return Camera(
            self.intrinsics[i],
            self.rotation[i],
            self.position[i],
            self.distortion[i],
            self.world_up[i],
        )


def make_camera(
    intrinsics: npt.ArrayLike,
    *,
    rotation: npt.ArrayLike | None = None,
    position: npt.ArrayLike | None = None,
    distortion: npt.ArrayLike | None = None,
    world_up: npt.ArrayLike | None = None,
) -> Camera:
    """A camera from arrays of any float type; what is left out is the identity, or none.

    Args:
        distortion: 4 to 14 coefficients, shorter ones as OpenCV reads them.

    Raises:
        ValueError: more than 14 distortion coefficients.
    """
    coefficients = np.zeros(N_DISTORTION_COEFFICIENTS)
    if distortion is not None:
        given = np.asarray(distortion, np.float64).ravel()
        if len(given) > N_DISTORTION_COEFFICIENTS:
            raise ValueError(f"{len(given)} distortion coefficients, at most 14 are known")
        coefficients[: len(given)] = given
    return Camera(
        intrinsics=np.asarray(intrinsics, np.float64),
        rotation=np.eye(3) if rotation is None else np.asarray(rotation, np.float64),
        position=np.zeros(3) if position is None else np.asarray(position, np.float64),
        distortion=coefficients,
        world_up=np.zeros(3) if world_up is None else _unit(np.asarray(world_up, np.float64)),
    )


def world_to_camera(points: npt.ArrayLike, camera: Camera) -> Floats:
    """R (x − position) of points (..., 3)."""
    offset = np.asarray(points, np.float64) - _per_point(camera.position)
    return np.asarray(offset @ camera.rotation.mT)


def camera_to_image(points: npt.ArrayLike, camera: Camera) -> Floats:
    """Pixels (..., 2) of points (..., 3) in camera space, distorted as the lens does.

    Points behind the camera are projected through the optical centre, as the formula has it.
    """
    points = np.asarray(points, np.float64)
    normalized = distort(points[..., :2] / points[..., 2:], camera.distortion)
    matrix = camera.intrinsics
    return np.asarray(normalized @ matrix[..., :2, :2].mT + _per_point(matrix[..., :2, 2]))


def world_to_image(points: npt.ArrayLike, camera: Camera) -> Floats:
    """Pixels (..., 2) of points (..., 3) in the world."""
    return camera_to_image(world_to_camera(points, camera), camera)


def image_to_camera(pixels: npt.ArrayLike, camera: Camera) -> Floats:
    """Rays (..., 3) with z = 1 in camera space through pixels (..., 2), undistorted."""
    matrix = camera.intrinsics
    offset = np.asarray(pixels, np.float64) - _per_point(matrix[..., :2, 2])
    normalized = undistort(offset @ _inverse_2x2(matrix[..., :2, :2]).mT, camera.distortion)
    return np.concatenate([normalized, np.ones_like(normalized[..., :1])], axis=-1)


def reproject(pixels: npt.ArrayLike, source: Camera, target: Camera) -> Floats:
    """Where pixels (..., 2) of one camera lie in another one at the same place."""
    turn = target.rotation @ source.rotation.mT
    return camera_to_image(image_to_camera(pixels, source) @ turn.mT, target)


def homography(source: Camera, target: Camera) -> Floats:
    """(3, 3) taking homogeneous pixels of `source` to those of `target`, both without distortion.

    Raises:
        ValueError: a camera has lens distortion, for which there is none.
    """
    if source.is_distorted or target.is_distorted:
        raise ValueError("a distorted picture does not map by a homography")
    turn = target.rotation @ source.rotation.mT
    return np.asarray(target.intrinsics @ turn @ np.linalg.inv(source.intrinsics))


def looking_at(pixel: npt.ArrayLike, camera: Camera) -> Camera:
    """The camera turned so that the (undistorted) ray of a pixel is its axis, and upright.

    Its x axis is level: perpendicular to the world's up. Where the axis points straight up or down,
    and where up is unknown, the old camera's own up is kept. Intrinsics and distortion stay.

    Args:
        pixel: (2,), or (N, 2) for N cameras.
    """
    ray = image_to_camera(np.asarray(pixel)[..., np.newaxis, :], camera) @ camera.rotation
    axis = _unit(ray[..., 0, :])
    level = _cross(axis, camera.world_up)
    # Zero where the axis is parallel to up, or where up is unknown.
    is_level = np.sqrt(np.square(level).sum(axis=-1, keepdims=True)) >= 1e-6
    if not is_level.all():
        level = np.where(is_level, level, _cross(axis, -camera.rotation[..., 1, :]))
    x_axis = _unit(level)
    return _with_rotation(camera, np.stack([x_axis, _cross(axis, x_axis), axis], axis=-2))


def without_distortion(camera: Camera) -> Camera:
    """The pinhole camera with the same matrix."""
    none = np.zeros_like(camera.distortion)
    return Camera(camera.intrinsics, camera.rotation, camera.position, none, camera.world_up)


def zoomed(camera: Camera, factor: npt.ArrayLike) -> Camera:
    """Both focal lengths and the skew times `factor` (one, or N); the principal point stays."""
    factors = np.asarray(factor, np.float64)
    scale = np.ones((*factors.shape, 3, 3))
    scale[..., :2, :2] = factors[..., np.newaxis, np.newaxis]
    return _with_intrinsics(camera, camera.intrinsics * scale)


def with_principal_point(camera: Camera, point: npt.ArrayLike) -> Camera:
    """The camera with its principal point at these pixels, (2,) or (N, 2)."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[..., :2, 2] = point
    return _with_intrinsics(camera, intrinsics)


def with_square_pixels(camera: Camera) -> Camera:
    """The picture stretched so that both focal lengths become their mean."""
    intrinsics = camera.intrinsics.copy()
    focal = intrinsics[..., [0, 1], [0, 1]]
    intrinsics[..., :2, :] *= (focal.mean(axis=-1, keepdims=True) / focal)[..., np.newaxis]
    return _with_intrinsics(camera, intrinsics)


def scaled(camera: Camera, factor: float) -> Camera:
    """The camera of the picture resized so that pixel u becomes factor · u."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[..., :2, :] *= factor
    return _with_intrinsics(camera, intrinsics)


def rolled(camera: Camera, angle_rad: npt.ArrayLike) -> Camera:
    """The camera turned about its axis (by one angle, or N); the picture turns the other way."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.zeros((*np.shape(angle_rad), 3, 3))
    turn[..., 0, 0], turn[..., 0, 1], turn[..., 1, 0], turn[..., 1, 1] = c, s, -s, c
    turn[..., 2, 2] = 1
    return _with_rotation(camera, turn @ camera.rotation)


def mirrored(camera: Camera, which: npt.ArrayLike = True) -> Camera:
    """The camera of the picture mirrored left to right about the principal point.

    Args:
        which: bool, or (N,): the others stay as they are.
    """
    flip = np.ones((*np.shape(which), 3, 1))
    flip[..., 0, 0] = np.where(which, -1.0, 1.0)
    return _with_rotation(camera, camera.rotation * flip)


def distort(normalized: Floats, coefficients: Floats) -> Floats:
    """Brown-Conrady distortion of points (..., 2) on the plane at depth 1, as OpenCV defines it.

    Rational radial, tangential, thin prism and tilt terms. Complex input is welcome.

    Args:
        normalized: (..., 2); (N, P, 2) for N cameras.
        coefficients: (14,), or (N, 14).
    """
    if not coefficients.any():
        return normalized
    if coefficients.ndim > 1:
        return _one_by_one(distort, normalized, coefficients)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tilt_x, tilt_y = coefficients
    x, y = normalized[..., 0], normalized[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy2 = 2 * x * y
    prism_x, prism_y = r2 * (s1 + r2 * s2), r2 * (s3 + r2 * s4)
    xd = x * radial + p1 * xy2 + p2 * (r2 + 2 * x * x) + prism_x
    yd = y * radial + p1 * (r2 + 2 * y * y) + p2 * xy2 + prism_y
    distorted = np.stack([xd, yd], axis=-1)
    if tilt_x or tilt_y:
        tilt = _tilt_matrix(tilt_x, tilt_y)
        distorted = distorted @ tilt[:, :2].T + tilt[:, 2]
        distorted = distorted[..., :2] / distorted[..., 2:]
    return distorted


def undistort(normalized: Floats, coefficients: Floats) -> Floats:
    """The points (..., 2) that `distort` takes to these, to machine precision where they exist.

    OpenCV's iteration, and Newton's method where that has not converged, each step no longer than
    keeps the error falling. Outside the region that the lens model covers invertibly (beyond the
    picture, for a sensible calibration) the point with the least error found is returned.

    Args:
        normalized: (..., 2); (N, P, 2) for N cameras.
        coefficients: (14,), or (N, 14).
    """
    if not coefficients.any():
        return normalized
    if coefficients.ndim > 1:
        return _one_by_one(undistort, normalized, coefficients)
    points = _undistort_by_opencv(normalized, coefficients)
    residual = distort(points, coefficients) - normalized
    if not (np.abs(residual) > _CONVERGED).any():
        return points
    # Where it ran away, begin anew at the distorted point.
    fresh_residual = distort(normalized, coefficients) - normalized
    is_lost = ~(_length(residual) < _length(fresh_residual))[..., np.newaxis]
    points = np.where(is_lost, normalized, points)
    residual = np.where(is_lost, fresh_residual, residual)
    for _ in range(_NEWTON_STEPS):
        error = _length(residual)
        if not (error > _CONVERGED).any():
            break
        step = _newton_step(points, residual, coefficients)
        for _ in range(6):
            trial = points - step
            trial_residual = distort(trial, coefficients) - normalized
            better = _length(trial_residual) < error
            points = np.where(better[..., np.newaxis], trial, points)
            residual = np.where(better[..., np.newaxis], trial_residual, residual)
            # Those that got better are done; the others try half the way.
            step = np.where(better[..., np.newaxis], 0.0, step / 2)
            if better.all():
                break
    return points


def _one_by_one(
    change: Callable[[Floats, Floats], Floats], normalized: Floats, coefficients: Floats
) -> Floats:
    """What `change` does with each camera's points; lenses that distort are few."""
    changed = normalized.copy()
    for i in np.flatnonzero(coefficients.any(axis=1)):
        changed[i] = change(normalized[i], coefficients[i])
    return changed


def _undistort_by_opencv(normalized: Floats, coefficients: Floats) -> Floats:
    flat = np.ascontiguousarray(normalized).reshape(-1, 1, 2)
    if not len(flat):
        return normalized
    found = cv2.undistortPoints(flat, np.eye(3), coefficients, criteria=_OPENCV_CRITERIA)
    return np.asarray(found, np.float64).reshape(normalized.shape)


def _newton_step(points: Floats, residual: Floats, coefficients: Floats) -> Floats:
    """J⁻¹ residual, with derivatives by the complex step, which loses no digits."""
    columns = [
        distort(points + 1j * _COMPLEX_STEP * np.eye(2)[i], coefficients).imag / _COMPLEX_STEP
        for i in range(2)
    ]
    (a, c), (b, d) = ((column[..., 0], column[..., 1]) for column in columns)
    determinant = a * d - b * c
    determinant = np.where(np.abs(determinant) < 1e-12, 1e-12, determinant)
    step_x = (d * residual[..., 0] - b * residual[..., 1]) / determinant
    step_y = (a * residual[..., 1] - c * residual[..., 0]) / determinant
    return np.stack([step_x, step_y], axis=-1)


def _tilt_matrix(tilt_x: float, tilt_y: float) -> Floats:
    """Projection onto a sensor plane tilted by these angles (rad), about the optical centre."""
    cx, sx, cy, sy = np.cos(tilt_x), np.sin(tilt_x), np.cos(tilt_y), np.sin(tilt_y)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    turn = about_y @ about_x
    onto = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]])
    return np.asarray(onto @ turn)


def _with_intrinsics(camera: Camera, intrinsics: Floats) -> Camera:
    return Camera(intrinsics, camera.rotation, camera.position, camera.distortion, camera.world_up)


def _with_rotation(camera: Camera, rotation: Floats) -> Camera:
    return Camera(camera.intrinsics, rotation, camera.position, camera.distortion, camera.world_up)


def _per_point(values: Floats) -> Floats:
    """(D,) as it is, (N, D) as (N, 1, D): to be combined with each camera's points."""
    return values if values.ndim == 1 else values[..., np.newaxis, :]


def _inverse_2x2(matrix: Floats) -> Floats:
    a, b, c, d = (matrix[..., i, j] for i in range(2) for j in range(2))
    adjugate = np.stack([d, -b, -c, a], axis=-1).reshape(matrix.shape)
    return adjugate / (a * d - b * c)[..., np.newaxis, np.newaxis]


def _cross(a: Floats, b: Floats) -> Floats:
    """Of 3-vectors (..., 3); numpy's own takes a crop's whole time budget for generality."""
    (ax, ay, az), (bx, by, bz) = ([v[..., i] for i in range(3)] for v in (a, b))
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]))


def _unit(vector: Floats) -> Floats:
    length = np.sqrt(np.square(vector).sum(axis=-1, keepdims=True))
    return np.asarray(vector / np.where(length > 0, length, 1))
