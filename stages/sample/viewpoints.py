"""Cameras of the sample pictures: full views, and crops turned towards a person.

World and camera are in metres here, y up in the world, x right, y down, z forward in the camera:
x_cam = R (x - t). Pixels are counted from the centre of the top-left one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.sample.surface import Array


@dataclass(frozen=True, slots=True)
class View:
    """A camera and the size of its picture.

    Attributes:
        rotation: float64 (3, 3), world to camera.
        position: float64 (3,), optical centre in the world.
        intrinsics: float64 (3, 3).
        distortion: float64 (8,) OpenCV order (k1 k2 p1 p2 k3 k4 k5 k6), or None.
        size: height, width.
    """

    rotation: Array
    position: Array
    intrinsics: Array
    distortion: Array | None
    size: tuple[int, int]

    def to_camera(self, points: Array) -> Array:
        """World to camera, float64 (..., 3)."""
        camera: Array = np.einsum("ij,...j->...i", self.rotation, points - self.position)
        return camera

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels float64 (N, 2), distorted, and depths float64 (N,) of world points (N, 3)."""
        camera = self.to_camera(points)
        depth = camera[:, 2]
        flat = camera[:, :2] / np.maximum(depth, 1e-6)[:, None]
        if self.distortion is not None:
            flat = distort(flat, self.distortion)
        pixels = flat * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2]
        return pixels, depth

    def rays(self, *, step: int = 1) -> Array:
        """Directions of the centres of step × step pixels, float32 (3, ⌈H/step⌉, ⌈W/step⌉).

        In the world, one unit deep.
        """
        y, x = (np.arange((step - 1) / 2, n + (step - 1) / 2, step) for n in self.size)
        x = (x - self.intrinsics[0, 2]) / self.intrinsics[0, 0]
        y = (y - self.intrinsics[1, 2]) / self.intrinsics[1, 1]
        rotation = self.rotation.astype(np.float32)
        if self.distortion is None:
            x, y = x.astype(np.float32), y.astype(np.float32)[:, None]
            return np.stack([r[0] * x + (r[1] * y + r[2]) for r in rotation.T])
        flat = np.stack(np.meshgrid(x, y), axis=-1)
        x, y = np.moveaxis(undistort(flat, self.distortion).astype(np.float32), -1, 0)
        return np.stack([r[0] * x + (r[1] * y + r[2]) for r in rotation.T])


def distort(flat: Array, coefficients: Array) -> Array:
    """Brown-Conrady with rational radial part, on normalised coordinates (..., 2)."""
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    x, y = flat[..., 0], flat[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def undistort(flat: Array, coefficients: Array) -> Array:
    """Inverse of `distort` by fixed-point iteration, for the mild lenses used here."""
    guess = flat
    for _ in range(8):
        guess = guess + flat - distort(guess, coefficients)
    return guess


def upright_rotation(direction: Array, *, roll: float = 0.0) -> Array:
    """World-to-camera rotation that looks along `direction`, horizon level but for `roll`."""
    x, y, z = (float(v) for v in direction)
    level, length = math.hypot(x, z), math.hypot(x, y, z)
    right = (-z / level, 0.0, x / level)
    down = (x * y / (level * length), -level / length, z * y / (level * length))
    c, s = math.cos(roll), math.sin(roll)
    tilt = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    level_view = np.array([right, down, (x / length, y / length, z / length)])
    rotation: Array = np.einsum("ij,jk->ik", tilt, level_view)
    return rotation


def crop_towards(
    position: Array,
    outline: Array,
    *,
    person_px: float,
    margin: float,
    shift: Array,
    roll: float,
    limit_px: int,
) -> View:
    """A square pinhole crop turned towards the middle of some points, as PosePile makes them.

    Args:
        position: optical centre, float64 (3,).
        outline: float64 (N, 3), world points of those who are to be seen.
        person_px: the longer side of their box in the crop, pixels.
        margin: side of the crop over the longer side of their box.
        shift: float64 (2,), where their box lies: 0 in the middle, -0.5 and 0.5 at the picture's
            borders, beyond those cut by a border; -1 and 1 just out of sight.
        roll: radians.
        limit_px: the longest side of a crop.
    """
    offsets = np.ascontiguousarray((outline - position).T)
    rotation = upright_rotation(offsets.mean(1), roll=roll)
    for _ in range(2):
        low, high = _flat_bounds(np.einsum("ij,jn->in", rotation, offsets))
        rotation = upright_rotation(rotation.T @ np.append((low + high) / 2, 1.0), roll=roll)
    low, high = _flat_bounds(np.einsum("ij,jn->in", rotation, offsets))
    extent = high - low
    focal = person_px / extent.max()
    side = int(min(round(person_px * margin), limit_px))
    room = np.maximum(side - focal * extent, 0.0)
    inside = np.clip(shift, -0.5, 0.5)
    beyond = 2.0 * (shift - inside)
    center = (side - 1) / 2 - focal * (low + high) / 2 + inside * room + beyond * focal * extent
    intrinsics = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1.0]])
    return View(rotation, position, intrinsics, None, (side, side))


def _flat_bounds(camera: Array) -> tuple[Array, Array]:
    """Least and greatest normalised coordinates (2,) of camera points (3, N)."""
    flat = camera[:2] / camera[2]
    return flat.min(1), flat.max(1)
