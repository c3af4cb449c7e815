"""Cameras of the sample pictures: full views, and crops turned towards a person.

World and camera are in metres here, y up in the world, x right, y down, z forward in the camera:
x_cam = R (x - t). Pixels are counted from the centre of the top-left one.
"""

from __future__ import annotations

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
        return np.einsum("ij,...j->...i", self.rotation, points - self.position)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels float64 (N, 2), distorted, and depths float64 (N,) of world points (N, 3)."""
        camera = self.to_camera(points)
        depth = camera[:, 2]
        flat = camera[:, :2] / np.maximum(depth, 1e-6)[:, None]
        if self.distortion is not None:
            flat = distort(flat, self.distortion)
        return flat @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2], depth

    def rays(self) -> Array:
        """Directions of the pixels in the world, float32 (3, H, W), one unit deep."""
        height, width = self.size
        x = (np.arange(width) - self.intrinsics[0, 2]) / self.intrinsics[0, 0]
        y = (np.arange(height) - self.intrinsics[1, 2]) / self.intrinsics[1, 1]
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
    forward = direction / np.linalg.norm(direction)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    tilt = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return tilt @ np.stack([right, down, forward])


def crop_towards(position: Array, box_points: Array, *, person_px: float, margin: float,
                 shift: Array, roll: float, limit_px: int) -> View:  # fmt: skip
    """A square pinhole crop turned towards the middle of some points, as PosePile makes them.

    Args:
        position: optical centre, float64 (3,).
        box_points: float64 (N, 3), world points of the person.
        person_px: the longer side of the person's box in the crop, pixels.
        margin: side of the crop over the longer side of the person's box.
        shift: where the middle of the person's box lies, from -0.5 to 0.5 of the free room.
        roll: radians.
        limit_px: the longest side of a crop.
    """
    offsets = np.ascontiguousarray((box_points - position).T)
    rotation = upright_rotation(offsets.mean(1), roll=roll)
    for _ in range(2):
        low, high = _flat_bounds(np.einsum("ij,jn->in", rotation, offsets))
        rotation = upright_rotation(rotation.T @ np.append((low + high) / 2, 1.0), roll=roll)
    low, high = _flat_bounds(np.einsum("ij,jn->in", rotation, offsets))
    extent = high - low
    focal = person_px / extent.max()
    side = int(min(round(person_px * margin), limit_px))
    room = np.maximum(side - focal * extent, 0.0)
    middle = focal * (low + high) / 2
    center = (side - 1) / 2 - middle + shift * room
    intrinsics = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1.0]])
    return View(rotation, position, intrinsics, None, (side, side))


def _flat_bounds(camera: Array) -> tuple[Array, Array]:
    """Least and greatest normalised coordinates (2,) of camera points (3, N)."""
    flat = camera[:2] / camera[2]
    return flat.min(1), flat.max(1)
