"""Does a mask fit its picture? The outline of a person is where a picture changes.

This is what can be said of labels that moved to another picture together, box and mask and points
alike: none of them contradicts another, only the picture does.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

_SHIFT = 0.06  # of the mask's size: far enough to leave a blurred edge
_MOST_PIXELS = 120_000  # larger pictures are shrunk: the outline of a person is no fine detail


def change_of(picture: Picture) -> npt.NDArray[np.float32]:
    """How fast a picture changes at each pixel, (H, W): the steepest of the three colours."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float32)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *d, ksize=3) for d in ((1, 0), (0, 1)))
    steepness = np.sqrt(across**2 + down**2)
    return np.asarray(steepness.max(axis=2), dtype=np.float32)


def outline_contrast(picture: Picture, mask: npt.NDArray[np.bool_]) -> float:
    """How much faster the picture changes along a mask's outline than along shifted copies of it.

    Args:
        picture: uint8 (H, W, 3).
        mask: bool (h, w), stretched to the picture if it has another size.

    Returns:
        About 1 if the mask has nothing to do with the picture, more if its outline is there; NaN
        where there is no outline or nothing to compare with.
    """
    factor = min(1.0, (_MOST_PIXELS / (picture.shape[0] * picture.shape[1])) ** 0.5)
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    if size != picture.shape[1::-1]:
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    stretched = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    points = _outline(np.asarray(stretched, dtype=np.uint8))
    if len(points) < 20:
        return float("nan")
    change = np.minimum(change_of(picture), 200.0)  # one glaring edge must not outshine all others
    reach = max(4.0, _SHIFT * float(np.linalg.norm(np.ptp(points, axis=0))))
    around = [
        np.array([np.cos(angle), np.sin(angle)]) * reach * ring
        for angle in np.arange(8) * np.pi / 4
        for ring in (1, 2)
    ]
    own = _mean_at(change, points)
    others = [_mean_at(change, points + offset) for offset in around]
    other = float(np.nanmean(others)) if np.isfinite(others).any() else float("nan")
    return (own + 1) / (other + 1)  # plus one grey level: flat pictures say nothing


def _outline(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Pixels (n, 2) of the outline, without those on the edge of the picture."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2))
    points = np.concatenate([contour[:, 0] for contour in contours]).astype(np.float64)
    height, width = mask.shape
    inner = ((points >= 2) & (points < [width - 2, height - 2])).all(axis=1)
    return points[inner]


def _mean_at(values: npt.NDArray[Any], points: npt.NDArray[np.float64]) -> float:
    height, width = values.shape
    near = np.round(points).astype(np.int64)
    inside = ((near >= 0) & (near < [width, height])).all(axis=1)
    if inside.sum() < len(points) / 2:
        return float("nan")
    x, y = near[inside].T
    return float(values[y, x].mean())
