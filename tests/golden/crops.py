"""Checks of the geometry of crops, offline and in training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt

from pipeline import offline_crop, training_crop
from pipeline.cameras import (
    Camera,
    camera_to_image,
    image_to_camera,
    looking_at,
    make_camera,
    reproject,
    world_to_camera,
    world_to_image,
)
from pipeline.offline_crop import (
    OfflineCrop,
    OfflineCropSettings,
    crop_image,
    crop_points,
    encode_jpeg,
    plan_crop,
)
from pipeline.skeletons import skeleton_from_names
from pipeline.training_crop import (
    GeometryDraws,
    part_of_draws,
    pretended_camera,
    shift_in_disc,
    training_camera,
    training_camera_without_source,
)
from pipeline.warping import warp_image
from tests.golden.comparison import Golden, relative_error

Floats = npt.NDArray[np.float64]

OFFLINE_SETTINGS = {
    "default": OfflineCropSettings(),
    "extreme": OfflineCropSettings(limit="nothing"),
    "exp0": OfflineCropSettings(expansion=0),
    "smart": OfflineCropSettings(limit="visible"),
}
# The reference turns its cameras in float32, in millimetres, at the cost of 1e-4 rad: so far off
# our exact cameras may be. Rounded as the reference rounds, they must agree to ROUNDED; but now
# and then the last bit of a position falls the other way, and takes a whole case with it.
OFFLINE = 2e-3
TRAINING = 1e-3
ROUNDED = 1e-5
OTHERWISE_ROUNDED = 0.1  # the share of arrays to which that may happen
# Where it undistorts by OpenCV's five iterations, whole pictures move by up to 0.2 px.
OFFLINE_INEXACT = 5e-3
PIXELS = 100.0  # magnitude to which errors in pixels are relative
MILLIMETRES = 1000.0


@contextmanager
def rounding_of_the_reference() -> Iterator[None]:
    """Turn cameras as the reference does: towards a point 1 mm away, in the world, in float32.

    In training it also takes the pixels of a distorted picture through such points.
    """
    with (
        mock.patch.object(training_crop, "looking_at", _looking_at_rounded),
        mock.patch.object(training_crop, "reproject", _reproject_rounded),
        mock.patch.object(offline_crop, "looking_at", _looking_at_rounded),
    ):
        yield


def _looking_at_rounded(pixel: npt.ArrayLike, camera: Camera) -> Camera:
    # A pinhole at the same place whose pixels are the rays takes the rounded axis as it is.
    ray = _points_in_world(pixel, camera) - camera.position.astype(np.float32)
    turned = make_camera(
        np.eye(3),
        rotation=camera.rotation,
        position=camera.position,
        world_up=camera.world_up,
    )
    in_camera = ray.astype(np.float64) @ camera.rotation.T
    aimed = looking_at(in_camera[:2] / in_camera[2], turned)
    return replace(camera, rotation=aimed.rotation)


def _reproject_rounded(pixels: npt.ArrayLike, source: Camera, target: Camera) -> Floats:
    if not source.is_distorted:
        return reproject(pixels, source, target)
    offset = _points_in_world(pixels, source) - target.position.astype(np.float32)
    return camera_to_image(offset @ target.rotation.astype(np.float32).T, target)


def _points_in_world(pixels: npt.ArrayLike, camera: Camera) -> npt.NDArray[np.float32]:
    rays = image_to_camera(pixels, camera).astype(np.float32)
    turned = rays @ camera.rotation.astype(np.float32)
    return np.asarray(turned + camera.position.astype(np.float32), np.float32)


def _check_rounded(golden: Golden, check: Callable[[Golden], None]) -> None:
    """The same check with the reference's rounding: nearly all arrays agree to ROUNDED."""
    rounded = Golden(golden.path)
    with rounding_of_the_reference():
        check(rounded)
    errors = {
        key: error
        for key, (error, tolerance) in rounded.errors.items()
        if tolerance in (OFFLINE, TRAINING) and not key.endswith("/image_mean")
    }
    off = [key for key, error in errors.items() if error > ROUNDED]
    assert len(off) <= OTHERWISE_ROUNDED * len(errors), f"{len(off)} of {len(errors)} arrays: {off}"


