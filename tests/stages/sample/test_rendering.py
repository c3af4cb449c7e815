"""Every pixel sees the nearest surface, exactly where the geometry says."""

import cv2
import numpy as np
import pytest

from stages.sample.backgrounds import sample_place
from stages.sample.joint_angles import bone_rotations
from stages.sample.people import PosedBody, pose_person, sample_person
from stages.sample.pose_families import sample_angles
from stages.sample.rasterizer import rasterize
from stages.sample.scenes import Scene, box, look, paint, visible_mask
from stages.sample.silhouettes import sketch_mask
from stages.sample.surface_points import points_in_sight
from stages.sample.viewpoints import View, crop_towards, distort, undistort

DISTORTION = np.array([-0.21, 0.16, 0.0008, -0.0005, -0.05, 0.02, -0.03, 0.01])


def _person(seed: int) -> PosedBody:
    rng = np.random.default_rng(seed)
    return pose_person(sample_person(seed, rng), bone_rotations(sample_angles(rng), heading=40.0))


def _view(person: PosedBody) -> View:
    return crop_towards(
        np.array([1.0, 0.8, 3.5]),
        person.outline,
        person_px=160.0,
        margin=1.4,
        shift=np.array([0.2, -0.1]),
        roll=0.05,
        limit_px=300,
    )


def test_rasterizing_agrees_with_a_pixel_by_pixel_search() -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(-8, 40, (60, 2))
    depth = rng.uniform(1.0, 5.0, 60)
    faces = rng.integers(0, 60, (80, 3))
    height, width = 30, 32
    expected = np.full(height * width, -1)
    nearest = np.full(height * width, np.inf)
    for number, (a, b, c) in enumerate(faces):
        area = np.cross(np.append(points[b] - points[a], 0), np.append(points[c] - points[a], 0))[2]
        if area >= -1e-9:
            continue
        inverse = np.linalg.inv(np.vstack([points[[a, b, c]].T, np.ones(3)]))
        for pixel in range(height * width):
            weights = inverse @ [pixel % width, pixel // width, 1.0]
            z = 1.0 / (weights @ (1.0 / depth[[a, b, c]]))
            if (weights >= 0).all() and z < nearest[pixel]:
                nearest[pixel], expected[pixel] = z, number
    fragments = rasterize(points, depth, faces, size=(height, width))
    found = np.full(height * width, -1)
    found[fragments.pixels] = fragments.faces
    assert (found != expected).mean() < 0.005, "only pixels on an edge may go either way"
    same = found[fragments.pixels] == expected[fragments.pixels]
    np.testing.assert_allclose(fragments.depth[same], nearest[fragments.pixels][same], rtol=1e-3)


def test_weights_lead_back_to_the_pixel() -> None:
    person = _person(6)
    view = _view(person)
    scene = Scene(None, (person,), (person.vertices(),), ())  # type: ignore[arg-type]
    sight = look(scene, view)
    spots = sight.fragments.interpolate(sight.faces, person.vertices())
    pixels, depth = view.project(spots.astype(np.float64))
    expected = np.stack(np.divmod(sight.fragments.pixels, view.size[1])[::-1], axis=1)
    assert np.abs(pixels - expected).max() < 0.02
    np.testing.assert_allclose(depth, sight.fragments.depth, rtol=1e-4)


def test_what_stands_before_hides_what_is_behind() -> None:
    person = _person(7)
    view = _view(person)
    middle = person.outline.mean(0) * 0.6 + view.position * 0.4
    crate = box(middle, np.array([0.3, 0.3, 0.3]), yaw=0.4, colour=np.full(3, 0.5))
    flesh = (person.vertices(),)
    alone = look(Scene(None, (person,), flesh, ()), view)  # type: ignore[arg-type]
    hidden = look(Scene(None, (person,), flesh, (crate,)), view)  # type: ignore[arg-type]
    whole, rest = (visible_mask(sight, view, np.array([0])) for sight in (alone, hidden))
    assert (rest & ~whole).sum() == 0
    assert 0 < rest.sum() < 0.9 * whole.sum()


def test_an_outline_without_rendering_is_close_to_the_rendered_one() -> None:
    person = _person(8)
    view = _view(person)
    scene = Scene(None, (person,), (person.vertices(),), ())  # type: ignore[arg-type]
    rendered = visible_mask(look(scene, view), view, np.array([0]))
    sketched = sketch_mask(person, view)
    assert (rendered & sketched).sum() / (rendered | sketched).sum() > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_surface_points_are_visible_and_exact(seed: int) -> None:
    person, other = _person(seed), _person(seed + 20).moved(np.array([0.25, 0.0, 0.6]))
    view = _view(person)
    people = (other, person)
    scene = Scene(None, people, tuple(p.vertices() for p in people), ())  # type: ignore[arg-type]
    sight = look(scene, view)
    rng = np.random.default_rng(seed)
    pixels, triplets, weights = points_in_sight(sight, view, person, 1, rng)
    assert 50 < len(pixels) <= 180
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
    corners = person.vertices()[triplets]
    expected, depth = view.project(np.einsum("nk,nkc->nc", weights, corners))
    np.testing.assert_allclose(pixels, expected, atol=1e-3)
    nearest = np.full(view.size[0] * view.size[1], np.inf)
    nearest[sight.fragments.pixels] = sight.fragments.depth
    x, y = np.round(pixels).astype(int).T
    np.testing.assert_allclose(nearest[y * view.size[1] + x], depth, rtol=1e-3)


def test_lenses_are_opencvs() -> None:
    person = _person(9)
    plain = _view(person)
    view = View(plain.rotation, plain.position, plain.intrinsics, DISTORTION, plain.size)
    pixels, _ = view.project(person.outline)
    rotation = cv2.Rodrigues(view.rotation)[0]
    expected, _ = cv2.projectPoints(
        person.outline, rotation, -view.rotation @ view.position, view.intrinsics, DISTORTION
    )
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-6)
    flat = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 2))
    np.testing.assert_allclose(undistort(distort(flat, DISTORTION), DISTORTION), flat, atol=1e-5)


