"""What is drawn is where the points are, in the colour of their side, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from stages.view import drawing, palette

BLANK = np.full((100, 160, 3), 90, np.uint8)


def colours(*rows: palette.Colour) -> palette.Colours:
    return np.array(rows, np.uint8).reshape(-1, 3)


def is_colour(picture: drawing.Picture, colour: palette.Colour) -> np.ndarray:
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def test_a_point_is_drawn_around_its_pixel_and_leaves_its_input_alone() -> None:
    drawn = drawing.draw_points(BLANK, np.array([[40.0, 60.0]]), colours=colours(palette.LEFT))
    rows, columns = np.nonzero(is_colour(drawn, palette.LEFT))
    assert (columns.mean(), rows.mean()) == pytest.approx((40, 60))
    assert np.ptp(rows) <= 8
    assert np.ptp(columns) <= 8
    assert (BLANK == 90).all()


@pytest.mark.parametrize(
    "point", [(-1.0, 50.0), (160.0, 50.0), (80.0, -0.6), (80.0, 99.6), (1e12, -1e12)]
)
def test_a_point_outside_is_an_arrow_at_the_nearest_edge_and_no_disc(
    point: tuple[float, float],
) -> None:
    points = np.array([point])
    assert (drawing.draw_points(BLANK, points, colours=colours(palette.LEFT)) == BLANK).all()
    drawn = drawing.draw_edge_arrows(BLANK, points, colours=colours(palette.LEFT))
    rows, columns = np.nonzero(is_colour(drawn, palette.LEFT))
    assert len(rows) > 10
    edge = np.clip(points[0], 0, [159, 99])
    assert np.hypot(columns - edge[0], rows - edge[1]).max() < 14


def test_points_inside_get_no_arrow() -> None:
    points = np.array([[-0.5, -0.5], [159.49, 99.49], [80, 50]])
    drawn = drawing.draw_edge_arrows(BLANK, points, colours=colours(*[palette.LEFT] * 3))
    assert (drawn == BLANK).all()


def test_an_arrow_points_outwards() -> None:
    drawn = drawing.draw_edge_arrows(
        BLANK, np.array([[500.0, 50.0]]), colours=colours(palette.RIGHT)
    )
    columns = np.nonzero(is_colour(drawn, palette.RIGHT))[1]
    heights = {x: int((columns == x).sum()) for x in range(150, 158)}
    assert heights[151] > heights[156]


def test_a_line_runs_between_its_points_however_far_they_are() -> None:
    points = np.array([[-1e9, 50.0], [1e9, 50.0], [80.0, 1e9], [80.0, -1e9]])
    drawn = drawing.draw_lines(
        BLANK, points, [(0, 1), (2, 3)], colours=colours(palette.LEFT, palette.RIGHT)
    )
    assert is_colour(drawn, palette.LEFT)[50, [2, 40, 140, 158]].all()
    assert is_colour(drawn, palette.RIGHT)[[2, 20, 80, 97], 80].all()


def test_a_box_is_drawn_on_its_border() -> None:
    drawn = drawing.draw_box(BLANK, np.array([20, 30, 60, 40]), colour=palette.BOX)
    is_box = is_colour(drawn, palette.BOX)
    assert is_box[30, 25:75].all()
    assert is_box[35:65, 80].all()
    assert not is_box[35:65, 25:75].any()


def test_a_mask_tints_its_inside_and_nothing_else() -> None:
    mask = np.zeros((100, 160), dtype=bool)
    mask[20:60, 30:90] = True
    drawn = drawing.draw_mask(BLANK, mask, colour=palette.MASK, opacity=0.5)
    assert (drawn[~mask] == 90).all()
    inside = np.round((90 + np.array(palette.MASK)) / 2)
    assert np.abs(drawn[25:55, 35:85].astype(float) - inside).max() <= 1
    assert is_colour(drawn, palette.MASK)[20, 30:90].all()


def test_scaled_points_stay_at_their_place_in_the_resized_picture() -> None:
    picture = np.zeros((50, 80, 3), np.uint8)
    picture[10:12, 20:22] = 255
    large = drawing.resize(picture, (320, 200))
    rows, columns = np.nonzero(large[..., 0] > 127)
    scaled = drawing.scale_points(np.array([[20.5, 10.5]]), (4.0, 4.0))
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(scaled[0]), abs=0.6)


def test_text_never_leaves_a_tiny_picture() -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    assert drawing.draw_text(tiny, ["a very long line"] * 9).shape == tiny.shape
