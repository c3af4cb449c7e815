"""Taking one picture: who stands where, which camera sees them, and what is annotated of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.sample.annotations import (
    annotate,
    dataset_world,
    joint_visibility,
    surface_points_in_sight,
    surface_points_sketched,
)
from stages.sample.backgrounds import sample_place
from stages.sample.body import rest_body
from stages.sample.people import Person, PosedBody, outline_ids, pose_person, sample_person
from stages.sample.plans import PicturePlan, person_seed, picture_seed
from stages.sample.posepile_pickles import ExampleRecord
from stages.sample.poses import Angles, bone_rotations, sample_angles
from stages.sample.recipes import Recipe
from stages.sample.scenes import Scene, Sight, Solid, box, look, paint, visible_mask
from stages.sample.silhouettes import sketch_mask
from stages.sample.surface import Array
from stages.sample.viewpoints import View, crop_towards, upright_rotation

_CROP_LIMIT_PX = 450
_FULL_PERSON_PX = 370.0
_LEAST_VISIBLE = 0.4
_CUT_SHARE = 0.07


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene with its camera, before it is known what of it is visible."""

    people: tuple[PosedBody, ...]
    rotations: tuple[Array, ...]
    solids: tuple[Solid, ...]
    view: View


def take_picture(
    recipe: Recipe, plan: PicturePlan, *, seed: int, root: Path | None
) -> list[ExampleRecord]:
    """Compose, render, write and annotate one picture.

    Args:
        recipe: the dataset's.
        plan: who is in it.
        seed: of the whole sample; with the plan's number it decides everything.
        root: data root to write the picture below, or None to annotate without rendering.
    """
    pose_rng, look_rng, gap_rng = (
        np.random.default_rng(child)
        for child in picture_seed(recipe, plan.number, seed=seed).spawn(3)
    )
    shot = _compose(recipe, plan, pose_rng, seed=seed)
    path = image_path(recipe, plan)
    world = dataset_world(recipe, gap_rng)
    everybody = np.arange(len(shot.people))
    subjects = np.arange(len(plan.annotated))
    wanted = [everybody] * len(subjects) if recipe.mask_shows_everybody else list(subjects)
    if root is None:
        own_masks = [sketch_mask(shot.people[i], shot.view) for i in everybody]
        masks = [np.any([own_masks[i] for i in np.atleast_1d(w)], axis=0) for w in wanted]
        visibility = [None] * len(subjects)
        surface = [
            surface_points_sketched(shot.view, shot.people[i], gap_rng) if recipe.is_dense else None
            for i in subjects
        ]
    else:
        reach = float(np.abs(shot.view.position[[0, 2]]).max()) + 0.3
        place = sample_place(look_rng, reach=reach)
        flesh = tuple(posed.vertices() for posed in shot.people)
        scene, sight = _unobstructed(
            Scene(place, shot.people, flesh, shot.solids),
            shot.view,
            subjects,
            n=1 if plan.is_full else 2,
        )
        _write_jpeg(root / path, _develop(paint(scene, shot.view, sight), look_rng), look_rng)
        own_masks = [_own_mask(sight, shot, int(i)) for i in subjects]
        masks = [visible_mask(sight, shot.view, np.atleast_1d(w)) for w in wanted]
        visibility = [joint_visibility(sight, shot.view) for _ in subjects]
        surface = [
            surface_points_in_sight(sight, shot.view, shot.people[i], int(i), gap_rng)
            if recipe.is_dense
            else None
            for i in subjects
        ]
    return [
        annotate(
            recipe,
            posed=shot.people[i],
            rotations=shot.rotations[i],
            view=shot.view,
            split=plan.split,
            image_path=path,
            own_mask=own_masks[i],
            mask=masks[i],
            is_visible=visibility[i],
            surface=surface[i],
            rng=gap_rng,
            world=world,
        )
        for i in subjects
    ]


def image_path(recipe: Recipe, plan: PicturePlan) -> str:
    """Relative to the data root, laid out as PosePile does for each dataset."""
    number = plan.number
    if recipe.form.dimensions == 2:
        year = "val2014" if plan.split else "train2014"
        return f"{recipe.name}_downscaled/{year}/COCO_{year}_{number:012d}_00.jpg"
    if plan.is_full:
        return f"{recipe.name}_downscaled/full/img_{number:05d}.jpg"
    return f"{recipe.name}_downscaled/seq{number % 16}/img_{number:05d}.jpg"