def test_rays_go_through_their_pixels() -> None:
    person = _person(10)
    plain = _view(person)
    for distortion in (None, DISTORTION):
        view = View(plain.rotation, plain.position, plain.intrinsics, distortion, plain.size)
        rays = view.rays()
        pixels, _ = view.project(view.position + rays[:, ::17, ::13].reshape(3, -1).T)
        x, y = np.meshgrid(np.arange(view.size[1])[::13], np.arange(view.size[0])[::17])
        assert np.abs(pixels - np.stack([x.ravel(), y.ravel()], 1)).max() < 0.05
        # A ray for two by two pixels goes through the corner where they meet.
        coarse = view.rays(step=2)
        assert coarse.shape[1:] == tuple((n + 1) // 2 for n in view.size)
        pixels, _ = view.project(view.position + coarse[:, 3, 5:7].T)
        assert np.abs(pixels - [[10.5, 6.5], [12.5, 6.5]]).max() < 0.05


def test_a_crop_holds_the_person_at_the_size_asked_for() -> None:
    person = _person(11)
    view = _view(person)
    pixels, _ = view.project(person.outline)
    assert np.ptp(pixels, axis=0).max() == pytest.approx(160.0, rel=0.02)
    assert (pixels > 0).all() and (pixels < view.size[0]).all()


def test_the_picture_shows_the_person_and_a_place() -> None:
    person = _person(12)
    person = person.moved(np.array([0.0, -person.outline[:, 1].min(), 0.0]))
    view = _view(person)
    place = sample_place(np.random.default_rng(1), reach=4.0)
    scene = Scene(place, (person,), (person.vertices(),), ())
    sight = look(scene, view)
    picture = paint(scene, view, sight)
    mask = visible_mask(sight, view, np.array([0]))
    assert picture.shape == (*view.size, 3) and picture.dtype == np.uint8
    assert picture[mask].std() > 15 and picture[~mask].std() > 3