def check_offline_crops(golden: Golden) -> None:
    _check_offline_crops(golden)
    if "deltacamera" in golden.path.name:
        _check_rounded(golden, _check_offline_crops)


def _check_offline_crops(golden: Golden) -> None:
    exact = "2023" not in golden.path.name
    questions = golden.with_questions_of("crop_posepile__deltacamera090.npz")
    for match in questions.matching(r"(.+)/old_K"):
        for person in questions.matching(match[1] + r"/(person\d+)/old_bbox"):
            _check_crops_of_person(golden, questions, match[1], person[1], exact=exact)
    for match in questions.matching(r"(ex2d_\d+)/old_bbox"):
        case = match[1]
        crop = plan_crop(questions[match[0]], _height_width(questions, case), camera=None)
        golden.compare_present(f"{case}/crop_hw", np.array(crop.size))
        golden.compare_present(f"{case}/new_bbox", crop.bbox, floor=PIXELS)
        for name in ("coords", "dense"):
            moved = crop_points(questions[f"{case}/{name}_old"], crop)
            golden.compare_present(f"{case}/{name}_new", moved, floor=PIXELS)


def _check_crops_of_person(
    golden: Golden, questions: Golden, camera_name: str, person_name: str, *, exact: bool
) -> None:
    camera = _camera(questions, camera_name, distortion="old_distortion")
    tolerance = OFFLINE if exact or not camera.is_distorted else OFFLINE_INEXACT
    size = _height_width(questions, camera_name)
    person = f"{camera_name}/{person_name}"
    world = questions[f"{person}/world_coords_mm"]
    seen_before = world_to_camera(world, camera) / 1000
    golden.compare_present(f"{person}/imcoords_old", world_to_image(world, camera), floor=PIXELS)
    golden.compare_present(f"{person}/camcoords_old_m", seen_before, floor=1.0)
    for variant, settings in OFFLINE_SETTINGS.items():
        case = f"{person}/{variant}"
        crop = plan_crop(questions[f"{person}/old_bbox"], size, camera=camera, settings=settings)
        new = crop.camera
        # Of the size, the last pixel depends on where exactly the picture's corners come to.
        slack = 1e-9 if exact else 1.5 / min(crop.size)
        for key in ("crop_hw", "mask_hw"):
            golden.compare_present(f"{case}/{key}", np.array(crop.size), tolerance=slack, floor=0.0)
        for key, value, floor in (
            ("new_K", new.intrinsics, PIXELS),
            ("new_R", new.rotation, 1.0),
            ("new_t_mm", new.position, MILLIMETRES),
            ("new_world_up", new.world_up, 1.0),
            ("new_has_distortion", np.array(new.is_distorted), 1.0),
            ("new_bbox", crop.bbox, PIXELS),
            ("imcoords_new", world_to_image(world, new), PIXELS),
            ("camcoords_new_m", world_to_camera(world, new) / 1000, 1.0),
        ):
            golden.compare_present(f"{case}/{key}", value, tolerance=tolerance, floor=floor)
        _compare_mask(golden, case, crop, questions)
        if f"{case}/probe_new" in golden:
            moved = crop_points(questions[f"{case}/probe_old"], crop)
            golden.compare(f"{case}/probe_new", moved, tolerance=tolerance, floor=PIXELS)
        if f"{case}/crop_image_rgb_after_jpeg" in golden:
            picture = crop_image(questions[f"{camera_name}/image_rgb"], crop, settings=settings)
            encoded = np.frombuffer(encode_jpeg(picture, settings=settings), np.uint8)
            decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
            _compare_pictures(golden, f"{case}/crop_image_rgb_after_jpeg", decoded, mean=1.2)


