"""Crops of single people from full pictures, as PosePile prepares them once before training.

The camera is turned towards the person and loses its distortion; the picture keeps room for every
rotation, shift and zoom of the training crop to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.cameras import (
    Camera,
    Floats,
    image_to_camera,
    looking_at,
    make_camera,
    reproject,
    scaled,
    with_principal_point,
    without_distortion,
)
from pipeline.warping import warp_image

Box = npt.ArrayLike  # x, y, width, height; pixels

_BORDER_STEPS = 64  # per side of the picture, where its outline is bent by the lens


@dataclass(frozen=True, slots=True)
class OfflineCropSettings:
    """How much to keep and at which scale.

    Attributes:
        rotation_margin_deg: rotations up to this keep the person in the picture.
        padding: room for padding, zooming out and shifting.
        expansion: a further factor; 0 keeps the person's box alone.
        target_side: pixels, the longer side of the person's box.
        max_enlargement: small people are not enlarged more than this.
        limit: keep of the square what lies in the "box" around the picture's corners, in the
            exact "visible" region, or "nothing" less than all of it.
        supersampling: the picture is rendered so many times finer and averaged.
        gamma: pixels are linearised by this power before they are mixed.
        jpeg_quality: of the written crop.
    """

    rotation_margin_deg: float = 30.0
    padding: float = 1.1 / 0.85**2
    expansion: float = 1.0
    target_side: float = 384.0
    max_enlargement: float = 1.2
    limit: str = "box"
    supersampling: int = 2
    gamma: float = 2.2
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        if self.limit not in ("box", "visible", "nothing"):
            raise ValueError(f"limit must be box, visible or nothing, not {self.limit!r}")
        if self.expansion < 0 or min(self.padding, self.target_side, self.max_enlargement) <= 0:
            raise ValueError("factors and sides must be positive")


@dataclass(frozen=True, slots=True)
class OfflineCrop:
    """Where a crop lies.

    Attributes:
        source: the full picture's camera; without one, a stand-in whose pixels are its rays.
        camera: the crop's camera, without distortion.
        size: height and width, pixels.
        bbox: (4,), the person's box in the crop.
    """

    source: Camera
    camera: Camera
    size: tuple[int, int]
    bbox: Floats


def plan_crop(
    bbox: Box,
    image_size: tuple[int, int],
    *,
    camera: Camera | None,
    settings: OfflineCropSettings | None = None,
) -> OfflineCrop:
    """Turn towards a person, and cut out as much as training may need.

    Scaling maps pixel u to f·u, so that the crop's top-left corner moves without a half pixel.

    Args:
        bbox: (4,), the person's box in the full picture.
        image_size: height and width of the full picture.
        camera: None where the example has none; then nothing is turned.

    Raises:
        ValueError: the box is empty, or the picture shows nothing of the region around it.
    """
    settings = OfflineCropSettings() if settings is None else settings
    x, y, width, height = np.asarray(bbox, np.float64)
    if not (width > 0 and height > 0):
        raise ValueError(f"the person's box is empty: {width} × {height}")
    if camera is None:
        source = make_camera(np.eye(3))
        turned = source
    else:
        source = camera
        turned = without_distortion(looking_at([x + width / 2, y + height / 2], camera))

    person = _box_around(reproject(_side_midpoints(bbox), source, turned))
    low, high = _region(person, image_size, source, turned, settings)
    if not (high > low).all():
        raise ValueError("the picture shows nothing of the region around the person's box")

    factor = min(settings.max_enlargement, settings.target_side / float(person[2:].max()))
    shifted = with_principal_point(turned, turned.intrinsics[:2, 2] - low)
    target = scaled(shifted, factor)
    crop_width, crop_height = (max(1, round(float(side))) for side in factor * (high - low))
    return OfflineCrop(
        source=source,
        camera=target,
        size=(crop_height, crop_width),
        bbox=_box_around(reproject(_side_midpoints(bbox), source, target)),
    )


def crop_points(pixels: npt.ArrayLike, crop: OfflineCrop) -> Floats:
    """Pixels (..., 2) of the full picture in the crop; NaN stays NaN."""
    return reproject(pixels, crop.source, crop.camera)


def crop_image(
    image: npt.NDArray[np.uint8],
    crop: OfflineCrop,
    *,
    settings: OfflineCropSettings | None = None,
) -> npt.NDArray[np.uint8]:
    """The crop's pixels (h, w, 3) from the full picture (H, W, 3); black outside.

    Mixed in linear light, with cubic interpolation at `supersampling` times the resolution.
    """
    settings = OfflineCropSettings() if settings is None else settings
    levels = np.arange(256, dtype=np.float32) / 255
    linear = cv2.LUT(image, (levels**settings.gamma).astype(np.float32))
    warped = warp_image(
        linear,
        crop.source,
        crop.camera,
        size=crop.size,
        interpolation="cubic",
        supersampling=settings.supersampling,
    )
    encoded = np.clip(warped, 0, 1) ** (1 / settings.gamma)
    return np.asarray(np.rint(encoded * 255), np.uint8)


def crop_mask(
    mask: npt.NDArray[np.bool_],
    crop: OfflineCrop,
    *,
    settings: OfflineCropSettings | None = None,
) -> npt.NDArray[np.bool_]:
    """The crop's part of a mask, bool (H, W) -> bool (h, w)."""
    picture = np.where(mask, np.uint8(255), np.uint8(0))
    three = np.repeat(picture[..., np.newaxis], 3, axis=-1)
    return np.asarray(crop_image(three, crop, settings=settings)[..., 0] > 127)


