"""Checks of the geometry of crops, offline and in training."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.cameras import (
    Camera,
    make_camera,
    reproject,
    world_to_camera,
    world_to_image,
)
from pipeline.offline_crop import (
    OfflineCropSettings,
    crop_image,
    crop_points,
    encode_jpeg,
    plan_crop,
)
from pipeline.training_crop import (
    GeometryDraws,
    part_of_draws,
    pretended_camera,
    shift_in_disc,
    training_camera,
    training_camera_without_source,
)
from pipeline.warping import warp_image
from tests.golden.comparison import Golden

Floats = npt.NDArray[np.float64]

OFFLINE_SETTINGS = {
    "default": OfflineCropSettings(),
    "extreme": OfflineCropSettings(limit="nothing"),
    "exp0": OfflineCropSettings(expansion=0),
    "smart": OfflineCropSettings(limit="visible"),
}
# The reference turns its cameras in float32, in millimetres, at the cost of 1e-4 rad. Where it
# undistorts by OpenCV's five iterations, whole pictures move by up to 0.2 px.
OFFLINE = 2e-3
OFFLINE_INEXACT = 5e-3
TRAINING = 2e-3
PIXELS = 100.0  # magnitude to which errors in pixels are relative
MILLIMETRES = 1000.0


def check_offline_crops(golden: Golden) -> None:
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
        if f"{case}/probe_new" in golden:
            moved = crop_points(questions[f"{case}/probe_old"], crop)
            golden.compare(f"{case}/probe_new", moved, tolerance=tolerance, floor=PIXELS)
        if f"{case}/crop_image_rgb_after_jpeg" in golden:
            picture = crop_image(questions[f"{camera_name}/image_rgb"], crop, settings=settings)
            encoded = np.frombuffer(encode_jpeg(picture, settings=settings), np.uint8)
            decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
            _compare_pictures(golden, f"{case}/crop_image_rgb_after_jpeg", decoded, mean=1.2)


def check_training_crops(golden: Golden) -> None:
    if golden.path.stem.endswith("look_at_box"):
        _check_plain_cameras(golden)
        return
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
    """Where exactly the picture's middle lies is convention: half a source pixel is allowed."""
    if f"{case}/K" in golden:
        expected = golden[f"{case}/K"].astype(np.float64)
        half_pixel = 0.75 * camera.intrinsics[0, 0] / source.intrinsics[0, 0]
        assert np.abs(camera.intrinsics[:2, 2] - expected[:2, 2]).max() < half_pixel, case
        moved = camera.intrinsics.copy()
        moved[:2, 2] = expected[:2, 2]
        golden.compare(f"{case}/K", moved, tolerance=TRAINING, floor=PIXELS)


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
        expected = arrays[answer]
        for question in questions:
            for candidate in _candidates2d(golden, case, question, source, camera, draws):
                if candidate.shape == expected.shape and (
                    np.abs(np.nan_to_num(candidate - expected)).max(initial=0) < 5
                ):
                    golden.seen.add(f"{case}/{question}")
                    golden.compare(f"{case}/{answer}", candidate, tolerance=TRAINING, floor=PIXELS)
                    break


def _candidates2d(
    golden: Golden,
    case: str,
    question: str,
    source: Camera,
    camera: Camera,
    draws: GeometryDraws,
) -> list[Floats]:
    """The question's points in the crop: all, without the discarded ones, with zeros for those."""
    as_given = golden.arrays[f"{case}/{question}"].astype(np.float64)
    orders = [as_given]
    for match in golden.matching(r"meta/mirror_mapping.*"):
        if draws.flip and len(golden.arrays[match[0]]) == len(as_given):
            orders.append(as_given[golden[match[0]]])
    height, _ = _height_width(golden, case)
    found = []
    for points in orders:
        moved = reproject(points, source, camera)
        visible = np.isfinite(points).all(axis=1) & ~(points[:, 1] > 0.95 * height)
        not_negative = visible & (points >= 0).all(axis=1)
        found.append(moved)
        for kept in (visible, not_negative):
            found += [moved[kept], np.where(kept[:, np.newaxis], moved, 0.0)]
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
