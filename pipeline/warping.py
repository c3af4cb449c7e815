"""Pictures seen through another camera at the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.cameras import (
    Camera,
    homography,
    image_to_camera,
    reproject,
    without_distortion,
)

Image = npt.NDArray[Any]

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
}
BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}
# Rays whose cosine to the source's axis is less lie behind its pinhole. The stand-in camera of a
# picture without one (a pixel is its ray) sees everything at a grazing angle, but in front.
_LEAST_COSINE = 1e-6


@dataclass(frozen=True, slots=True)
class Warps:
    """How N pictures look through N other cameras at the same places: all but the pixels.

    Attributes:
        back: float64 (N, 3, 3), from pixels of the (supersampled) crop to those of the picture.
        by_maps: bool (N,), where a homography does not say it all.
        source, target: the cameras, `target` supersampled.
        size: height and width of the crops.
        supersampling: renders per pixel and axis.
    """

    back: npt.NDArray[np.float64]
    by_maps: npt.NDArray[np.bool_]
    source: Camera
    target: Camera
    size: tuple[int, int]
    supersampling: int


def plan_warps(
    source: Camera, target: Camera, *, size: tuple[int, int], supersampling: int = 1
) -> Warps:
    """Plan how N pictures will be warped.

    Args:
        source: N cameras, which may have lens distortion.
        target: N cameras without.
        size: height and width of the crops.
        supersampling: render so many times finer per axis and average.

    Raises:
        ValueError: `target` has lens distortion.
    """
    if target.is_distorted:
        raise ValueError("pictures are warped to cameras without lens distortion only")
    fine = supersampled(target, supersampling) if supersampling > 1 else target
    height, width = size[0] * supersampling, size[1] * supersampling
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    cosine = _cosine_to_axis(corners, source, fine)
    by_maps = source.distortion.any(axis=-1) | (cosine < _LEAST_COSINE).any(axis=-1)
    back = homography(fine, without_distortion(source))
    return Warps(back, np.asarray(by_maps), source, fine, size, supersampling)


def warp_planned(
    image: Image,
    warps: Warps,
    i: int,
    *,
    interpolation: str = "linear",
    border: str = "constant",
    border_value: tuple[float, float, float] = (0, 0, 0),
    out: Image | None = None,
) -> Image:
    """Warp picture `i` of the plan.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        interpolation: nearest, linear or cubic.
        border: what stands where the source did not look: `constant` (border_value), `replicate`
            (the nearest pixel) or `reflect` (the picture mirrored at its edge).
        border_value: a level per channel.
        out: (height, width[, C]), contiguous: written in place.

    Returns:
        (height, width[, C]) of the same dtype.
    """
    options: dict[str, Any] = {"borderMode": BORDERS[border], "borderValue": (*border_value, 0)}
    flags = INTERPOLATIONS[interpolation]
    height, width = warps.size
    fine_size = (width * warps.supersampling, height * warps.supersampling)
    if warps.supersampling == 1:
        options["dst"] = out
    if warps.by_maps[i]:
        maps = _maps(warps.source[i], warps.target[i], fine_size)
        warped = cv2.remap(image, *maps, flags, **options)
    else:
        flags |= cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(image, warps.back[i], fine_size, flags=flags, **options)
    if warps.supersampling > 1:
        warped = cv2.resize(warped, (width, height), dst=out, interpolation=cv2.INTER_AREA)
    return np.asarray(warped)


def warp_image(
    image: Image,
    source: Camera,
    target: Camera,
    *,
    size: tuple[int, int],
    interpolation: str = "linear",
    border_value: int = 0,
    supersampling: int = 1,
) -> Image:
    """The picture of `source` as `target` would have taken it from the same place.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        source: may have lens distortion.
        target: must have none.
        size: height and width of the result.
        interpolation: nearest, linear or cubic.
        border_value: what stands where the source did not look.
        supersampling: render so many times finer per axis and average.

    Returns:
        (height, width[, C]) of the same dtype.

    Raises:
        ValueError: `target` has lens distortion.
    """
    warps = plan_warps(
        source[np.newaxis], target[np.newaxis], size=size, supersampling=supersampling
    )
    return warp_planned(
        image, warps, 0, interpolation=interpolation, border_value=(border_value,) * 3
    )


def supersampled(camera: Camera, factor: int) -> Camera:
    """The camera of the picture in which each pixel is split into factor × factor pixels."""
    scale = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    return Camera(
        intrinsics=scale @ camera.intrinsics,
        rotation=camera.rotation,
        position=camera.position,
        distortion=camera.distortion,
        world_up=camera.world_up,
    )


def _maps(
    source: Camera, target: Camera, target_size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    width, height = target_size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    if (_cosine_to_axis(corners, source, target) < _LEAST_COSINE).any():
        return _explicit_maps(source, target, target_size)
    turn = target.rotation @ source.rotation.T
    return cv2.initUndistortRectifyMap(
        source.intrinsics, source.distortion, turn, target.intrinsics, target_size, cv2.CV_32FC1
    )


def _explicit_maps(
    source: Camera, target: Camera, target_size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Sampling positions, far outside the picture for rays that the source cannot have seen."""
    pixels = np.stack(np.meshgrid(*(np.arange(n) for n in target_size)), axis=-1)
    unseen = _cosine_to_axis(pixels, source, target) < _LEAST_COSINE
    positions = reproject(pixels, target, source)
    positions[unseen | ~np.isfinite(positions).all(axis=-1)] = -1e4
    maps = np.clip(positions, -1e4, 1e6).astype(np.float32)
    return maps[..., 0], maps[..., 1]


def _cosine_to_axis(
    pixels: npt.NDArray[Any], source: Camera, target: Camera
) -> npt.NDArray[np.float64]:
    rays = image_to_camera(pixels, target) @ (target.rotation @ source.rotation.mT)
    return np.asarray(rays[..., 2] / np.sqrt(np.square(rays).sum(axis=-1)))
