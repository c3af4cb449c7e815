"""One example drawn on its picture: mask, box, skeleton, points, root, arrows to the outside."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.skeletons import Skeleton
from stages.view import drawing, palette
from stages.view.drawing import Picture
from stages.view.examples import ViewedExample


@dataclass(frozen=True, slots=True)
class Style:
    """How examples are drawn.

    Attributes:
        max_side: longer side of the drawn picture in pixels; smaller pictures are enlarged, at
            most `max_enlargement` times, larger ones shrunk.
        inset_below: a person whose box is smaller than this share of the picture is drawn again,
            larger, in a corner.
    """

    max_side: int = 640
    max_enlargement: float = 3.0
    inset_below: float = 0.4


def draw_example(
    example: ViewedExample, skeleton: Skeleton, *, style: Style | None = None
) -> Picture:
    """The picture of an example with everything that is annotated on it.

    Returns:
        uint8 (h, w, 3), scaled as `style` says. A rejected example gives a tile that says why.
    """
    style = style or Style()
    if not example.is_usable:
        return _rejected_tile(example, style)
    out = _draw_annotated(example, skeleton, style)
    window = _inset_window(example, style)
    if window is None or example.box is None:
        return out
    large = replace(style, max_side=round(0.4 * style.max_side), max_enlargement=8.0)
    inset = _draw_annotated(_cut_out(example, window), skeleton, large)
    height, width = example.picture.shape[:2]
    centre = (example.box[:2] + example.box[2:] / 2) / [width, height]
    return _paste_in_corner(out, inset, away_from=centre)


def _draw_annotated(example: ViewedExample, skeleton: Skeleton, style: Style) -> Picture:
    size, scale = _drawn_size(example.picture, style)
    out = drawing.resize(example.picture, size)
    if example.picture_fault:
        out = drawing.draw_text(out, [example.picture_fault])
    if example.mask is not None and example.mask.size:
        mask = cv2.resize(example.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        out = drawing.draw_mask(out, mask.astype(bool), colour=palette.MASK)
    if example.box is not None:
        corners = example.box[:2], example.box[:2] + example.box[2:]
        start, end = drawing.scale_points(np.array(corners), scale)
        box = np.concatenate([start, end - start])
        out = drawing.draw_box(out, box, colour=palette.BOX)
    if example.surface is not None:
        pixels = drawing.scale_points(example.surface.pixels, scale)
        out = drawing.draw_points(out, pixels, colours=example.surface.colours, radius=3)
    return _draw_joints(out, example, skeleton, scale)


def _draw_joints(
    picture: Picture,
    example: ViewedExample,
    skeleton: Skeleton,
    scale: tuple[float, float],
) -> Picture:
    pixels = drawing.scale_points(example.joints2d, scale)
    is_drawn = example.is_drawn
    joint_colours, edge_colours = palette.joint_colours(skeleton), palette.edge_colours(skeleton)
    # Small people with many joints must not vanish behind their skeleton.
    span = np.ptp(pixels[is_drawn], axis=0).max(initial=0) if is_drawn.any() else 0
    radius, thickness = (3.0, 2) if span > 150 else (1.5, 1)
    kept = [n for n, (i, j) in enumerate(skeleton.edges) if is_drawn[i] and is_drawn[j]]
    out = drawing.draw_lines(
        picture,
        pixels,
        [skeleton.edges[n] for n in kept],
        colours=edge_colours[kept],
        thickness=thickness,
        outline=int(span > 150),
    )
    out = drawing.draw_points(out, pixels[is_drawn], colours=joint_colours[is_drawn], radius=radius)
    if example.root_index >= 0 and is_drawn[example.root_index]:
        out = drawing.draw_ring(out, pixels[example.root_index], colour=palette.ROOT)
    return drawing.draw_edge_arrows(out, pixels[is_drawn], colours=joint_colours[is_drawn])


def _inset_window(example: ViewedExample, style: Style) -> tuple[int, int, int, int] | None:
    """x, y, width, height around the box if the person is small in the picture."""
    if example.box is None or example.picture_fault:
        return None
    height, width = example.picture.shape[:2]
    x, y, box_width, box_height = (float(v) for v in example.box)
    share = max(box_width / width, box_height / height)
    if not 0 < share < style.inset_below:
        return None
    side = 1.2 * max(box_width, box_height)
    left, top = x + box_width / 2 - side / 2, y + box_height / 2 - side / 2
    x0, y0 = max(0, round(left)), max(0, round(top))
    x1, y1 = min(width, round(left + side)), min(height, round(top + side))
    return (x0, y0, x1 - x0, y1 - y0) if min(x1 - x0, y1 - y0) >= 8 else None


def _cut_out(example: ViewedExample, window: tuple[int, int, int, int]) -> ViewedExample:
    """The example in a part of its picture. Joints beyond that part are left out."""
    x, y, width, height = window
    part = np.s_[y : y + height, x : x + width]
    offset = np.array([x, y])
    joints2d = example.joints2d - offset
    mask, surface = example.mask, example.surface
    has_same_size = mask is not None and mask.shape == example.picture.shape[:2]
    return replace(
        example,
        picture=example.picture[part],
        box=None if example.box is None else example.box - np.array([x, y, 0, 0], np.float32),
        mask=mask[part] if mask is not None and has_same_size else None,
        joints2d=joints2d,
        validity=example.validity & drawing.is_inside(joints2d, width=width, height=height),
        surface=surface and replace(surface, pixels=surface.pixels - offset.astype(np.float32)),
    )


def _paste_in_corner(
    picture: Picture, inset: Picture, *, away_from: npt.NDArray[np.float64]
) -> Picture:
    """Put the inset, framed, into the corner farthest from a place given as shares of the sides."""
    out = picture.copy()
    height, width = inset.shape[:2]
    x = out.shape[1] - width if away_from[0] < 0.5 else 0
    y = out.shape[0] - height if away_from[1] < 0.5 else 0
    out[y : y + height, x : x + width] = inset
    frame = np.array([x, y, width - 1, height - 1])
    return drawing.draw_box(out, frame, colour=palette.OUTLINE, thickness=3)


def _drawn_size(picture: Picture, style: Style) -> tuple[tuple[int, int], tuple[float, float]]:
    height, width = picture.shape[:2]
    factor = min(style.max_side / max(height, width), style.max_enlargement)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return size, (size[0] / width, size[1] / height)


def _rejected_tile(example: ViewedExample, style: Style) -> Picture:
    side = style.max_side * 3 // 4
    tile = np.full((side, side, 3), 60, dtype=np.uint8)
    tile = drawing.draw_box(
        tile, np.array([2, 2, side - 5, side - 5]), colour=palette.WARNING, thickness=4
    )
    lines = ["rejected", example.status.replace("_", " "), "", *_wrapped(example.detail)]
    return drawing.draw_text(tile, lines, scale=0.6)


def _wrapped(text: str, *, width: int = 38) -> list[str]:
    return textwrap.wrap(text, width)[:6]
