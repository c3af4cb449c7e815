"""Crops show what they say they show: pixels, points and boxes agree, whatever was drawn."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cameras import (
    Camera,
    make_camera,
    reproject,
    rolled,
    with_principal_point,
    world_to_camera,
    world_to_image,
    zoomed,
)
from pipeline.offline_crop import (
    OfflineCropSettings,
    clip_polygon,
    crop_image,
    crop_mask,
    crop_points,
    encode_jpeg,
    plan_crop,
)
from pipeline.training_crop import (
    AugmentationRanges,
    GeometryDraws,
    draw_geometry,
    part_of_draws,
    pretended_camera,
    training_camera,
    training_camera_without_source,
)
from pipeline.warping import warp_image

SIZE = (400, 600)
BOX = np.array([180.0, 90.0, 90.0, 220.0])
BROWN = [-0.21, 0.11, 0.0013, -0.0009, -0.025]


def camera(distortion: list[float] | None = None) -> Camera:
    angle = 0.3
    rotation = [[np.cos(angle), np.sin(angle), 0], [0, 0, -1], [-np.sin(angle), np.cos(angle), 0]]
    return make_camera(
        [[520, 0, 290], [0, 540, 210], [0, 0, 1]],
        rotation=rotation,
        position=[0.4, -3.0, 1.2],
        distortion=distortion,
        world_up=[0, 0, 1],
    )


def smooth_picture(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A picture as a function of the place, so that warps can be checked against the truth."""
    x, y = pixels[..., 0], pixels[..., 1]
    waves = [np.sin(x / 23), np.sin(y / 31), np.sin((x + y) / 47)]
    return 127 + 100 * np.stack(waves, axis=-1)


