"""A 3D pose as two plots in camera space: from the front (as the camera sees it) and from above."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pipeline.skeletons import Skeleton
from stages.view import palette

_MIN_SPAN_M = 0.5


def plot_pose(
    front: Axes,
    above: Axes,
    joints3d: npt.NDArray[Any],
    *,
    validity: npt.NDArray[np.bool_],
    skeleton: Skeleton,
    root_index: int = -1,
) -> None:
    """Draw the valid joints (J, 3) into both plots: metres, equal axes, the same span.

    From the front: x to the right, y down. From above: x to the right, z (depth) up, so the camera
    looks up from below the plot.
    """
    valid = joints3d[validity]
    middle = (valid.min(axis=0) + valid.max(axis=0)) / 2 if len(valid) else np.zeros(3)
    half = max(_MIN_SPAN_M, float(np.ptp(valid, axis=0).max(initial=0))) / 2 * 1.15
    for axes, vertical, label in ((front, 1, "y, m (down)"), (above, 2, "z, m (depth)")):
        _plot_plane(axes, joints3d[:, [0, vertical]], validity, skeleton, root_index)
        low, high = middle[vertical] - half, middle[vertical] + half
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim((high, low) if vertical == 1 else (low, high))
        axes.set_aspect("equal")
        axes.set_xlabel("x, m", fontsize=7, labelpad=1)
        axes.set_ylabel(label, fontsize=7, labelpad=1)
        axes.tick_params(labelsize=6, length=2)
        axes.grid(visible=True, linewidth=0.3, alpha=0.6)
        axes.set_axisbelow(True)
    front.set_title("from the front", fontsize=8)
    above.set_title("from above", fontsize=8)


def _plot_plane(
    axes: Axes,
    points: npt.NDArray[Any],
    validity: npt.NDArray[np.bool_],
    skeleton: Skeleton,
    root_index: int,
) -> None:
    kept = [n for n, (i, j) in enumerate(skeleton.edges) if validity[i] and validity[j]]
    segments = [points[list(skeleton.edges[n])] for n in kept]
    colours = palette.edge_colours(skeleton)[kept] / 255
    axes.add_collection(LineCollection(segments, colors=colours, linewidths=1.4))
    colours = palette.joint_colours(skeleton)[validity] / 255
    axes.scatter(points[validity, 0], points[validity, 1], c=colours, s=7, zorder=3, linewidths=0)
    if root_index >= 0 and validity[root_index]:
        ring = tuple(np.array(palette.ROOT) / 255)
        axes.scatter(
            points[root_index, 0],
            points[root_index, 1],
            s=60,
            facecolors="none",
            edgecolors=[ring],
            linewidths=1.6,
            zorder=4,
        )
