"""Every setting of appearance and geometry changes what it is named after, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from errors import ConfigError
from stages.train.augmentation import (
    Scenery,
    augment_appearance,
    background_probability,
    cover_with_objects,
    draw_border,
    erase_rectangle,
    jitter_colour,
    open_scenery,
    recompress,
    swap_background,
)
from stages.train.examples import ExampleReader
from stages.train.settings import BatchSettings, CropSettings, HeadSettings, TrainSettings
from tests.stages.train.stick_figures import stick_sources

PLAIN = CropSettings(
    geom_aug=False,
    color_aug=False,
    occlude_aug_prob=0,
    jpeg_aug_prob=0,
    background_aug_prob=0,
    background_aug_prob_real=0,
    background_aug_prob_grey=0,
)
# Rolled and shifted, so that there is something beyond the picture and between its pixels.
GEOMETRY = replace(PLAIN, geom_aug=True, full_rot_aug_prob=1.0, shift_aug=40.0)
SIDE = 48


def batch_of(crop: CropSettings, *, is_augmented: bool = True) -> dict[str, np.ndarray]:
    """Ten examples of all datasets, with the same draws for all settings."""
    settings = TrainSettings(
        head=HeadSettings(proc_side=SIDE, stride_train=16, stride_test=16), crop=crop
    )
    sources = stick_sources(BatchSettings())
    reader = ExampleReader(settings, Scenery(), n_slots=20)
    which, positions = np.arange(10) % len(sources), np.arange(10)
    draws = reader.draw(sources, which, np.random.default_rng(3)) if is_augmented else None
    return reader.read(sources, which, positions, draws=draws)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (PLAIN, {"color_aug": True}),
        (PLAIN, {"jpeg_aug_prob": 1.0}),
        (PLAIN, {"occlude_aug_prob": 1.0}),
        (replace(PLAIN, color_aug=True), {"color_aug_strength": 0.3}),
        (replace(PLAIN, jpeg_aug_prob=1), {"jpeg_quality_min": 59}),
        (replace(PLAIN, jpeg_aug_prob=1), {"jpeg_quality_max": 20}),
        (replace(PLAIN, occlude_aug_prob=1), {"occlude_aug_scale": 0.4}),
        (GEOMETRY, {"border_value": 90}),
        (GEOMETRY, {"augment_border_prob": 1.0}),
        (GEOMETRY, {"antialias_train": 2}),
        (GEOMETRY, {"image_interpolation_train": "nearest"}),
        (GEOMETRY, {"image_interpolation_train": "cubic"}),
    ],
    ids=str,
)
def test_a_setting_of_appearance_changes_pictures_and_nothing_else(
    base: CropSettings, change: dict[str, Any]
) -> None:
    before, after = batch_of(base), batch_of(replace(base, **change))
    assert (before["image"] != after["image"]).any()
    for name in before.keys() - {"image"}:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize("change", [{"antialias_test": 3}, {"image_interpolation_test": "nearest"}])
def test_a_setting_of_tests_changes_tests_only(change: dict[str, Any]) -> None:
    for is_augmented in (False, True):
        before = batch_of(GEOMETRY, is_augmented=is_augmented)["image"]
        after = batch_of(replace(GEOMETRY, **change), is_augmented=is_augmented)["image"]
        assert (before != after).any() == (not is_augmented)


def test_all_off_is_what_evaluation_sees() -> None:
    off, evaluated = batch_of(PLAIN), batch_of(PLAIN, is_augmented=False)
    for name in ("image", "intrinsics", "coords3d", "coords2d"):
        np.testing.assert_array_equal(off[name], evaluated[name])


def draws_of(crop: CropSettings, n: int = 600) -> Any:
    sources = [s for s in stick_sources(BatchSettings()) if s.dataset in ("behave", "coco")]
    reader = ExampleReader(TrainSettings(crop=crop), Scenery(), n_slots=9)
    return reader.draw(sources, np.arange(n) % 2, np.random.default_rng(0)).geometry


def test_a_setting_of_geometry_bounds_its_draws() -> None:
    crop = CropSettings(
        rot_aug=7, full_rot_aug_prob=0, scale_aug_up=30, scale_aug_down=10, shift_aug=5
    )
    draws = draws_of(crop)
    assert 6.5 < np.rad2deg(np.abs(draws.roll)).max() <= 7
    assert 0.9 <= draws.zoom.min() < 0.92 and 1.28 < draws.zoom.max() <= 1.3
    assert 0.048 < np.linalg.norm(draws.shift, axis=1).max() <= 0.05
    assert 0.4 < draws.flip.mean() < 0.6
    assert not draws_of(replace(crop, hflip_aug=False)).flip.any()
    assert np.rad2deg(np.abs(draws_of(replace(crop, full_rot_aug_prob=1)).roll)).max() > 170
    assert draws_of(replace(crop, partial_visibility_prob=0)).part is None
    part = draws_of(replace(crop, partial_visibility_prob=1)).part
    assert (part[::2, 2] > 0.5).all()  # behave shows single people
    assert not part[1::2].any()  # coco does not
    nothing = draws_of(replace(crop, geom_aug=False))
    assert not np.any(nothing.shift) and (nothing.zoom == 1).all() and not nothing.flip.any()


def test_backgrounds_are_swapped_as_often_as_the_kind_of_scene_allows() -> None:
    crop = CropSettings(
        background_aug_prob=0.1, background_aug_prob_real=0.2, background_aug_prob_grey=0.3
    )
    found = [background_probability(name, crop) for name in ("mads", "agora", "thuman2_render")]
    assert found == [0.1, 0.2, 0.3]
    person, mask = picture(), np.zeros((SIDE, SIDE), np.uint8)
    mask[10:30, 10:30] = 255
    for probability, swapped in ((1.0, True), (0.0, False)):
        changed = augment_appearance(
            person,
            np.random.default_rng(1),
            mask=lambda: mask,
            dataset="mads",
            crop=replace(PLAIN, background_aug_prob=probability),
            scenery=Scenery(),
        )
        assert (changed[mask == 0] != person[mask == 0]).any() == swapped
        np.testing.assert_array_equal(changed[mask > 0], person[mask > 0])


def test_the_border_shows_a_colour_the_edge_or_a_reflection() -> None:
    crop = CropSettings(augment_border_prob=0.6, border_value=7)
    rng = np.random.default_rng(0)
    drawn = [draw_border(rng, crop) for _ in range(900)]
    assert np.mean([border == "constant" and value == (7, 7, 7) for border, value in drawn]) == (
        pytest.approx(0.4, abs=0.06)
    )
    for kind in ("replicate", "reflect"):
        assert np.mean([border == kind for border, _ in drawn]) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("seed", range(24))
def test_colours_change_as_the_plain_formula_says(seed: int) -> None:
    image = picture()
    found = jitter_colour(image, np.random.default_rng(seed), strength=0.9)
    assert np.abs(found.astype(int) - plainly_jittered(image, seed, 0.9)).max() <= 1


def plainly_jittered(image: np.ndarray, seed: int, strength: float) -> np.ndarray:
    """The four changes, one after the other."""
    rng = np.random.default_rng(seed)
    brightness, contrast, hue, saturation = rng.uniform(-1, 1, size=4) * strength
    rgb = image.astype(np.float32) / 255
    for change in rng.permutation(4):
        if change == 0:
            rgb = rgb + np.float32(brightness / 8)
        elif change == 1:
            rgb = (rgb - np.float32(0.5)) * np.float32(1 + contrast / 2) + np.float32(0.5)
        else:
            hsv = cv2.cvtColor(np.clip(rgb, 0, 1), cv2.COLOR_RGB2HSV)
            if change == 2:
                hsv[..., 0] = (hsv[..., 0] + np.float32(72 * hue)) % 360
            else:
                hsv[..., 1] = np.minimum(hsv[..., 1] * np.float32(1 + saturation / 2), 1)
            rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def test_red_stays_red_through_a_round_of_jpeg() -> None:
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 220
    np.testing.assert_allclose(recompress(red, quality=50)[10, 10], [220, 0, 0], atol=4)


def test_colours_are_those_of_the_stored_picture() -> None:
    source = stick_sources(BatchSettings())[0]
    reader = ExampleReader(TrainSettings(head=HeadSettings(proc_side=96), crop=PLAIN), Scenery())
    image = reader(source, 0, None)["image"].reshape(-1, 3).astype(int)
    stored = source.split.blobs("image", source.rows[:1])[0]
    bgr = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    rgb = bgr[..., ::-1].reshape(-1, 3).astype(int)
    reddest = [pixels[np.argmax(pixels[:, 0] - pixels[:, 2])] for pixels in (image, rgb)]
    np.testing.assert_allclose(*reddest, atol=60)


@pytest.mark.parametrize("seed", range(8))
def test_an_erased_rectangle_is_at_most_a_third(seed: int) -> None:
    image = np.full((SIDE, SIDE, 3), 77, np.uint8)
    rows, columns = np.nonzero((erase_rectangle(image, np.random.default_rng(seed)) != 77).any(-1))
    if rows.size:
        assert np.ptp(rows) * np.ptp(columns) <= SIDE * SIDE / 3


def test_pictures_come_from_the_folders_that_are_named(tmp_path: Path) -> None:
    backgrounds, occluders = tmp_path / "backgrounds", tmp_path / "occluders"
    for folder in (backgrounds, occluders):
        folder.mkdir()
    green = np.zeros((300, 400, 3), np.uint8)
    green[..., 1] = 200
    cv2.imwrite(str(backgrounds / "green.png"), green)
    magenta = np.full((60, 60, 4), 255, np.uint8)
    magenta[..., 1] = 0
    cv2.imwrite(str(occluders / "magenta.png"), magenta)
    scenery = open_scenery(backgrounds, occluders)
    grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
    rng = np.random.default_rng(2)
    swapped = swap_background(
        grey, rng, mask=np.zeros((SIDE, SIDE), np.uint8), backgrounds=scenery.backgrounds
    )
    assert (swapped == [0, 200, 0]).all()
    covered = cover_with_objects(grey, rng, occluders=scenery.occluders, scale=3.0)
    assert (covered == [255, 0, 255]).all(axis=-1).any()
    assert (covered == 90).all(axis=-1).any()
    with pytest.raises(ConfigError, match="no picture"):
        open_scenery(tmp_path / "nowhere", None)
    cv2.imwrite(str(occluders / "magenta.png"), magenta[..., :3])
    with pytest.raises(ConfigError, match="alpha"):
        cover_with_objects(grey, rng, occluders=scenery.occluders, scale=1.0)


def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (5, 5), 1.5) * 2 - 100, np.uint8)
