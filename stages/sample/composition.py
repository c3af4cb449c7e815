"""Composing a picture: who stands where in which pose, what lies about, who looks from where."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from stages.sample.body import rest_body
from stages.sample.joint_angles import Angles, bone_rotations
from stages.sample.people import Person, PosedBody, outline_ids, pose_person, sample_person
from stages.sample.plans import PicturePlan, person_seed
from stages.sample.pose_families import sample_angles
from stages.sample.recipes import RECIPES, Recipe
from stages.sample.scenes import Solid, box
from stages.sample.surface import Array
from stages.sample.viewpoints import View, crop_towards, upright_rotation

_CROP_LIMIT_PX = 450
_FULL_PERSON_PX = 370.0
_CUT_SHARE = 0.07  # of the crops whose border runs through the person


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene with its camera, before it is known what of it is visible.

    Attributes:
        people: those annotated first, then the bystanders.
        solids: things.
        view: the camera.
    """

    people: tuple[PosedBody, ...]
    solids: tuple[Solid, ...]
    view: View


@dataclass(frozen=True, slots=True)
class DatasetWorld:
    """From our world (metres, y up) to one of a dataset's (millimetres, its own vertical).

    Attributes:
        rotation: float64 (3, 3).
        offset: float64 (3,), metres, after rotating.
    """

    rotation: Array
    offset: Array

    def millimetres(self, points: Array) -> Array:
        """Points float64 (N, 3) in the dataset's world, float32 (N, 3)."""
        moved = np.einsum("ij,nj->ni", self.rotation, points) + self.offset
        millimetres: Array = (1000.0 * moved).astype(np.float32)
        return millimetres


def sample_world(recipe: Recipe, rng: np.random.Generator) -> DatasetWorld:
    """Draw where a dataset's world has its origin and its x axis."""
    yaw = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    if recipe.world_up[1] < 0:
        turn = np.diag([1.0, -1.0, -1.0]) @ turn
    return DatasetWorld(turn, np.array([rng.uniform(-2, 2), 0.0, rng.uniform(-2, 2)]))


@functools.lru_cache(maxsize=1024)
def _person(recipe_name: str, number: int, seed: int) -> Person:
    stream = person_seed(RECIPES[recipe_name], number, seed=seed)
    return sample_person(number, np.random.default_rng(stream))


def compose(recipe: Recipe, plan: PicturePlan, *, seed: int, rng: np.random.Generator) -> Shot:
    """Pose the plan's people, put things around them and point a camera at them."""
    azimuth = rng.uniform(0, 2 * np.pi)
    towards_us = np.array([np.cos(azimuth), 0.0, np.sin(azimuth)])
    sideways = np.array([-towards_us[2], 0.0, towards_us[0]])
    people: list[PosedBody] = []
    solids: list[Solid] = []
    for order, number in enumerate((*plan.annotated, *plan.bystanders)):
        person = _person(recipe.name, number, seed)
        angles = sample_angles(rng)
        posed = pose_person(person, bone_rotations(angles, heading=rng.uniform(0, 360)))
        spot = _spot(rng, order, towards_us, sideways, is_bystander=order >= len(plan.annotated))
        lift = rng.uniform(0.05, 0.35) if rng.random() < 0.04 else 0.0
        ground = np.array([0.0, lift - posed.outline[:, 1].min(), 0.0])
        posed = posed.moved(spot + ground)
        people.append(posed)
        if _is_seated(angles):
            solids.extend(_seat(posed, rng))
    view = _choose_view(recipe, plan, people, towards_us, rng)
    solids.extend(_furniture(recipe, people[0], view, rng))
    return Shot(tuple(people), tuple(solids), view)


def _spot(
    rng: np.random.Generator, order: int, towards_us: Array, sideways: Array, *, is_bystander: bool
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
    spot: Array = sideways * beside + towards_us * nearer
    return spot


def _choose_view(
    recipe: Recipe,
    plan: PicturePlan,
    people: list[PosedBody],
    towards_us: Array,
    rng: np.random.Generator,
) -> View:
    distance = rng.uniform(*recipe.distance_m)
    subjects = np.concatenate([p.outline for p in people[: len(plan.annotated)]])
    if plan.is_full:
        distance = max(distance, 1.9 * recipe.full_focal_px / _FULL_PERSON_PX)
    position = towards_us * distance + [0.0, rng.uniform(*recipe.camera_height_m), 0.0]
    if plan.is_full:
        return _full_view(recipe, position, subjects, rng)
    roll = rng.normal(0, 0.12) if rng.random() < 0.15 else 0.0
    shift = rng.uniform(-0.35, 0.35, 2)
    if len(plan.annotated) == 1 and rng.random() < _CUT_SHARE:
        shift[rng.integers(2)] = rng.choice([-1.0, 1.0]) * rng.uniform(0.54, 0.64)
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
