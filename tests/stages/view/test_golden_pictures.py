"""Drawings look as they looked when somebody last looked at them.

Compared after shrinking, so that another rasteriser of lines and letters passes and another drawing
does not. After a wanted change: `python -m tests.stages.view.test_golden_pictures`, and look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from stages.view.drawing import Picture
from stages.view.examples import ViewedExample
from stages.view.picture import Style, draw_example
from stages.view.sheet import make_sheet
from stages.view.surface import Surface
from tests.stages.view.people import (
    LWRI,
    PELV,
    PIXELS,
    RWRI,
    SKELETON,
    WIDTH,
    joints3d,
    person_mask,
    viewed,
)

GOLDEN = Path(__file__).parent / "golden"
SHRINK = 4  # pixels that become one
TOLERANCE = 24  # of 255, of any shrunk pixel of a drawing
SHEET_TOLERANCE = 40  # a sheet has small letters


def partial() -> ViewedExample:
    """A joint missing, one outside the picture, no root."""
    pixels, validity = PIXELS.copy(), np.ones(6, dtype=bool)
    pixels[RWRI] = 500, 130
    validity[LWRI] = False
    return viewed(joints2d=pixels, validity=validity, root_index=-1, mask=person_mask())


def dense() -> ViewedExample:
    places = np.stack(np.meshgrid(np.arange(60, 260, 20), np.arange(60, 200, 20)), -1)
    pixels = places.reshape(-1, 2).astype(np.float32)
    colours = np.stack([pixels[:, 0], pixels[:, 1], 255 - pixels[:, 0]], 1).astype(np.uint8)
    return viewed(surface=Surface(pixels, colours), joints3d=None)


def rejected() -> ViewedExample:
    return viewed(status="excluded", detail="left and right are swapped")


def draw(example: ViewedExample) -> Picture:
    return draw_example(example, SKELETON, style=Style(max_side=WIDTH))


def sheet(*examples: ViewedExample) -> Picture:
    figure = make_sheet(examples, SKELETON, title="people", fits=(900, 600))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


DRAWINGS: Mapping[str, Callable[[], Picture]] = {
    "whole": lambda: draw(viewed(mask=person_mask())),
    "partial": lambda: draw(partial()),
    "dense": lambda: draw(dense()),
    "rejected": lambda: draw(rejected()),
    "sheet": lambda: sheet(viewed(mask=person_mask()), rejected()),
}


def difference(picture: Picture, name: str) -> float:
    """The largest difference of any shrunk pixel from the golden picture, 255 if sizes differ."""
    golden = cv2.imread(str(GOLDEN / f"{name}.png"), cv2.IMREAD_COLOR)[..., ::-1]
    if golden.shape != picture.shape:
        return 255.0
    both = [golden.astype(np.float32), picture.astype(np.float32)]
    size = golden.shape[1] // SHRINK, golden.shape[0] // SHRINK
    a, b = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in both)
    return float(np.abs(a - b).max())


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_drawing_is_the_golden_one(name: str) -> None:
    tolerance = SHEET_TOLERANCE if name == "sheet" else TOLERANCE
    assert difference(DRAWINGS[name](), name) < tolerance


def moved(joint: int, by: float) -> np.ndarray:
    pixels = PIXELS.copy()
    pixels[joint] += by
    return pixels


@pytest.mark.parametrize(
    "change",
    [
        {"joints2d": moved(LWRI, 3.0)},
        {"joints2d": PIXELS * [-1, 1] + [WIDTH - 1, 0]},
        {"root_index": -1},
        {"root_index": LWRI},
        {"box": None},
        {"box": viewed().box + np.float32([4, 0, 0, 0])},
        {"mask": None},
        {"mask": np.roll(person_mask(), 5, axis=1)},
        {"validity": np.arange(6) != PELV},
        {"status": "excluded", "detail": "left and right are swapped"},
    ],
)
def test_another_drawing_is_told_apart(change: dict[str, object]) -> None:
    other = viewed(**{"mask": person_mask(), **change})
    assert difference(draw(other), "whole") > TOLERANCE


def test_another_sheet_is_told_apart() -> None:
    """A pose that is turned, and examples in another order."""
    turned = joints3d()[:, [2, 1, 0]] * np.float32([1, 1, 1])
    assert difference(sheet(viewed(joints3d=turned), rejected()), "sheet") > SHEET_TOLERANCE
    swapped = sheet(rejected(), viewed(mask=person_mask()))
    assert difference(swapped, "sheet") > SHEET_TOLERANCE


def test_a_pixel_or_two_of_rasterisation_are_no_difference() -> None:
    """Half a pixel of blur stands for another rasteriser."""
    for name in ("whole", "rejected"):
        soft = cv2.GaussianBlur(DRAWINGS[name](), (3, 3), 0.5)
        assert difference(soft, name) < TOLERANCE


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for file_name, make in DRAWINGS.items():
        cv2.imwrite(str(GOLDEN / f"{file_name}.png"), make()[..., ::-1])
