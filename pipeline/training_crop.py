"""The crop that the network sees: a square view of one person, augmented by given random draws.

Sárándi and Pons-Moll 2024 crop by turning and zooming a virtual camera, so that the crop is
again a picture of a pinhole camera and 3D truth stays exact. The draws are a record of their own:
the loader makes them, a test may prescribe them. Everything takes one crop or N at once, as
`pipeline.cameras` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cameras import (
    N_DISTORTION_COEFFICIENTS,
    Camera,
    Floats,
    looking_at,
    mirrored,
    reproject,
    rolled,
    with_principal_point,
    with_square_pixels,
    without_distortion,
    zoomed,
)

PRETENDED_FIELD_OF_VIEW_DEG = 8.0  # where the camera is unknown; nearly parallel rays


@dataclass(frozen=True, slots=True)
class AugmentationRanges:
    """What the geometric draws are drawn from.

    Attributes:
        shift: greatest shift of the box's centre, in larger sides of the box.
        zoom: least and greatest factor.
        rotation_rad: greatest roll either way.
        full_rotation_prob: how often any roll is possible.
        partial_visibility_prob: how often only a part of the box is shown, where that is allowed.
        flip: mirror half of the crops.
    """

    shift: float = 0.1
    zoom: tuple[float, float] = (0.75, 1.25)
    rotation_rad: float = math.radians(20)
    full_rotation_prob: float = 0.1
    partial_visibility_prob: float = 0.15
    flip: bool = True


@dataclass(frozen=True, slots=True)
class GeometryDraws:
    """The random numbers of one crop, or of N; the defaults change nothing, as in validation.

    Attributes:
        part: (3,) or (N, 3), x, y and side of the part of the (squared) box that is shown, in units
            of its side, (0, 0, 0) for the box as it is; None: all boxes as they are.
        shift: (2,) or (N, 2), how far the centre moves, in larger sides of the shown box.
        zoom: one or (N,), factor of the focal length.
        roll: one or (N,), rad.
        flip: one or (N,), mirror the picture.
    """

    part: npt.ArrayLike | None = None
    shift: npt.ArrayLike = (0.0, 0.0)
    zoom: npt.ArrayLike = 1.0
    roll: npt.ArrayLike = 0.0
    flip: npt.ArrayLike = False

    def __getitem__(self, i: int | npt.NDArray[Any] | slice) -> GeometryDraws:
        """The draws of one of N crops, or of some."""
        part = None if self.part is None else np.asarray(self.part)[i]
        values = (np.asarray(v)[i] for v in (self.shift, self.zoom, self.roll, self.flip))
        return GeometryDraws(part, *values)


UNCHANGED = GeometryDraws()


def draw_geometry(
    rng: np.random.Generator,
    ranges: AugmentationRanges,
    *,
    partial_visibility: npt.NDArray[np.bool_],
) -> GeometryDraws:
    """Draw the geometry of N crops at once.

    Args:
        partial_visibility: bool (N,), whether the source shows single people, so that a part of
            the box still shows a part of this person and nobody else.
    """
    n = len(partial_visibility)
    in_part, angle, distance, zoom, any_roll, roll, flip = rng.random((7, n))
    shown_in_part = partial_visibility & (in_part < ranges.partial_visibility_prob)
    part = np.zeros((n, 3))
    for i in np.flatnonzero(shown_in_part):
        part[i] = draw_part(rng)
    least, greatest = ranges.zoom
    limit = np.where(any_roll < ranges.full_rotation_prob, math.pi, ranges.rotation_rad)
    return GeometryDraws(
        part=part if shown_in_part.any() else None,
        shift=shift_in_disc((2 * angle - 1) * math.pi, distance, radius=ranges.shift),
        zoom=least + (greatest - least) * zoom,
        roll=(2 * roll - 1) * limit,
        flip=(flip < 0.5) & ranges.flip,
    )


def draw_part(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw corners until they make a fitting square of more than half the box's side."""
    while True:
        part = part_of_draws(rng.uniform(0, 0.5), rng.uniform(0.5, 1), rng.uniform(0.5, 1))
        if part is not None:
            return part


def part_of_draws(x1: float, x2: float, y2: float) -> tuple[float, float, float] | None:
    """x, y and side of the square from x1 to x2 that ends at y2; None: too small, or it sticks out.

    All in units of the squared box's side.
    """
    side = x2 - x1
    return (x1, y2 - side, side) if 0.5 < side < y2 else None


