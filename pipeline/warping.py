"""Pictures seen through another camera at the same place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.cameras import Camera, homography, image_to_camera, reproject

Image = npt.NDArray[Any]

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
}
# Rays whose cosine to the source's axis is less lie behind its pinhole. The stand-in camera of a
# picture without one (a pixel is its ray) sees everything at a grazing angle, but in front.
_LEAST_COSINE = 1e-6


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
    if target.is_distorted:
        raise ValueError("pictures are warped to cameras without lens distortion only")
    fine = supersampled(target, supersampling) if supersampling > 1 else target
    height, width = size
    fine_size = (width * supersampling, height * supersampling)
    options: dict[str, Any] = {
        "borderMode": cv2.BORDER_CONSTANT,
        "borderValue": [float(border_value)] * 4,
    }
    flags = INTERPOLATIONS[interpolation]
    if _may_see_behind(source, fine, fine_size):
        maps = _explicit_maps(source, fine, fine_size)
        warped = cv2.remap(image, *maps, flags, **options)
    elif source.is_distorted:
        turn = fine.rotation @ source.rotation.T
        maps = cv2.initUndistortRectifyMap(
            source.intrinsics, source.distortion, turn, fine.intrinsics, fine_size, cv2.CV_32FC1
        )
        warped = cv2.remap(image, *maps, flags, **options)
    else:
        back = homography(fine, source)
        flags |= cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(image, back, fine_size, flags=flags, **options)
    if supersampling > 1:
        warped = cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(warped)


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


def _may_see_behind(source: Camera, target: Camera, target_size: tuple[int, int]) -> bool:
    width, height = target_size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    return bool((_cosine_to_axis(corners, source, target) < _LEAST_COSINE).any())


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
    rays = image_to_camera(pixels, target) @ (source.rotation @ target.rotation.T).T
    return np.asarray(rays[..., 2] / np.sqrt(np.square(rays).sum(axis=-1)))