def _compare_mask(golden: Golden, case: str, crop: OfflineCrop, questions: Golden) -> None:
    """The mask's own picture is not in the file; but every crop of a person shows the same mask.

    So from one crop to another its extent and area must move and grow as our cameras say, within
    the pixel that a threshold may gain or lose along the edge.
    """
    person = case.rpartition("/")[0]
    others = [f"{person}/{variant}" for variant in OFFLINE_SETTINGS]
    others = [o for o in others if o != case and f"{o}/mask_extent_xyxy" in golden]
    if f"{case}/mask_extent_xyxy" not in golden or not others:
        return
    extent = golden[f"{case}/mask_extent_xyxy"].astype(np.float64)
    width, height = extent[2:] - extent[:2] + 1
    for other in others:
        scale = golden[f"{other}/new_K"][0, 0] / crop.camera.intrinsics[0, 0]
        shift = golden[f"{other}/new_K"][:2, 2] - scale * crop.camera.intrinsics[:2, 2]
        expected = scale * extent + np.tile(shift, 2)
        off = np.abs(golden[f"{other}/mask_extent_xyxy"] - expected).max()
        golden.errors[f"{other}/mask_extent_xyxy"] = float(off), 1.5
        area = float(golden[f"{case}/mask_area"]) * scale**2
        edge = scale * (width + height)
        grown = abs(float(golden[f"{other}/mask_area"]) - area) / edge
        golden.errors[f"{other}/mask_area"] = grown, 1.0
    box = crop.bbox
    inside = np.concatenate([extent[:2] - box[:2], box[:2] + box[2:] - extent[2:]])
    assert inside.min() > -1.5, f"{case}: the mask sticks out of the person's box"


def check_training_crops(golden: Golden) -> None:
    _check_training_crops(golden)
    if golden.path.stem.endswith(("kp3d", "look_at_box")):
        _check_rounded(golden, _check_training_crops)


def _check_training_crops(golden: Golden) -> None:
    if golden.path.stem.endswith("look_at_box"):
        _check_plain_cameras(golden)
        return
    for match in golden.matching(r"meta/joint_names(.*)"):
        names = [str(name) for name in golden[match[0]]]
        mirror = np.array(skeleton_from_names(names, paths=()).mirror)
        golden.compare_present(f"meta/mirror_mapping{match[1]}", mirror)
    for case in _cases(golden):
        _check_training_crop(golden, case)


def _check_plain_cameras(golden: Golden) -> None:
    """The file holds answers only; the questions stand in the 3D keypoints' file beside it."""
    questions = golden.with_questions_of("traincrop__kp3d.npz")
    for case in _cases(golden):
        source = _camera(questions, case, distortion="old_dist")
        side = int(questions[f"{case}/proc_side"])
        camera = training_camera(source, questions[f"{case}/bbox"], side=side)
        _compare_camera(golden, case, camera)
        pixels = world_to_image(questions[f"{case}/world_coords_mm"], camera)
        golden.compare(f"{case}/imcoords", pixels, tolerance=TRAINING, floor=PIXELS)


def _check_training_crop(golden: Golden, case: str) -> None:
    side = int(golden[f"{case}/proc_side"])
    draws = _draws(golden, case)
    bbox = golden[f"{case}/bbox"]
    size = _height_width(golden, case)
    if _has_camera(golden, case, size):
        source = _camera(golden, case, distortion="old_dist")
        camera = training_camera(source, bbox, side=side, draws=draws)
        _compare_camera(golden, case, camera)
    else:
        source, camera = training_camera_without_source(size, bbox, side=side, draws=draws)
        _compare_pretended_camera(golden, case, camera, source)
    if f"{case}/world_coords_mm" in golden:
        _compare_points3d(golden, case, camera, draws)
    _compare_points2d(golden, case, source, camera, draws)
    picture = warp_image(_training_picture(size), source, camera, size=(side, side))
    if f"{case}/image_mean" in golden:
        mean = picture.astype(np.float64).mean(axis=(0, 1)) / 255
        golden.compare(f"{case}/image_mean", mean, tolerance=TRAINING, floor=0.5)
    if f"{case}/crop_image_u8" in golden:
        _compare_pictures(golden, f"{case}/crop_image_u8", picture, mean=0.5)


