"""An example is drawn as it is annotated: sides, root, missing joints, reasons."""

from __future__ import annotations

import numpy as np
import pytest

from stages.view import palette
from stages.view.drawing import Picture
from stages.view.picture import Style, draw_example
from stages.view.surface import BodyMesh, Surface, surface_colours
from tests.stages.view.people import (
    GREY,
    HEAD,
    HEIGHT,
    LANK,
    LWRI,
    PELV,
    PIXELS,
    RANK,
    RWRI,
    SKELETON,
    WIDTH,
    joints3d,
    person_mask,
    viewed,
)

STYLE = Style(max_side=WIDTH)  # one drawn pixel per pixel
SIDES = {
    PELV: palette.MIDDLE,
    HEAD: palette.MIDDLE,
    LWRI: palette.LEFT,
    RWRI: palette.RIGHT,
    LANK: palette.LEFT,
    RANK: palette.RIGHT,
}


def colour_at(picture: Picture, pixel: np.ndarray) -> tuple[int, ...]:
    x, y = np.round(pixel).astype(int)
    return tuple(picture[y, x].tolist())


def test_every_joint_has_the_colour_of_its_side() -> None:
    drawn = draw_example(viewed(), SKELETON, style=STYLE)
    for joint, colour in SIDES.items():
        assert colour_at(drawn, PIXELS[joint]) == colour, SKELETON.joint_names[joint]


def test_edges_have_the_colour_of_their_side() -> None:
    drawn = draw_example(viewed(), SKELETON, style=STYLE)
    for joint in (LWRI, RWRI, LANK, RANK, HEAD):
        middle = (PIXELS[PELV] + 2 * PIXELS[joint]) / 3
        around = drawn[round(middle[1]) - 1 :, round(middle[0]) - 1 :][:3, :3].reshape(-1, 3)
        assert SIDES[joint] in {tuple(c) for c in around.tolist()}


def test_swapped_sides_show_as_swapped_colours() -> None:
    mirrored = PIXELS * [-1, 1] + [WIDTH - 1, 0]
    drawn = draw_example(viewed(joints2d=mirrored), SKELETON, style=STYLE)
    assert colour_at(drawn, mirrored[LWRI]) == palette.LEFT
    assert mirrored[LWRI][0] < WIDTH / 2  # the left wrist is where a right one would be


def test_invalid_joints_and_their_edges_are_left_out() -> None:
    validity = np.ones(6, dtype=bool)
    validity[LWRI] = False
    drawn = draw_example(viewed(validity=validity), SKELETON, style=STYLE)
    around = drawn[80:110, 200:250]
    coloured = (np.ptp(around.astype(int), axis=2) > 0) & ~is_box(around)
    assert not coloured.any()


def is_box(picture: Picture) -> np.ndarray:
    return np.abs(picture.astype(int) - palette.BOX).sum(axis=2) < 250


def test_joints_behind_the_camera_are_left_out() -> None:
    is_ahead = np.ones(6, dtype=bool)
    is_ahead[RWRI] = False
    drawn = draw_example(viewed(is_ahead=is_ahead), SKELETON, style=STYLE)
    assert colour_at(drawn, PIXELS[RWRI]) == (GREY,) * 3


def test_a_joint_outside_is_an_arrow_at_the_edge() -> None:
    pixels = PIXELS.copy()
    pixels[RWRI] = -300, 130
    drawn = draw_example(viewed(joints2d=pixels), SKELETON, style=STYLE)
    at_edge = drawn[118:142, :14].reshape(-1, 3)
    assert (at_edge == np.array(palette.RIGHT)).all(axis=1).sum() > 15


def test_the_root_has_a_ring_and_nothing_else_has() -> None:
    with_root = draw_example(viewed(), SKELETON, style=STYLE)
    without = draw_example(viewed(root_index=-1), SKELETON, style=STYLE)
    differs = np.argwhere((with_root != without).any(axis=2))
    assert (with_root == np.array(palette.ROOT)).all(axis=2).any()
    assert np.abs(differs - PIXELS[PELV][::-1]).max() < 12


