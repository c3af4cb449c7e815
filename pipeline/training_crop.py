"""The crop that the network sees: a square view of one person, augmented by given random draws.

Sárándi and Pons-Moll 2024 crop by turning and zooming a virtual camera, so that the crop is
again a picture of a pinhole camera and 3D truth stays exact. The draws are a record of their own:
the loader makes them, a test may prescribe them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.cameras import (
    Camera,
    Floats,
    looking_at,
    make_camera,
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
    """The random numbers of one crop; the defaults change nothing, as in validation.

    Attributes:
        part: x, y and side of the part of the (squared) box that is shown, in units of its side;
            None: all of it.
        shift: (x, y), how far the centre moves, in larger sides of the shown box.
        zoom: factor of the focal length.
        roll: rad.
        flip: mirror the picture.
    """

    part: tuple[float, float, float] | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    roll: float = 0.0
    flip: bool = False


UNCHANGED = GeometryDraws()


def draw_geometry(
    rng: np.random.Generator, ranges: AugmentationRanges, *, partial_visibility: bool
) -> GeometryDraws:
    """Draw one crop's geometry.

    Args:
        partial_visibility: whether the source shows single people, so that a part of the box still
            shows a part of this person and nobody else.
    """
    part = None
    if partial_visibility and rng.random() < ranges.partial_visibility_prob:
        part = draw_part(rng)
    shift = shift_in_disc(rng.uniform(-math.pi, math.pi), rng.random(), radius=ranges.shift)
    zoom = rng.uniform(*ranges.zoom)
    any_roll = rng.random() < ranges.full_rotation_prob
    limit = math.pi if any_roll else ranges.rotation_rad
    roll = rng.uniform(-limit, limit)
    flip = ranges.flip and bool(rng.random() < 0.5)
    return GeometryDraws(part=part, shift=shift, zoom=zoom, roll=roll, flip=flip)


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


def shift_in_disc(angle: float, u: float, *, radius: float) -> tuple[float, float]:
    """The point of a disc that two uniform numbers (angle in rad, u in 0...1) choose evenly."""
    length = math.sqrt(u) * radius
    return length * math.cos(angle), length * math.sin(angle)


def training_camera(
    source: Camera, bbox: npt.ArrayLike, *, side: int, draws: GeometryDraws = UNCHANGED
) -> Camera:
    """The camera of a crop of side × side pixels that shows the box's longer side in full.

    Turned towards the (shifted) centre of the box, upright, without distortion, with square pixels
    and a central principal point; then zoomed, rolled and mirrored.

    Args:
        bbox: (4,), x, y, width, height in the source's pixels.
    """
    center, (width, height) = _shown_box(bbox, draws)
    turned = with_square_pixels(without_distortion(looking_at(center, source)))
    half = np.array([0.0, height / 2] if width < height else [width / 2, 0.0])
    ends = reproject(np.stack([center - half, center + half]), source, turned)
    length = math.dist(*ends.tolist())
    fitted = with_principal_point(zoomed(turned, side / length), _middle(side))
    return _augmented(fitted, draws)


def training_camera_without_source(
    image_size: tuple[int, int],
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
        image_size: height and width of the picture.
        bbox: (4,), x, y, width, height, pixels.
    """
    source = pretended_camera(image_size)
    center, box_size = _shown_box(bbox, GeometryDraws(shift=draws.shift))
    placed = _augmented(zoomed(source, side / float(box_size.max())), draws)
    offset = _middle(side) - reproject(center, source, placed)
    return source, with_principal_point(placed, placed.intrinsics[:2, 2] + offset)


def pretended_camera(image_size: tuple[int, int]) -> Camera:
    """A camera with a small field of view for a picture (height, width) without a known one."""
    height, width = image_size
    focal = max(height, width) / (2 * math.tan(math.radians(PRETENDED_FIELD_OF_VIEW_DEG / 2)))
    intrinsics = np.diag([focal, focal, 1.0])
    intrinsics[:2, 2] = (width - 1) / 2, (height - 1) / 2
    return make_camera(intrinsics, world_up=[0, -1, 0])


def _shown_box(bbox: npt.ArrayLike, draws: GeometryDraws) -> tuple[Floats, Floats]:
    """Centre and size of the box, or of the drawn part of it, after shifting."""
    box = np.asarray(bbox, np.float64)
    center, size = box[:2] + box[2:] / 2, box[2:]
    if draws.part is not None:
        x, y, part_side = draws.part
        squared = float(size.max())
        center = center - squared / 2 + squared * (np.array([x, y]) + part_side / 2)
        size = np.full(2, squared * part_side)
    return center + np.array(draws.shift) * size.max(), size


def _augmented(camera: Camera, draws: GeometryDraws) -> Camera:
    camera = rolled(zoomed(camera, draws.zoom), draws.roll)
    return mirrored(camera) if draws.flip else camera


def _middle(side: int) -> Floats:
    return np.full(2, (side - 1) / 2)
