"""What is written down about a person in a picture, with the gaps that real annotations have."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from stages.sample.body import rest_body
from stages.sample.people import PosedBody
from stages.sample.posepile_pickles import CameraRecord, ExampleRecord
from stages.sample.recipes import Recipe
from stages.sample.scenes import Sight
from stages.sample.surface import Array
from stages.sample.viewpoints import View

_HIDDEN_BEHIND_M = 0.35  # a joint lies inside the flesh, so it is always a little behind it
_SURFACE_POINTS = (100, 181)
_SURFACE_CANDIDATES = 480
_MASK_FORMS = ("counts", "zcounts", "list", "none")


def annotate(
    recipe: Recipe,
    *,
    posed: PosedBody,
    rotations: Array,
    view: View,
    split: int,
    image_path: str,
    own_mask: Array,
    mask: Array,
    is_visible: Any,
    surface: tuple[Array, Array, Array] | None,
    rng: np.random.Generator,
    world: tuple[Array, Array],
) -> ExampleRecord:
    """One example.

    Args:
        recipe: the dataset's.
        posed: the person.
        rotations: float64 (B, 3, 3) of the bones relative to their parents.
        view: camera.
        split: PosePile's number.
        image_path: relative to the data root.
        own_mask: bool (H, W), the person's visible pixels; the box is theirs.
        mask: bool (H, W), what the example's mask shows.
        is_visible: (pixels (J, 2), depths (J,)) -> bool (J,), or None if nothing is known.
        surface: the annotated surface points, dense datasets only.
        rng: decides the gaps.
        world: rotation (3, 3) and offset (3,) from our world to the dataset's, metres.
    """
    places = posed.points(recipe.point_names)
    bbox = _box(own_mask)
    encoded = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    counts = (bytes(encoded["counts"]), (view.size[0], view.size[1]))
    if recipe.form.dimensions == 2:
        joints = _pixels_with_gaps(places, view, is_visible, rng)
        return ExampleRecord(
            split=split,
            image_path=image_path,
            joints=joints,
            bbox=bbox,
            mask=None if rng.random() < 0.1 else counts,
            densepose=surface,
        )
    turn, offset = world
    is_sparse = bool(rng.random() < 0.25)
    form = "zcounts" if is_sparse else str(rng.choice(_MASK_FORMS, p=(0.62, 0.08, 0.15, 0.15)))
    camera = CameraRecord(
        rotation=(view.rotation @ turn.T).astype(np.float32),
        position=(1000.0 * (turn @ view.position + offset)).astype(np.float32),
        intrinsics=view.intrinsics.astype(np.float32),
        distortion=_coefficients(recipe, view),
        world_up=recipe.world_up.astype(np.float32),
    )
    joints = (1000.0 * (np.einsum("ij,nj->ni", turn, places) + offset)).astype(np.float32)
    parameters = None
    if recipe.parameters and rng.random() < 0.4:
        parameters = _parameters(recipe, posed, rotations, turn, rng)
    return ExampleRecord(
        split=split,
        image_path=image_path,
        joints=_with_gaps(recipe, joints, rng),
        bbox=bbox,
        camera=camera,
        mask=None if form == "none" else counts,
        mask_form=form,
        is_sparse=is_sparse,
        parameters=parameters,
    )


def joint_visibility(sight: Sight, view: View) -> Any:
    """A test for joints: not hidden behind anything by more than their own flesh."""
    height, width = view.size
    n = sight.supersampling
    nearest: Array = np.full(height * width * n * n, np.inf, np.float32)
    nearest[sight.fragments.pixels] = sight.fragments.depth
    nearest = nearest.reshape(height * n, width * n)

    def is_visible(pixels: Array, depths: Array) -> Array:
        x, y = np.round((np.nan_to_num(pixels) + 0.5) * n - 0.5).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width * n) & (y < height * n)
        seen = nearest[np.clip(y, 0, height * n - 1), np.clip(x, 0, width * n - 1)]
        visible: Array = inside & (seen > depths - _HIDDEN_BEHIND_M)
        return visible

    return is_visible


def surface_points_in_sight(
    sight: Sight, view: View, posed: PosedBody, person: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Some of a person's visible spots: pixels, vertex triplets, barycentric weights."""
    own = np.flatnonzero(sight.owners == person)
    count = min(int(rng.integers(*_SURFACE_POINTS)), len(own))
    chosen = np.sort(rng.choice(own, size=count, replace=False))
    faces = rest_body().faces
    triplets = faces[sight.fragments.faces[chosen] - person * len(faces)]
    return _located(view, posed, triplets, sight.fragments.barycentric[chosen])


