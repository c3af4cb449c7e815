"""Do the labels lie where the box and the mask say that the person is?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cameras import camera_to_image, make_camera
from stages.view.projection import MIN_DEPTH_M, project

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def project_rows(
    coords3d: npt.NDArray[Any],
    *,
    intrinsics: npt.NDArray[Any],
    distortion: npt.NDArray[Any],
    validity: Bools,
) -> Floats:
    """Pixels (N, P, 2) of camera-space points (N, P, 3); NaN where invalid or behind the camera.

    Pinhole cameras are projected all at once, lenses one by one, as the viewer does.
    """
    points = coords3d.astype(np.float64)
    is_drawn = validity & (points[..., 2] > MIN_DEPTH_M) & (intrinsics[:, 2, 2] != 0)[:, None]
    points = np.where(is_drawn[..., None], points, [0.0, 0.0, 1.0])
    matrix = intrinsics.astype(np.float64)
    plane = points[..., :2] / points[..., 2:]
    pixels = np.einsum("nij,npj->npi", matrix[:, :2, :2], plane) + matrix[:, None, :2, 2]
    for row in np.flatnonzero(distortion.any(axis=1) & is_drawn.any(axis=1)).tolist():
        pixels[row] = project(
            points[row], intrinsics=matrix[row], distortion=distortion[row].astype(np.float64)
        ).pixels
    return np.where(is_drawn[..., None], pixels, np.nan)


def undistorted_pixels(
    pixels: Floats,
    coords3d: npt.NDArray[Any],
    *,
    intrinsics: npt.NDArray[Any],
) -> Floats:
    """Pixels (P, 2) of one example if its lens had no distortion, NaN where `pixels` is NaN."""
    points = np.where(np.isfinite(pixels[:, :1]), coords3d.astype(np.float64), [0.0, 0.0, 1.0])
    plain = camera_to_image(points, make_camera(intrinsics))
    return np.where(np.isfinite(pixels), plain, np.nan)


def box_offsets(pixels: Floats, boxes: npt.NDArray[Any], *, sizes: Floats) -> Floats:
    """How far the middle of the visible joints lies from the middle of the box, in box diagonals.

    Args:
        pixels: (N, J, 2), NaN where there is no joint.
        boxes: (N, 4), x, y, width, height.
        sizes: (N, 2), width and height of the pictures; NaN where unknown.

    Returns:
        (N,), NaN where no joint lies in the picture.
    """
    low, high, is_seen = _extent(pixels, sizes)
    middle = (low + high) / 2
    box_middle = boxes[:, :2] + boxes[:, 2:] / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        offsets = np.linalg.norm(middle - box_middle, axis=1) / np.linalg.norm(boxes[:, 2:], axis=1)
    return np.where(is_seen, offsets, np.nan)


def box_size_ratios(pixels: Floats, boxes: npt.NDArray[Any], *, sizes: Floats) -> Floats:
    """Diagonal of the box over that of the visible joints, (N,); arguments as above."""
    low, high, is_seen = _extent(pixels, sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.linalg.norm(boxes[:, 2:], axis=1) / np.linalg.norm(high - low, axis=1)
    return np.where(is_seen & np.isfinite(ratios), ratios, np.nan)


def shares_in_box(pixels: Floats, boxes: npt.NDArray[Any], *, margin: float) -> Floats:
    """Of each example's joints the share inside its box, widened by `margin` diagonals, (N,)."""
    reach = margin * np.linalg.norm(boxes[:, 2:].astype(np.float64), axis=1)[:, None]
    low, high = boxes[:, :2] - reach, boxes[:, :2] + boxes[:, 2:] + reach
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= low[:, None]) & (pixels <= high[:, None])).all(axis=2)
    present = np.isfinite(pixels[..., 0])
    n_present = present.sum(axis=1)
    return np.where(n_present > 0, inside.sum(axis=1) / np.maximum(n_present, 1), np.nan)


def boxes_outside(boxes: npt.NDArray[Any], *, sizes: Floats) -> Floats:
    """Of each box the share of its area that lies beyond the picture, (N,)."""
    low = np.clip(boxes[:, :2], 0, sizes)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes)
    area = boxes[:, 2].astype(np.float64) * boxes[:, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        outside: Floats = 1 - (high - low).prod(axis=1) / area
    return np.where(area > 0, outside, np.nan)


def share_in_mask(pixels: Floats, distance: npt.NDArray[Any], *, reach_px: float) -> float:
    """Of one example's joints inside the picture the share on its mask or within `reach_px` of it.

    Args:
        pixels: (J, 2), NaN where there is no joint.
        distance: (H, W), from each pixel to the mask; 0 on it.

    Returns:
        NaN with less than three joints inside the picture.
    """
    height, width = distance.shape
    near = np.round(np.nan_to_num(pixels, nan=-1.0)).clip(-1, 1e6).astype(np.int64)
    inside: Bools = np.all((near >= 0) & (near < [width, height]), axis=1)
    if inside.sum() < 3:
        return float("nan")
    x, y = near[inside].T
    return float((distance[y, x] <= reach_px).mean())


def _extent(pixels: Floats, sizes: Floats) -> tuple[Floats, Floats, Bools]:
    """Corners (N, 2) of the joints, cut to the picture, and whether at least three lie inside."""
    limits = np.where(np.isfinite(sizes), sizes, np.inf)[:, None]
    with np.errstate(invalid="ignore"):
        inside: Bools = np.all((pixels >= 0) & (pixels <= limits), axis=2)
    is_seen: Bools = np.sum(inside, axis=1) >= 3
    kept = np.where(inside[..., None], pixels, np.nan)
    low, high = np.zeros((2, len(pixels), 2))
    if is_seen.any():
        low[is_seen] = np.nanmin(kept[is_seen], axis=1)
        high[is_seen] = np.nanmax(kept[is_seen], axis=1)
    return low, high, is_seen
