"""Which colour means what, in pictures and plots alike.

Okabe and Ito's colours (https://jfly.uni-koeln.de/color), told apart by colour-blind readers too:
left is sky blue (their darker blue drowns in dark pictures), right is orange, the middle is grey.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.skeletons import Skeleton

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
Colours = npt.NDArray[np.uint8]  # (n, 3)

LEFT: Colour = (86, 180, 233)
RIGHT: Colour = (230, 159, 0)
MIDDLE: Colour = (150, 150, 150)
BOX: Colour = (0, 158, 115)
MASK: Colour = (240, 228, 66)
ROOT: Colour = (204, 121, 167)
WARNING: Colour = (213, 94, 0)
OUTLINE: Colour = (20, 20, 20)


def joint_colours(skeleton: Skeleton) -> Colours:
    """By side, uint8 (J, 3): a joint has one if it has a twin and its name begins with l or r."""
    sides = {"l": LEFT, "r": RIGHT}
    colours = [
        sides.get(name[:1], MIDDLE) if skeleton.mirror[i] != i else MIDDLE
        for i, name in enumerate(skeleton.joint_names)
    ]
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def edge_colours(skeleton: Skeleton) -> Colours:
    """Of the side that an edge's ends agree on, the middle agreeing with both; uint8 (E, 3)."""
    joints = [tuple(colour) for colour in joint_colours(skeleton).tolist()]
    colours = []
    for i, j in skeleton.edges:
        sides = {joints[i], joints[j]} - {MIDDLE}
        colours.append(sides.pop() if len(sides) == 1 else MIDDLE)
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def place_colours(places: npt.NDArray[Any], *, low: npt.ArrayLike, high: npt.ArrayLike) -> Colours:
    """Neighbours on the body get like colours: x, y, z between two corners as red, green, blue.

    Args:
        places: (n, 3), on the rest-pose body.
        low, high: (3,), the corners of the box around the whole body.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    share = np.clip((places - low) / np.maximum(high - low, 1e-9), 0, 1)
    return np.asarray(np.round(40 + 215 * share), dtype=np.uint8)


def vertex_colours(vertices: npt.NDArray[np.integer[Any]], *, n_vertices: int) -> Colours:
    """One hue per vertex number, uint8 (n, 3): what is left without the body mesh.

    Meshes number neighbouring vertices alike, by body part, so parts still stand apart.
    """
    hue = np.asarray(vertices) / max(n_vertices, 1) * 5  # not a full turn: the ends must differ
    channels = np.stack([_hue_channel(hue, n) for n in (5, 3, 1)], axis=-1)
    return np.asarray(np.round(255 * channels), dtype=np.uint8)


def _hue_channel(hue: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Of a fully saturated colour, hue 0 to 6 (https://en.wikipedia.org/wiki/HSL_and_HSV)."""
    k = (n + hue) % 6
    return np.asarray(1 - np.clip(np.minimum(k, 4 - k), 0, 1))