def surface_points_sketched(
    view: View, posed: PosedBody, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """As `surface_points_in_sight`, judging visibility by a coarse map of the outline's depths."""
    faces = rest_body().faces
    cells = 40
    pixels, depth = view.project(posed.outline)
    low = pixels.min(0)
    scale = (cells - 1) / (pixels.max(0) - low).max()
    column, row = ((pixels - low) * scale).astype(int).T
    nearest = np.full((cells, cells), np.inf)
    np.minimum.at(nearest, (row, column), depth)
    candidates = rng.integers(0, len(faces), _SURFACE_CANDIDATES)
    corners, corner_depth = view.project(posed.vertices(faces[candidates].ravel()))
    a, b, c = corners.reshape(-1, 3, 2).transpose(1, 2, 0)
    cross = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
    middle = (a + b + c) / 3
    column, row = np.clip((middle - low[:, None]) * scale, 0, cells - 1).astype(int)
    seen = (cross < 0) & (corner_depth[::3] < nearest[row, column] + 0.08)
    seen &= (middle[0] > 1) & (middle[1] > 1)
    seen &= (middle[0] < view.size[1] - 2) & (middle[1] < view.size[0] - 2)
    chosen = candidates[seen][: int(rng.integers(*_SURFACE_POINTS))]
    return _located(view, posed, faces[chosen], rng.dirichlet((1.0, 1.0, 1.0), len(chosen)))


def _located(
    view: View, posed: PosedBody, triplets: Array, weights: Array
) -> tuple[Array, Array, Array]:
    weights = weights.astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    corners = posed.vertices(triplets.ravel()).reshape(-1, 3, 3)
    pixels, _ = view.project(np.einsum("nk,nkc->nc", weights, corners))
    return pixels.astype(np.float32), triplets.astype(np.int64), weights.astype(np.float32)


def _box(mask: Array) -> Array:
    """x, y, width, height of the covered pixels, float32 (4,)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = columns[0] - 0.5, rows[0] - 0.5
    width, height = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    return np.array([max(x, 0.0), max(y, 0.0), width, height], np.float32)


def _pixels_with_gaps(world: Array, view: View, is_visible: Any, rng: np.random.Generator) -> Array:
    pixels, depths = view.project(world)
    height, width = view.size
    inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(1)
    guessed = rng.random(len(pixels)) < 0.6  # annotators place some hidden joints all the same
    known = inside if is_visible is None else inside & (is_visible(pixels, depths) | guessed)
    known &= rng.random(len(pixels)) > 0.02
    return np.where(known[:, None], pixels, np.nan).astype(np.float32)


def _with_gaps(recipe: Recipe, joints: Array, rng: np.random.Generator) -> Array:
    names = recipe.skeleton.joint_names
    joints = joints.copy()
    if rng.random() < 0.08:
        joints[rng.choice(len(names), size=int(rng.integers(1, 5)), replace=False)] = np.nan
    if rng.random() < 0.04:
        joints[list(recipe.skeleton.root_candidates)] = np.nan
    if recipe.dropped_joints and rng.random() < 0.25:
        joints[[names.index(name) for name in recipe.dropped_joints]] = np.nan
    return joints


def dataset_world(recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """From our world (metres, y up) to one of the dataset's: rotation (3, 3) and offset (3,)."""
    yaw = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    if recipe.world_up[1] < 0:
        turn = np.diag([1.0, -1.0, -1.0]) @ turn
    return turn, np.array([rng.uniform(-2, 2), 0.0, rng.uniform(-2, 2)])


def _coefficients(recipe: Recipe, view: View) -> Array | None:
    if view.distortion is None:
        return None
    return view.distortion[: len(recipe.distortion)].astype(np.float32)


def _parameters(
    recipe: Recipe, posed: PosedBody, rotations: Array, turn: Array, rng: np.random.Generator
) -> dict[str, Any]:
    """Body-model parameters in the models' own layout: 24 rotations, or 22 with face and hands."""
    model = str(rng.choice(recipe.parameters))
    in_world = rotations.copy()
    in_world[0] = turn @ in_world[0]
    vectors = np.concatenate([cv2.Rodrigues(rotation)[0][:, 0] for rotation in in_world])
    width = {"smpl": 72, "smplh": 156, "smplx": 165}[model]
    pose = np.zeros(width, np.float32)
    used = 72 if model == "smpl" else 66
    pose[:used] = vectors[:used]
    return {
        "type": model,
        "gender": posed.person.gender,
        "pose": pose,
        "shape": posed.person.shape,
        "trans": (turn @ posed.points(("pelv",))[0]).astype(np.float32),
        "kid_factor": np.float32(0.0),
    }