def _unobstructed(scene: Scene, view: View, subjects: Array, *, n: int) -> tuple[Scene, Sight]:
    """The scene as it is, or without its things if they hide an annotated person."""
    sight = look(scene, view, supersampling=n)
    for i in subjects:
        whole = sketch_mask(scene.people[i], view).sum()
        if (sight.owners == i).sum() < _LEAST_VISIBLE * whole * n * n:
            bare = Scene(scene.place, scene.people, scene.flesh, ())
            return bare, look(bare, view, supersampling=n)
    return scene, sight


def _own_mask(sight: Sight, shot: Shot, person: int) -> Array:
    """Visible pixels, or the outline of somebody who is wholly hidden behind others."""
    mask: Array = visible_mask(sight, shot.view, np.array([person]))
    return mask if mask.any() else sketch_mask(shot.people[person], shot.view)


@functools.lru_cache(maxsize=512)
def _person(recipe_name: str, number: int, seed: int) -> Person:
    from stages.sample.recipes import RECIPES

    stream = person_seed(RECIPES[recipe_name], number, seed=seed)
    return sample_person(number, np.random.default_rng(stream))


def _compose(recipe: Recipe, plan: PicturePlan, rng: np.random.Generator, *, seed: int) -> Shot:
    azimuth = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(azimuth), 0.0, np.sin(azimuth)])
    sideways = np.array([-away[2], 0.0, away[0]])
    people: list[PosedBody] = []
    rotations: list[Array] = []
    solids: list[Solid] = []
    for order, number in enumerate((*plan.annotated, *plan.bystanders)):
        person = _person(recipe.name, number, seed)
        angles = sample_angles(rng)
        turned = bone_rotations(angles, heading=rng.uniform(0, 360))
        posed = pose_person(person, turned)
        spot = _spot(rng, order, away, sideways, is_bystander=order >= len(plan.annotated))
        lift = rng.uniform(0.05, 0.35) if rng.random() < 0.04 else 0.0
        ground = np.array([0.0, lift - posed.outline[:, 1].min(), 0.0])
        posed = posed.moved(spot + ground)
        people.append(posed)
        rotations.append(turned)
        if _is_seated(angles):
            solids.extend(_seat(posed, rng))
    view = _choose_view(recipe, plan, people, away, rng)
    solids.extend(_furniture(recipe, people[0], view, rng))
    return Shot(tuple(people), tuple(rotations), tuple(solids), view)


def _spot(
    rng: np.random.Generator, order: int, away: Array, sideways: Array, *, is_bystander: bool
) -> Array:
    """Where somebody stands: the first at the origin, others beside or behind them."""
    if order == 0:
        return np.zeros(3)
    if is_bystander:
        beside = rng.choice([-1.0, 1.0]) * rng.uniform(0.45, 1.4)
        nearer = -rng.uniform(0.8, 2.4)
    else:
        beside = (1.0 if order == 1 else -1.0) * rng.uniform(0.65, 1.05)
        nearer = rng.uniform(-0.6, 0.4)
    spot: Array = sideways * beside + away * nearer
    return spot


def _choose_view(
    recipe: Recipe,
    plan: PicturePlan,
    people: list[PosedBody],
    away: Array,
    rng: np.random.Generator,
) -> View:
    distance = rng.uniform(*recipe.distance_m)
    subjects = np.concatenate([p.outline for p in people[: len(plan.annotated)]])
    if plan.is_full:
        distance = max(distance, 1.9 * recipe.full_focal_px / _FULL_PERSON_PX)
    position = away * distance + [0.0, rng.uniform(*recipe.camera_height_m), 0.0]
    if plan.is_full:
        return _full_view(recipe, position, subjects, rng)
    roll = rng.normal(0, 0.12) if rng.random() < 0.15 else 0.0
    shift = rng.uniform(-0.35, 0.35, 2)
    if len(plan.annotated) == 1 and rng.random() < _CUT_SHARE:
        shift[rng.integers(2)] = rng.choice([-1.0, 1.0]) * rng.uniform(0.55, 0.70)
    return crop_towards(
        position,
        subjects,
        person_px=rng.uniform(*recipe.person_px) * (1.3 if len(plan.annotated) > 1 else 1.0),
        margin=rng.uniform(1.28, 1.65),
        shift=shift,
        roll=roll,
        limit_px=_CROP_LIMIT_PX,
    )