def _has_camera(golden: Golden, case: str, size: tuple[int, int]) -> bool:
    """Whether the camera was known; a pretended one may stand in the file all the same."""
    old = golden.get(f"{case}/old_K")
    if old is None:
        return False
    pretended = pretended_camera(size).intrinsics
    return abs(float(old[0, 0]) / pretended[0, 0] - 1) > 1e-3


def _draws(golden: Golden, case: str) -> GeometryDraws:
    def draw(name: str, default: float) -> float:
        value = golden.get(f"{case}/draw/{name}")
        return default if value is None else float(value)

    part = None
    if golden.get(f"{case}/partial_used"):
        # The first number decided whether; then triples until one was accepted, the last.
        triple = golden[f"{case}/partial_draws"][1:].reshape(-1, 3)[-1].astype(np.float64)
        part = part_of_draws(*triple.tolist())
        assert part is not None, f"{case}: the last triple makes no part"
    is_augmented = bool(golden.get(f"{case}/geom_aug"))
    assert is_augmented or not list(golden.matching(f"{case}/draw/(?!hflip).*")), case
    any_roll = draw("full_rot_u", 1.0) < 0.1
    assert any_roll or abs(draw("roll", 0.0)) <= math.radians(20), case
    return GeometryDraws(
        part=part,
        shift=shift_in_disc(draw("disc_angle", 0.0), draw("disc_u", 0.0), radius=0.1),
        zoom=draw("zoom", 1.0),
        roll=draw("roll", 0.0),
        flip=bool(golden.get(f"{case}/hflip_aug")) and draw("hflip_u", 1.0) < 0.5,
    )


def _compare_camera(golden: Golden, case: str, camera: Camera) -> None:
    golden.compare(f"{case}/K", camera.intrinsics, tolerance=TRAINING, floor=PIXELS)
    if f"{case}/R" in golden:
        golden.compare(f"{case}/R", camera.rotation, tolerance=TRAINING, floor=1.0)
    if f"{case}/extrinsics" in golden:
        extrinsics = np.eye(4)
        extrinsics[:3, :3] = camera.rotation
        extrinsics[:3, 3] = -camera.rotation @ camera.position
        expected = golden[f"{case}/extrinsics"]
        if np.abs(expected[:3, 3]).max() < 100:  # metres
            extrinsics[:3, 3] /= 1000
        # The translation is as inexact as the rotation, times the distance from the origin.
        floor = 1.0 + np.linalg.norm(camera.position)
        golden.compare(f"{case}/extrinsics", extrinsics, tolerance=TRAINING, floor=floor)


def _compare_pretended_camera(golden: Golden, case: str, camera: Camera, source: Camera) -> None:
    """Where the picture's middle lies is convention: at (W − 1)/2, as with us, or at W/2."""
    if f"{case}/K" in golden:
        expected = golden[f"{case}/K"].astype(np.float64)
        candidates = [camera.intrinsics.copy() for _ in range(2)]
        candidates[1][:2, 2] = reproject(source.intrinsics[:2, 2] + 0.5, source, camera)
        nearest = min(candidates, key=lambda found: float(np.abs(found - expected).max()))
        golden.compare(f"{case}/K", nearest, tolerance=TRAINING, floor=PIXELS)
    if f"{case}/R" in golden:
        golden.compare(f"{case}/R", camera.rotation, tolerance=TRAINING, floor=1.0)


def _compare_points3d(golden: Golden, case: str, camera: Camera, draws: GeometryDraws) -> None:
    world = golden[f"{case}/world_coords_mm"]
    names = golden["meta/joint_names_kp3d"]
    ids = np.arange(len(world))
    if draws.flip:
        world = world[golden["meta/mirror_mapping_kp3d"]]
    annotated = np.isfinite(world).all(axis=-1)
    points = world_to_camera(world[annotated], camera) / 1000
    golden.compare(f"{case}/coords3d_true_m", points, tolerance=TRAINING, floor=1.0)
    if f"{case}/point_ids" in golden:
        golden.compare(f"{case}/point_ids", ids[annotated])
    if f"{case}/root_index" in golden:
        pelvis = [i for i, name in enumerate(names[annotated]) if name.startswith("pelv")]
        golden.compare(f"{case}/root_index", np.array(pelvis[0] if pelvis else -1))


