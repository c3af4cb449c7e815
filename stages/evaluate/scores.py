"""Errors of a whole split: over all points, and joint by joint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from stages.evaluate.predictions import Truth
from stages.train.metrics import (
    metrics_3d,
    root_relative_distance,
)
from stages.train.settings import HeadSettings

Floats = npt.NDArray[np.float32]


def scores_3d(truth: Truth, predicted: Floats, *, head: HeadSettings) -> Mapping[str, float]:
    """All metrics with 3D truth, over all valid points of a split.

    Args:
        truth: N examples.
        predicted: (N, P, 3), metres, in the truth's frames.

    Returns:
        `mpjpe_mm` (root onto root, mean onto mean where there is no root), `pa_mpjpe_mm`,
        `mean_relative_mpjpe_mm`, `absolute_mpjpe_mm`, `pck_percent`, `auc_percent`,
        `error_px` (of a 256 px crop).
    """
    of_all = metrics_3d(
        truth.coords3d,
        predicted,
        intrinsics=truth.intrinsics,
        validity=truth.validity,
        head=head,
    )
    relative = root_relative_mm(truth, predicted)
    return {
        "mpjpe_mm": float(relative[truth.validity].mean()),
        "pa_mpjpe_mm": float(of_all.mean_error_procrustes),
        "mean_relative_mpjpe_mm": float(of_all.mean_error),
        "absolute_mpjpe_mm": float(of_all.mean_error_abs),
        "pck_percent": float(of_all.pck),
        "auc_percent": float(of_all.auc),
        "error_px": float(of_all.mean_error_px),
    }


def scores_2d(truth: Truth, predicted: Floats, *, head: HeadSettings) -> Mapping[str, float]:
    """Mean and median distance in pixels of a 256 px crop; predicted (N, P, 2)."""
    distance = pixel_distance(truth, predicted, head=head)[truth.validity]
    return {"error_px": float(distance.mean()), "median_error_px": float(np.median(distance))}


def root_relative_mm(truth: Truth, predicted: Floats) -> Floats:
    """Distance of every point after moving root onto root: (N, P), millimetres."""
    distance = root_relative_distance(
        truth.coords3d, predicted, validity=truth.validity, root_index=truth.root_index
    )
    return np.asarray(1000 * distance.numpy(), dtype=np.float32)


def pixel_distance(truth: Truth, predicted: Floats, *, head: HeadSettings) -> Floats:
    """Distance of every point (N, P, 2) in pixels, as if the crop had 256 of them."""
    distance = np.linalg.norm(truth.coords2d - predicted, axis=-1) * (256 / head.proc_side)
    return np.asarray(distance, dtype=np.float32)


def by_joint(
    errors: Floats, validity: npt.NDArray[np.bool_], names: tuple[str, ...]
) -> Mapping[str, float]:
    """Mean error of each joint that occurs at all; errors and validity (N, J)."""
    return {
        name: float(errors[:, j][validity[:, j]].mean())
        for j, name in enumerate(names)
        if validity[:, j].any()
    }


def calibration(
    uncert: Floats, errors_mm: Floats, validity: npt.NDArray[np.bool_], *, n_bins: int = 10
) -> list[Mapping[str, float]]:
    """Points sorted by predicted uncertainty into equal bins: what was expected, what was true.

    Args:
        uncert: (N, P), metres, the error to be expected.
        errors_mm: (N, P).
        validity: bool (N, P).
    """
    expected, actual = 1000 * uncert[validity], errors_mm[validity]
    order = np.argsort(expected, kind="stable")
    return [
        {
            "expected_mm": float(expected[part].mean()),
            "actual_mm": float(actual[part].mean()),
            "points": len(part),
        }
        for part in np.array_split(order, n_bins)
        if len(part)
    ]
