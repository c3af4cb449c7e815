"""Drawing on pictures: each function takes a picture and gives back a new one.

Pictures are uint8 (H, W, 3), red first. Points are (n, 2) pixels, the centre of the top-left pixel
being (0, 0). Nothing here knows what an example is.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.view.palette import OUTLINE, Colour, Colours

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[Any]

_FRACTION_BITS = 4  # OpenCV draws at a sixteenth of a pixel
_FAR = 4.0  # lines are cut this many picture sides away: OpenCV's integers overflow beyond


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at another size (width, height)."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture.copy()
    is_smaller = size[0] < width
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)


def scale_points(points: Points, scale: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Where points of a picture lie in its resized copy; scale is (new / old) per axis."""
    return np.asarray((np.asarray(points, np.float64) + 0.5) * scale - 0.5)


def is_inside(points: Points, *, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which points lie on a pixel of the picture, (n,)."""
    limit = np.array([width, height]) - 0.5
    return np.asarray(((points >= -0.5) & (points < limit)).all(axis=-1), dtype=bool)


def draw_mask(
    picture: Picture, mask: npt.NDArray[np.bool_], *, colour: Colour, opacity: float = 0.15
) -> Picture:
    """Tint where a mask (H, W) is true, and draw its outline."""
    out = picture.copy()
    tint = np.array(colour, np.float64)
    out[mask] = np.round((1 - opacity) * picture[mask] + opacity * tint).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, contours, -1, colour, 1, cv2.LINE_8)
    return out


def draw_box(picture: Picture, box: Points, *, colour: Colour, thickness: int = 2) -> Picture:
    """Draw a box given as x, y, width, height, edges of pixels included."""
    x, y, width, height = (float(v) for v in box)
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]])
    edges = [(i, i + 1) for i in range(4)]
    colours = np.tile(np.array(colour, np.uint8), (4, 1))
    return draw_lines(picture, corners, edges, colours=colours, thickness=thickness, outline=0)


def draw_lines(
    picture: Picture,
    points: Points,
    edges: list[tuple[int, int]],
    *,
    colours: Colours,
    thickness: int = 2,
    outline: int = 1,
) -> Picture:
    """Draw lines between pairs of points, each with a dark rim of `outline` pixels."""
    out = picture.copy()
    height, width = out.shape[:2]
    segments = []
    for edge, colour in zip(edges, colours.tolist(), strict=True):
        segment = _clip(points[edge[0]], points[edge[1]], width=width, height=height)
        if segment is not None:
            segments.append((segment, colour))
    # All rims first: a rim must not cut the line beside it.
    for (a, b), _ in segments if outline else []:
        rim = thickness + 2 * outline
        cv2.line(out, _fixed(a), _fixed(b), OUTLINE, rim, cv2.LINE_AA, _FRACTION_BITS)
    for (a, b), colour in segments:
        cv2.line(out, _fixed(a), _fixed(b), colour, thickness, cv2.LINE_AA, _FRACTION_BITS)
    return out


def draw_points(
    picture: Picture, points: Points, *, colours: Colours, radius: float = 3, outline: float = 1
) -> Picture:
    """Draw a disc with a dark rim at every point inside the picture."""
    out = picture.copy()
    height, width = out.shape[:2]
    inside = is_inside(points, width=width, height=height)
    for point, colour in zip(points[inside], colours[inside].tolist(), strict=True):
        if outline:
            _disc(out, point, radius + outline, OUTLINE)
        _disc(out, point, radius, colour)
    return out


def draw_ring(picture: Picture, point: Points, *, colour: Colour, radius: float = 7) -> Picture:
    """Draw a ring around a point, with dark rims."""
    out = picture.copy()
    height, width = out.shape[:2]
    if is_inside(np.asarray(point)[None], width=width, height=height)[0]:
        for ring_colour, thickness in ((OUTLINE, 4), (colour, 2)):
            cv2.circle(
                out,
                _fixed(point),
                round(radius * 16),
                ring_colour,
                thickness,
                cv2.LINE_AA,
                _FRACTION_BITS,
            )
    return out


def draw_edge_arrows(
    picture: Picture, points: Points, *, colours: Colours, size: float = 9
) -> Picture:
    """Draw, for every point outside the picture, an arrow head at its edge that points there."""
    out = picture.copy()
    height, width = out.shape[:2]
    outside = ~is_inside(points, width=width, height=height)
    for point, colour in zip(points[outside], colours[outside].tolist(), strict=True):
        tip = np.clip(point, 1, np.array([width, height]) - 2.0)
        direction = point - tip
        direction = direction / np.linalg.norm(direction)
        side = np.array([-direction[1], direction[0]])
        base = tip - size * direction
        head = np.array([tip, base + 0.55 * size * side, base - 0.55 * size * side])
        polygon = np.round(head * 16).astype(np.int32)
        cv2.fillConvexPoly(out, polygon, colour, cv2.LINE_AA, _FRACTION_BITS)
        cv2.polylines(out, [polygon], True, OUTLINE, 1, cv2.LINE_AA, _FRACTION_BITS)
    return out


def draw_text(
    picture: Picture, lines: list[str], *, colour: Colour = (255, 255, 255), scale: float = 0.5
) -> Picture:
    """Write lines of text in the middle of the picture, each cut to its width."""
    out = picture.copy()
    height, width = out.shape[:2]
    line_height = round(36 * scale)
    top = (height - line_height * len(lines)) // 2 + line_height
    for number, line in enumerate(lines):
        text_width = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
        place = (max(4, (width - text_width) // 2), top + number * line_height)
        cv2.putText(out, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return out


def _disc(out: Picture, point: Points, radius: float, colour: Colour | list[int]) -> None:
    cv2.circle(out, _fixed(point), round(radius * 16), colour, -1, cv2.LINE_AA, _FRACTION_BITS)


def _fixed(point: Points) -> tuple[int, int]:
    x, y = np.round(np.asarray(point, np.float64) * (1 << _FRACTION_BITS)).astype(int).tolist()
    return x, y


def _clip(
    start: Points, end: Points, *, width: int, height: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """The part of a segment that is not far outside the picture (Liang and Barsky)."""
    margin = _FAR * max(width, height)
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    low, high = 0.0, 1.0
    for axis, limit in ((0, width), (1, height)):
        delta = b[axis] - a[axis]
        for bound, sign in ((-margin, 1), (limit + margin, -1)):
            distance = sign * (a[axis] - bound)
            speed = sign * delta
            if speed == 0:
                if distance < 0:
                    return None
            elif speed > 0:
                low = max(low, -distance / speed)
            else:
                high = min(high, -distance / speed)
    return None if low > high else (a + low * (b - a), a + high * (b - a))