def _compare_points2d(
    golden: Golden, case: str, source: Camera, camera: Camera, draws: GeometryDraws
) -> None:
    """Every array of crop pixels whose name tells that it is one, against what it came from.

    Joints change places when the picture is mirrored; those beyond 95 % of the picture's height,
    and negative ones of keypoints, are left out, or, dense ones, zero.
    """
    arrays = {
        key.removeprefix(f"{case}/"): value
        for key, value in golden.arrays.items()
        if key.startswith(f"{case}/") and value.ndim == 2 and value.shape[1] == 2
    }
    answers = [name for name in arrays if any(word in name for word in ("true", "new", "crop"))]
    questions = [name for name in arrays if name not in answers]
    for answer in answers:
        errors: list[float] = []
        for question in questions:
            for candidate, kept in _candidates2d(golden, case, question, source, camera, draws):
                if candidate.shape != arrays[answer].shape:
                    continue
                errors.append(relative_error(candidate, arrays[answer], floor=PIXELS))
                if errors[-1] <= min(errors):
                    golden.seen.add(f"{case}/{question}")
                    golden.compare(f"{case}/{answer}", candidate, tolerance=TRAINING, floor=PIXELS)
                    ids = golden.arrays.get(f"{case}/point_ids")
                    if ids is not None and len(ids) == len(candidate):
                        golden.compare(f"{case}/point_ids", kept)
        if "coords2d_true" in answer and questions:
            assert errors, f"{case}/{answer}: nothing of its shape to compare with"


def _candidates2d(
    golden: Golden,
    case: str,
    question: str,
    source: Camera,
    camera: Camera,
    draws: GeometryDraws,
) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
    """The question's points in the crop, and their numbers: all of them, without the discarded
    ones, with zeros for those."""
    as_given = golden.arrays[f"{case}/{question}"].astype(np.float64)
    orders = [as_given]
    for match in golden.matching(r"meta/mirror_mapping.*"):
        if draws.flip and len(golden.arrays[match[0]]) == len(as_given):
            orders.append(as_given[golden[match[0]]])
    height, _ = _height_width(golden, case)
    found = []
    for points in orders:
        moved = reproject(points, source, camera)
        finite = np.isfinite(points).all(axis=1)
        visible = finite & ~(points[:, 1] > 0.95 * height)
        not_negative = visible & (points >= 0).all(axis=1)
        everything = np.arange(len(points))
        found.append((moved, everything))
        for kept in (finite, visible, not_negative):
            found.append((moved[kept], np.flatnonzero(kept)))
            found.append((np.where(kept[:, np.newaxis], moved, 0.0), everything))
    return found


def _compare_pictures(golden: Golden, key: str, actual: npt.NDArray[Any], *, mean: float) -> None:
    """Interpolation and JPEG differ between library versions by a level or so."""
    difference = np.abs(golden[key].astype(np.float64) - actual)
    golden.errors[key] = float(difference.mean()), mean


def _camera(golden: Golden, case: str, *, distortion: str) -> Camera:
    return make_camera(
        golden[f"{case}/old_K"],
        rotation=golden[f"{case}/old_R"],
        position=golden[f"{case}/old_t_mm"],
        distortion=golden.get(f"{case}/{distortion}"),
        world_up=golden[f"{case}/world_up"],
    )


def _height_width(golden: Golden, case: str) -> tuple[int, int]:
    width, height = golden[f"{case}/image_wh"].tolist()
    return height, width


def _training_picture(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[: size[0], : size[1]]
    levels = np.stack(
        [
            127 + 100 * np.sin(x / 23),
            127 + 100 * np.sin(y / 31),
            127 + 60 * np.sin((x + y) / 47),
        ],
        axis=-1,
    )
    return np.clip(levels, 0, 255).astype(np.uint8)


def _cases(golden: Golden) -> list[str]:
    return sorted({key.partition("/")[0] for key in golden.arrays if not key.startswith("meta/")})