def picture(size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.rint(smooth_picture(np.stack([x, y], axis=-1))).astype(np.uint8)


def truth_at(
    target: Camera, source: Camera, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """What a warp to `target` should show, and where it can."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    places = reproject(np.stack([x, y], axis=-1), target, source)
    inside = ((places > 1) & (places < np.array(SIZE[::-1]) - 2)).all(axis=-1)
    return smooth_picture(places), inside


def random_draws(seed: int) -> GeometryDraws:
    rng = np.random.default_rng(seed)
    return draw_geometry(
        rng,
        AugmentationRanges(full_rotation_prob=0.5, partial_visibility_prob=0.5),
        partial_visibility=np.array([True]),
    )[0]


# --- warping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("distortion", [None, BROWN])
@pytest.mark.parametrize("supersampling", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_of_a_crop_comes_from_where_its_camera_looks(
    distortion: list[float] | None, supersampling: int, seed: int
) -> None:
    source = camera(distortion)
    target = training_camera(source, BOX, side=128, draws=random_draws(seed))
    warped = warp_image(picture(), source, target, size=(128, 128), supersampling=supersampling)
    expected, inside = truth_at(target, source, (128, 128))
    assert inside.mean() > 0.3
    assert np.abs(warped - expected)[inside].max() < 3


def test_outside_the_picture_there_is_nothing() -> None:
    source = camera()
    target = with_principal_point(source, [-2000.0, 210.0])
    assert not warp_image(picture(), source, target, size=(64, 64)).any()
    grey = warp_image(picture(), source, target, size=(64, 64), border_value=9)
    assert (grey == 9).all()


def test_nothing_behind_the_camera_is_mirrored_into_view() -> None:
    source = camera()
    back = replace(source, rotation=np.diag([-1.0, 1.0, -1.0]) @ source.rotation)
    assert not warp_image(picture(), source, back, size=SIZE).any()


def test_a_target_with_distortion_is_refused() -> None:
    with pytest.raises(ValueError, match="without lens distortion"):
        warp_image(picture(), camera(), camera(BROWN), size=(8, 8))


def test_grey_pictures_stay_grey() -> None:
    mask = picture()[..., 0]
    source = camera()
    assert warp_image(mask, source, zoomed(source, 2), size=(30, 40)).shape == (30, 40)


# --- training crops --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_projecting_commutes_with_cropping(seed: int) -> None:
    source = camera(BROWN)
    target = training_camera(source, BOX, side=256, draws=random_draws(seed))
    rng = np.random.default_rng(seed)
    person = rng.normal(size=(20, 3)) * [0.3, 0.3, 0.6] + [1.2, 0.5, 1.0]
    before = world_to_image(person, source)
    np.testing.assert_allclose(
        world_to_image(person, target), reproject(before, source, target), atol=1e-6
    )
    # Distances in 3D survive every augmentation, mirroring included.
    lengths = np.linalg.norm(np.diff(person, axis=0), axis=1)
    moved = np.linalg.norm(np.diff(world_to_camera(person, target), axis=0), axis=1)
    np.testing.assert_allclose(moved, lengths)


@pytest.mark.parametrize("box", [BOX, [180, 90, 220, 90], [0, 0, 50, 50]])
def test_the_longer_side_of_the_box_fills_the_crop(box: npt.ArrayLike) -> None:
    source = camera(BROWN)
    target = training_camera(source, box, side=256)
    x, y, w, h = np.asarray(box, np.float64)
    ends = [[x + w / 2, y], [x + w / 2, y + h]] if w < h else [[x, y + h / 2], [x + w, y + h / 2]]
    ends = reproject(ends, source, target)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(256)
    np.testing.assert_allclose(
        reproject([x + w / 2, y + h / 2], source, target), [127.5, 127.5], atol=1e-6
    )
    assert target.intrinsics[0, 0] == pytest.approx(target.intrinsics[1, 1])
    assert not target.is_distorted


def test_zoom_shift_roll_and_flip_do_what_they_are_called() -> None:
    source = camera()
    plain = training_camera(source, BOX, side=256)
    some = np.array([[100.0, 60.0], [200.0, 180.0], [127.5, 127.5]])
    middle = np.array([127.5, 127.5])

    def move(**draws: object) -> npt.NDArray[np.float64]:
        return reproject(
            some, plain, training_camera(source, BOX, side=256, draws=GeometryDraws(**draws))
        )

    np.testing.assert_allclose(move(zoom=1.2), middle + (some - middle) * 1.2, atol=1e-8)
    np.testing.assert_allclose(move(flip=True), [255, 0] + some * [-1, 1], atol=1e-8)
    quarter = (some - middle)[:, ::-1] * [1, -1] + middle
    np.testing.assert_allclose(move(roll=np.pi / 2), quarter, atol=1e-6)
    shifted = training_camera(source, BOX, side=256, draws=GeometryDraws(shift=(0.1, 0.0)))
    center = BOX[:2] + BOX[2:] / 2 + [22, 0]
    np.testing.assert_allclose(reproject(center, source, shifted), middle, atol=1e-8)


def test_a_part_of_the_box_fills_the_crop_instead() -> None:
    source = camera()
    part = part_of_draws(0.1, 0.8, 0.9)
    assert part == pytest.approx((0.1, 0.2, 0.7))
    target = training_camera(source, BOX, side=256, draws=GeometryDraws(part=part))
    squared = np.array([180 - 65, 90, 220, 220])
    sub = [*(squared[:2] + 220 * np.array([0.1, 0.2])), 154, 154]
    expected = training_camera(source, sub, side=256)
    np.testing.assert_allclose(target.intrinsics, expected.intrinsics)
    np.testing.assert_allclose(target.rotation, expected.rotation)


def test_parts_are_more_than_half_and_fit() -> None:
    assert part_of_draws(0.4, 0.8, 0.9) is None  # too small
    assert part_of_draws(0.1, 0.9, 0.7) is None  # sticks out at the top
    for seed in range(200):
        draws = random_draws(seed)
        if draws.part is not None:
            x, y, side = np.asarray(draws.part)
            assert (side > 0.5 and x >= 0 < y) or not side
            assert x + side <= 1 and y + side <= 1


def test_draws_stay_in_their_ranges_and_use_them() -> None:
    rng = np.random.default_rng(1)
    ranges = AugmentationRanges()
    draws = draw_geometry(rng, ranges, partial_visibility=np.zeros(2000, bool))
    assert draws.part is None
    shifts = np.linalg.norm(draws.shift, axis=1)
    assert 0.099 < shifts.max() <= 0.1
    assert np.median(shifts) == pytest.approx(0.1 / np.sqrt(2), abs=0.003)  # even over the disc
    zooms = np.asarray(draws.zoom)
    assert 0.75 <= zooms.min() < 0.76 and 1.24 < zooms.max() <= 1.25
    rolls = np.abs(draws.roll)
    assert (rolls > np.deg2rad(20)).mean() == pytest.approx(0.1 * 160 / 180, abs=0.02)
    assert np.mean(draws.flip) == pytest.approx(0.5, abs=0.04)
    single = np.arange(4000) % 2 == 0
    part = np.asarray(draw_geometry(rng, ranges, partial_visibility=single).part)
    assert (part[single, 2] > 0).mean() == pytest.approx(0.15, abs=0.03)
    assert not part[~single].any()


def test_the_same_generator_draws_the_same() -> None:
    one, same, other = random_draws(3), random_draws(3), random_draws(4)
    assert one.zoom == same.zoom != other.zoom
    np.testing.assert_array_equal(one.shift, same.shift)


def test_many_crops_at_once_are_the_crops_one_by_one() -> None:
    n = 40
    rng = np.random.default_rng(7)
    ranges = AugmentationRanges(full_rotation_prob=0.3, partial_visibility_prob=0.5)
    draws = draw_geometry(rng, ranges, partial_visibility=np.arange(n) % 3 > 0)
    boxes = np.concatenate([rng.uniform(0, 300, (n, 2)), rng.uniform(20, 250, (n, 2))], axis=1)
    boxes[5, 2:] = 77  # equal sides
    alone = [camera(BROWN if i % 4 == 0 else None) for i in range(n)]
    alone[3] = replace(alone[3], world_up=np.zeros(3))
    fields = ("intrinsics", "rotation", "position", "distortion", "world_up")
    many = Camera(*(np.stack([getattr(one, name) for one in alone]) for name in fields))
    together = training_camera(many, boxes, side=96, draws=draws)
    sizes = rng.integers(100, 500, (n, 2))
    source, without = training_camera_without_source(sizes, boxes, side=96, draws=draws)
    for i in range(n):
        expected = training_camera(alone[i], boxes[i], side=96, draws=draws[i])
        _assert_same_camera(together[i], expected)
        pair = training_camera_without_source(sizes[i], boxes[i], side=96, draws=draws[i])
        _assert_same_camera(source[i], pair[0])
        _assert_same_camera(without[i], pair[1])


def _assert_same_camera(one: Camera, other: Camera) -> None:
    np.testing.assert_allclose(one.intrinsics, other.intrinsics, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(one.rotation, other.rotation, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_camera_the_crop_is_a_similarity(seed: int) -> None:
    draws = replace(random_draws(seed), part=None)
    source, target = training_camera_without_source(SIZE, BOX, side=256, draws=draws)
    center = BOX[:2] + BOX[2:] / 2 + np.array(draws.shift) * 220
    c, s = np.cos(draws.roll), np.sin(draws.roll)
    turn = np.array([[c, s], [-s, c]])
    if draws.flip:
        turn = np.diag([-1, 1]) @ turn
    points = np.random.default_rng(seed).uniform([0, 0], [600, 400], (30, 2))
    expected = draws.zoom * 256 / 220 * (points - center) @ turn.T + 127.5
    np.testing.assert_allclose(reproject(points, source, target), expected, atol=1e-6)
    warped = warp_image(picture(), source, target, size=(256, 256))
    truth, inside = truth_at(target, source, (256, 256))
    assert np.abs(warped - truth)[inside].max() < 3


def test_the_pretended_camera_sees_eight_degrees() -> None:
    source = pretended_camera(SIZE)
    ray = reproject([[-0.5, 199.5], [599.5, 199.5]], source, make_camera(np.eye(3)))
    assert np.rad2deg(np.arctan(ray[:, 0])) == pytest.approx([-4, 4])


def test_a_box_far_outside_the_picture_gives_a_sound_if_empty_crop() -> None:
    source, target = training_camera_without_source(SIZE, [9000, 9000, 50, 90], side=64)
    assert np.isfinite(target.intrinsics).all()
    assert not warp_image(picture(), source, target, size=(64, 64)).any()


# --- offline crops ---------------------------------------------------------------------------


@pytest.mark.parametrize("distortion", [None, BROWN])
@pytest.mark.parametrize("limit", ["box", "visible", "nothing"])
def test_an_offline_crop_keeps_points_boxes_and_pixels_together(
    distortion: list[float] | None, limit: str
) -> None:
    source = camera(distortion)
    settings = OfflineCropSettings(limit=limit, target_side=200)
    crop = plan_crop(BOX, SIZE, camera=source, settings=settings)
    assert max(crop.bbox[2:]) == pytest.approx(200)
    corners = crop_points(BOX[:2] + BOX[2:] / 2 + np.array([[-40, 0], [40, 0]]), crop)
    assert (corners > crop.bbox[:2]).all() and (corners < crop.bbox[:2] + crop.bbox[2:]).all()
    image = crop_image(picture(), crop, settings=replace(settings, gamma=1.0))
    assert image.shape == (*crop.size, 3)
    expected, inside = truth_at(crop.camera, source, crop.size)
    assert np.abs(image - expected)[inside].max() < 3
    world = np.array([[1.2, 0.4, 1.0], [1.0, 0.6, 1.4]])
    np.testing.assert_allclose(
        world_to_image(world, crop.camera), crop_points(world_to_image(world, source), crop), 1e-6
    )


def test_any_rotation_up_to_the_margin_keeps_the_box_in_an_unlimited_crop() -> None:
    crop = plan_crop(BOX, SIZE, camera=camera(), settings=OfflineCropSettings(limit="nothing"))
    x, y, w, h = crop.bbox
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    middle = corners.mean(axis=0)
    height, width = crop.size
    for degrees in (-30, -10, 0, 20, 30):
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = (corners - middle) @ turn.T + middle
        assert (turned > 0).all() and (turned < [width, height]).all()


def test_limiting_to_the_picture_never_adds_and_the_exact_region_is_tighter() -> None:
    edge_box = [520.0, 20.0, 70.0, 200.0]
    sizes = {
        limit: plan_crop(
            edge_box, SIZE, camera=camera(BROWN), settings=OfflineCropSettings(limit=limit)
        ).size
        for limit in ("nothing", "box", "visible")
    }
    areas = [np.prod(sizes[limit]) for limit in ("nothing", "box", "visible")]
    assert areas[0] > areas[1] > areas[2]


def test_small_people_are_enlarged_a_little_only() -> None:
    crop = plan_crop([100, 100, 20, 50], SIZE, camera=None)
    np.testing.assert_allclose(crop.bbox[2:], [24, 60])


def test_without_a_camera_the_pixels_are_those_of_the_picture() -> None:
    crop = plan_crop(BOX, SIZE, camera=None)
    image = crop_image(picture(), crop, settings=OfflineCropSettings(gamma=1.0))
    expected, inside = truth_at(crop.camera, crop.source, crop.size)
    assert np.abs(image - expected)[inside].max() < 3


def test_without_a_camera_the_crop_is_a_cut_and_a_scale() -> None:
    crop = plan_crop([200, 60, 150, 300], SIZE, camera=None)
    moved = crop_points([[200.0, 60], [350, 360]], crop)
    np.testing.assert_allclose((moved[1] - moved[0]) / [150, 300], 1.2)
    np.testing.assert_allclose(moved[0], crop.bbox[:2])
    assert np.isnan(crop_points([[np.nan, 1.0]], crop)).all()


def test_a_box_that_shows_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        plan_crop([10, 10, 0, 50], SIZE, camera=None)
    with pytest.raises(ValueError, match="shows nothing"):
        plan_crop([9000, 9000, 10, 50], SIZE, camera=None)


def test_a_mask_moves_with_the_picture() -> None:
    source = camera(BROWN)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    mask = (x - 225) ** 2 / 40**2 + (y - 200) ** 2 / 100**2 < 1
    crop = plan_crop(BOX, SIZE, camera=source)
    moved = crop_mask(mask, crop)
    v, u = np.mgrid[: crop.size[0], : crop.size[1]]
    places = reproject(np.stack([u, v], axis=-1), crop.camera, source)
    radius = (places[..., 0] - 225) ** 2 / 40**2 + (places[..., 1] - 200) ** 2 / 100**2
    assert moved[radius < 0.96].all()
    assert not moved[radius > 1.06].any()


def test_light_is_averaged_linearly() -> None:
    stripes = np.zeros((*SIZE, 3), np.uint8)
    stripes[:, ::2] = 255
    settings = OfflineCropSettings(target_side=20, supersampling=1)
    crop = plan_crop([100, 100, 200, 200], SIZE, camera=None, settings=settings)
    fine = replace(settings, supersampling=10)
    mean = crop_image(stripes, crop, settings=fine)[10:-10, 10:-10].mean()
    assert mean == pytest.approx(255 * 0.5 ** (1 / 2.2), abs=4)


def test_crops_are_written_as_jpeg_in_the_right_colours() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(decoded[8, 8, ::-1], [200, 0, 0], atol=4)


def test_polygons_are_clipped_to_rectangles() -> None:
    triangle = np.array([[-1.0, 0.5], [0.5, -1.0], [2.0, 2.0]])
    clipped = clip_polygon(triangle, np.zeros(2), np.ones(2))
    assert clipped.min() >= 0 and clipped.max() <= 1
    np.testing.assert_allclose(clipped.max(axis=0), [1, 1])
    far = clip_polygon(triangle + 10, np.zeros(2), np.ones(2))
    assert far.shape == (0, 2)


def test_impossible_crop_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        OfflineCropSettings(limit="sometimes")
    with pytest.raises(ValueError, match="positive"):
        OfflineCropSettings(padding=0)


def test_rolling_the_source_does_not_change_an_upright_crop() -> None:
    plain = training_camera(camera(), BOX, side=256)
    tilted_source = rolled(camera(), 0.2)
    center = reproject(BOX[:2] + BOX[2:] / 2, camera(), tilted_source)
    tilted = training_camera(tilted_source, [*(center - 50), 100, 100], side=256)
    np.testing.assert_allclose(tilted.rotation, plain.rotation, atol=1e-9)