def encode_jpeg(
    image: npt.NDArray[np.uint8], *, settings: OfflineCropSettings | None = None
) -> bytes:
    """A crop (h, w, 3), RGB, as the bytes of a JPEG file."""
    settings = OfflineCropSettings() if settings is None else settings
    options = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), options)
    return bytes(encoded)


def _region(
    person: Floats,
    image_size: tuple[int, int],
    source: Camera,
    turned: Camera,
    settings: OfflineCropSettings,
) -> tuple[Floats, Floats]:
    """Top-left and bottom-right of what to keep, in the turned camera's pixels."""
    width, height = person[2:]
    if settings.expansion:
        c = math.cos(math.radians(settings.rotation_margin_deg))
        s = math.sin(math.radians(settings.rotation_margin_deg))
        side = max(c * width + s * height, c * height + s * width)
        half = np.full(2, side * settings.padding * settings.expansion / 2)
    else:
        half = person[2:] / 2
    middle = person[:2] + person[2:] / 2
    low, high = middle - half, middle + half
    if settings.limit == "nothing":
        return low, high

    steps = _BORDER_STEPS if settings.limit == "visible" else 1
    outline = _picture_outline(image_size, steps=steps)
    rays = image_to_camera(outline, source) @ (turned.rotation @ source.rotation.T).T
    if (rays[:, 2] <= 0).any():
        # Part of the picture lies behind the turned camera: its outline bounds nothing there.
        return low, high
    seen = reproject(outline, source, turned)
    if settings.limit == "visible":
        seen = clip_polygon(seen, low, high)
        if not len(seen):
            return low, low
    return np.maximum(low, seen.min(axis=0)), np.minimum(high, seen.max(axis=0))


def clip_polygon(polygon: Floats, low: Floats, high: Floats) -> Floats:
    """The part of a polygon (V, 2) inside an upright rectangle (Sutherland and Hodgman 1974)."""
    for axis in range(2):
        for inside in (polygon[:, axis] - low[axis], None):
            if not len(polygon):
                return polygon
            distance = high[axis] - polygon[:, axis] if inside is None else inside
            following, next_distance = np.roll(polygon, -1, axis=0), np.roll(distance, -1)
            corners: list[Floats] = []
            for i in range(len(polygon)):
                if distance[i] >= 0:
                    corners.append(polygon[i])
                if (distance[i] >= 0) != (next_distance[i] >= 0):
                    share = distance[i] / (distance[i] - next_distance[i])
                    corners.append(polygon[i] + (following[i] - polygon[i]) * share)
            polygon = np.array(corners).reshape(-1, 2)
    return polygon


def _side_midpoints(bbox: Box) -> Floats:
    x, y, w, h = np.asarray(bbox, np.float64)
    return np.array([[x, y + h / 2], [x + w, y + h / 2], [x + w / 2, y], [x + w / 2, y + h]])


def _box_around(points: Floats) -> Floats:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low, high - low])


def _picture_outline(image_size: tuple[int, int], *, steps: int) -> Floats:
    """Points around the picture from (0, 0) clockwise, `steps` per side."""
    height, width = image_size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    share = np.arange(steps)[:, np.newaxis] / steps
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return np.concatenate([start + (end - start) * share for start, end in sides])