def _full_view(recipe: Recipe, position: Array, subjects: Array, rng: np.random.Generator) -> View:
    height, width = recipe.full_size
    middle = (subjects.min(0) + subjects.max(0)) / 2
    aim = upright_rotation(middle - position)
    off_center = rng.uniform(-0.5, 0.5, 2) * [0.35 * width, 0.18 * height] / recipe.full_focal_px
    rotation = upright_rotation(aim.T @ np.append(off_center, 1.0))
    focal = recipe.full_focal_px * rng.uniform(0.97, 1.03)
    center = np.array([width - 1, height - 1]) / 2 + rng.normal(0, 6, 2)
    intrinsics = np.array([[focal, 0, center[0]], [0, focal * 1.001, center[1]], [0, 0, 1.0]])
    distortion = None
    if recipe.distortion:
        distortion = np.zeros(8)
        distortion[: len(recipe.distortion)] = recipe.distortion
    return View(rotation, position, intrinsics, distortion, recipe.full_size)


def _is_seated(angles: Angles) -> bool:
    hips = [angles[f"{side}_hip_flex"] for side in "lr"]
    knees = [angles[f"{side}_knee_flex"] for side in "lr"]
    upright = abs(angles["lean_forward"]) < 16
    return upright and min(hips) > 62 and min(knees) > 45 and max(knees) < 122


def _seat(posed: PosedBody, rng: np.random.Generator) -> list[Solid]:
    pelvis = posed.outline[_pelvic()]
    top = float(pelvis[:, 1].min()) + 0.02
    if top < 0.15:
        return []
    forward = posed.bone_rotations[0] @ [0.0, 0.0, 1.0]
    heading = np.arctan2(forward[0], forward[2])
    depth = rng.uniform(0.3, 0.5)
    back = np.array([np.sin(heading), 0.0, np.cos(heading)])
    center = pelvis.mean(0) * [1, 0, 1] - 0.02 * back + [0, top / 2, 0]
    size = np.array([rng.uniform(0.35, 0.9), top, depth])
    return [box(center, size, yaw=heading, colour=rng.uniform(0.05, 0.8, 3))]


@functools.cache
def _pelvic() -> Array:
    body = rest_body()
    return np.flatnonzero(body.weights[outline_ids(), body.bone("pelv")] > 0.5)


def _furniture(
    recipe: Recipe, subject: PosedBody, view: View, rng: np.random.Generator
) -> list[Solid]:
    """Clutter behind, now and then something in front, and in behave a thing at hand."""
    solids: list[Solid] = []
    towards = view.position * [1, 0, 1]
    distance = float(np.linalg.norm(towards))
    towards = towards / distance
    sideways = np.array([-towards[2], 0.0, towards[0]])

    def put(center: Array, size: Array) -> None:
        yaw, colour = rng.uniform(0, np.pi), rng.uniform(0.05, 0.85, 3)
        solids.append(box(center, size, yaw=yaw, colour=colour))

    def put_down(where: Array, size: Array) -> None:
        put(where + np.array([0.0, size[1] / 2, 0.0]), size)

    for _ in range(int(rng.integers(0, 3))):
        size = rng.uniform(0.25, 0.9, 3) * [1, 1.2, 1]
        where = -towards * rng.uniform(0.9, 2.5) + sideways * rng.uniform(-1.6, 1.6)
        put_down(where, size)
    if rng.random() < 0.12:
        size = np.array([rng.uniform(0.15, 0.5), rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.5)])
        ahead = towards * rng.uniform(0.6, min(1.1, 0.45 * distance))
        where = ahead + sideways * rng.choice([-1, 1]) * rng.uniform(0.05, 0.35)
        put_down(where, size)
    if recipe.name == "behave" and rng.random() < 0.5:
        hand = subject.points((str(rng.choice(["lhan", "rhan"])),))[0]
        size = rng.uniform(0.10, 0.35, 3)
        forward = subject.bone_rotations[9] @ [0.0, 0.0, 1.0]
        put(hand + forward * size.max() * 0.4, size)
    return solids


def _develop(picture: Array, rng: np.random.Generator) -> Array:
    """What a sensor does: a little blur, noise, exposure."""
    developed = picture.astype(np.float32) * rng.uniform(0.85, 1.1) + rng.uniform(-8, 8)
    if rng.random() < 0.25:
        developed = cv2.GaussianBlur(developed, (0, 0), rng.uniform(0.5, 1.0))
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32) * rng.uniform(0.5, 5.0)
    return np.clip(developed + noise[..., None], 0, 255).astype(np.uint8)


def _write_jpeg(path: Path, picture: Array, rng: np.random.Generator) -> None:
    quality = int(rng.integers(85, 95))
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