def shift_in_disc(angle: npt.ArrayLike, u: npt.ArrayLike, *, radius: float) -> Floats:
    """The points (..., 2) of a disc that two uniform numbers (angle in rad, u in 0...1) choose
    evenly.
    """
    length = np.sqrt(u) * radius
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1)


def training_camera(
    source: Camera, bbox: npt.ArrayLike, *, side: int, draws: GeometryDraws = UNCHANGED
) -> Camera:
    """The camera of a crop of side × side pixels that shows the box's longer side in full.

    Turned towards the (shifted) centre of the box, upright, without distortion, with square pixels
    and a central principal point; then zoomed, rolled and mirrored.

    Args:
        source: one camera, or N.
        bbox: (4,) or (N, 4), x, y, width, height in the source's pixels.
    """
    center, size = _shown_box(bbox, draws)
    turned = with_square_pixels(without_distortion(looking_at(center, source)))
    half = size / 2 * (size >= size.max(axis=-1, keepdims=True))
    half[..., 1] *= half[..., 0] == 0  # of two equal sides, the width
    ends = reproject(np.stack([center - half, center + half], axis=-2), source, turned)
    across = ends[..., 1, :] - ends[..., 0, :]
    length = np.hypot(across[..., 0], across[..., 1])
    fitted = with_principal_point(zoomed(turned, side / length), _middle(side))
    return _augmented(fitted, draws)


def training_camera_without_source(
    image_size: npt.ArrayLike,
    bbox: npt.ArrayLike,
    *,
    side: int,
    draws: GeometryDraws = UNCHANGED,
) -> tuple[Camera, Camera]:
    """Cameras for a picture of which none is known: a pretended one for it, and the crop's.

    The pretended camera has a field of view of 8° over the larger side and its axis through the
    middle of the picture. Nothing is turned: the crop is the picture zoomed, rolled, mirrored and
    shifted so that the box's (shifted) centre comes to its middle, and its principal point lies
    wherever the picture's middle comes to, possibly far outside. The part of a box is never shown.

    Args:
        image_size: (2,) or (N, 2), height and width of the picture.
        bbox: (4,) or (N, 4), x, y, width, height, pixels.
    """
    source = pretended_camera(image_size)
    center, box_size = _shown_box(bbox, replace(draws, part=None))
    placed = _augmented(zoomed(source, side / box_size.max(axis=-1)), draws)
    moved = reproject(center[..., np.newaxis, :], source, placed)[..., 0, :]
    return source, with_principal_point(
        placed, placed.intrinsics[..., :2, 2] + _middle(side) - moved
    )


def pretended_camera(image_size: npt.ArrayLike) -> Camera:
    """A camera with a small field of view for a picture (height, width) without a known one."""
    size = np.asarray(image_size, np.float64)
    focal = size.max(axis=-1) / (2 * math.tan(math.radians(PRETENDED_FIELD_OF_VIEW_DEG / 2)))
    axes = size.shape[:-1]
    intrinsics = np.zeros((*axes, 3, 3))
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = focal
    intrinsics[..., :2, 2] = (size[..., ::-1] - 1) / 2
    intrinsics[..., 2, 2] = 1
    return Camera(
        intrinsics=intrinsics,
        rotation=np.broadcast_to(np.eye(3), (*axes, 3, 3)),
        position=np.zeros((*axes, 3)),
        distortion=np.zeros((*axes, N_DISTORTION_COEFFICIENTS)),
        world_up=np.broadcast_to(np.array([0.0, -1.0, 0.0]), (*axes, 3)),
    )


def _shown_box(bbox: npt.ArrayLike, draws: GeometryDraws) -> tuple[Floats, Floats]:
    """Centre and size (..., 2) of the box, or of the drawn part of it, after shifting."""
    box = np.asarray(bbox, np.float64)
    center, size = box[..., :2] + box[..., 2:] / 2, box[..., 2:]
    if draws.part is not None:
        part = np.asarray(draws.part, np.float64)
        part_side = part[..., 2:]
        squared = size.max(axis=-1, keepdims=True)
        part_center = center - squared / 2 + squared * (part[..., :2] + part_side / 2)
        center = np.where(part_side > 0, part_center, center)
        size = np.where(part_side > 0, np.broadcast_to(squared * part_side, size.shape), size)
    return center + np.asarray(draws.shift) * size.max(axis=-1, keepdims=True), size


def _augmented(camera: Camera, draws: GeometryDraws) -> Camera:
    camera = rolled(zoomed(camera, draws.zoom), draws.roll)
    return mirrored(camera, draws.flip) if np.any(draws.flip) else camera


def _middle(side: int) -> Floats:
    return np.full(2, (side - 1) / 2)