def test_the_mask_lies_where_it_is_even_if_its_size_is_not_the_pictures() -> None:
    pictures = [
        draw_example(viewed(mask=mask), SKELETON, style=STYLE)
        for mask in (person_mask(), person_mask()[::2, ::2])
    ]
    for drawn in pictures:
        assert tuple(drawn[165, 85].tolist()) != (GREY,) * 3
        assert tuple(drawn[165, 110].tolist()) == (GREY,) * 3


def test_small_pictures_are_enlarged_and_large_ones_shrunk() -> None:
    assert draw_example(viewed(), SKELETON, style=Style(max_side=640)).shape == (480, 640, 3)
    assert draw_example(viewed(), SKELETON, style=Style(max_side=80)).shape == (60, 80, 3)
    enlarged = draw_example(viewed(), SKELETON, style=Style(max_side=640))
    assert colour_at(enlarged, PIXELS[LWRI] * 2 + 0.5) == palette.LEFT


def test_a_small_person_is_drawn_again_in_the_corner_away_from_it() -> None:
    far = {"joints2d": 40 + PIXELS / 10, "box": np.float32([45, 41, 22, 22])}
    drawn = draw_example(viewed(**far), SKELETON, style=STYLE)
    plain = draw_example(viewed(**far), SKELETON, style=Style(max_side=WIDTH, inset_below=0))
    changed = (drawn != plain).any(axis=2)
    assert changed[HEIGHT - 60 :, WIDTH - 60 :].any()
    assert not changed[: HEIGHT // 2 - 10, : WIDTH // 2].any()


def test_a_rejected_example_says_why() -> None:
    tiles = [
        draw_example(viewed(status=status, detail=status), SKELETON, style=STYLE)
        for status in ("missing_image", "no_valid_point")
    ]
    assert all(tuple(tile[3, 100].tolist()) == palette.WARNING for tile in tiles)
    assert (tiles[0] != tiles[1]).any()
    assert all((tile == 255).all(axis=2).any() for tile in tiles)


def test_surface_points_are_coloured_by_place_only_on_their_own_body() -> None:
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    body = BodyMesh(vertices, np.int32([[0, 1, 2], [0, 1, 3]]))
    weights = np.float32([[0, 0, 1], [0, 0, 1]])
    by_place = surface_colours(np.int32([[2, 1, 0], [0, 1, 3]]), weights, body=body)
    assert by_place.tolist() == [[40, 40, 40], [40, 40, 255]]
    foreign = np.int32([[0, 1, 2], [1, 2, 3]])
    by_number = surface_colours(foreign, weights, body=None)
    assert surface_colours(foreign, weights, body=body).tolist() == by_number.tolist()


@pytest.mark.parametrize("n_points", [0, 3])
def test_surface_points_are_drawn(n_points: int) -> None:
    pixels = np.float32([[100, 60], [220, 160], [30, 30]])[:n_points]
    colours = np.uint8([[255, 0, 0], [0, 255, 0], [9, 8, 7]])[:n_points]
    surface = Surface(pixels, colours)
    example = viewed(surface=surface, joints3d=None, validity=np.zeros(6, dtype=bool))
    drawn = draw_example(example, SKELETON, style=STYLE)
    for pixel, colour in zip(pixels, colours.tolist(), strict=True):
        assert colour_at(drawn, pixel) == tuple(colour)


def test_depth_is_that_of_the_root_or_of_the_mean_joint() -> None:
    joints = joints3d()
    joints[:, 2] = [1, 2, 3, 4, 5, 9]
    assert viewed(joints3d=joints).depth_m == 1
    assert viewed(joints3d=joints, root_index=-1).depth_m == 4
    assert viewed(joints3d=None).depth_m is None
