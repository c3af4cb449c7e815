"""What is written down about a person in a picture, with the gaps that real annotations have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from stages.sample.composition import DatasetWorld
from stages.sample.people import PosedBody
from stages.sample.recipes import Recipe
from stages.sample.records import CameraRecord, ExampleRecord
from stages.sample.surface import Array
from stages.sample.surface_points import SurfacePoints
from stages.sample.viewpoints import View

_HIDDEN_BEHIND_M = 0.35  # a joint lies inside the flesh, so it is always a little behind it
_GUESSED_SHARE = 0.6  # of the hidden joints are annotated all the same
_FORGOTTEN_SHARE = 0.02
_MASK_FORMS = {"counts": 0.62, "zcounts": 0.08, "list": 0.15, "none": 0.15}
_SPARSE_SHARE = 0.25
_BOX_MARGIN = 0.03  # of the box's side, on each side
_NO_MASK_SHARE = 0.1  # of 2D examples
_PARAMETERS_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Observed:
    """What a picture shows of one person.

    Attributes:
        own_mask: bool (H, W), the person's visible pixels.
        mask: bool (H, W), what the example's mask shows.
        depths: float32 (H, W), distance of what each pixel sees, metres; None where nothing was
            rendered.
        surface: annotated surface points, dense datasets only.
    """

    own_mask: Array
    mask: Array
    depths: Array | None
    surface: SurfacePoints | None


def annotate(
    recipe: Recipe,
    posed: PosedBody,
    *,
    view: View,
    world: DatasetWorld,
    observed: Observed,
    split: int,
    image_path: str,
    rng: np.random.Generator,
) -> ExampleRecord:
    """One example; `rng` decides its gaps."""
    places = posed.points(recipe.point_names)
    bbox = _box(observed.own_mask, view.project(places)[0])
    encoded = coco_mask.encode(np.asfortranarray(observed.mask.view(np.uint8)))
    mask = (bytes(encoded["counts"]), view.size)
    if recipe.form.dimensions == 2:
        return ExampleRecord(
            split=split,
            image_path=image_path,
            joints=_pixels_with_gaps(places, view, observed.depths, rng),
            bbox=bbox,
            mask=None if rng.random() < _NO_MASK_SHARE else mask,
            densepose=observed.surface,
        )
    is_sparse = bool(rng.random() < _SPARSE_SHARE)
    form = str(rng.choice(list(_MASK_FORMS), p=list(_MASK_FORMS.values())))
    form = "zcounts" if is_sparse else form
    has_parameters = bool(recipe.parameters) and rng.random() < _PARAMETERS_SHARE
    return ExampleRecord(
        split=split,
        image_path=image_path,
        parameters=_parameters(recipe, posed, world, rng) if has_parameters else None,
        joints=_with_gaps(recipe, world.millimetres(places), rng),
        bbox=bbox,
        camera=_camera(recipe, view, world),
        mask=None if form == "none" else mask,
        mask_form=form,
        is_sparse=is_sparse,
    )


def _box(mask: Array, joints: Array) -> Array:
    """x, y, width, height, float32 (4,), around what is seen of a person and their joints.

    Hidden joints count too, as annotators of such datasets draw whole people; joints beyond the
    picture don't. There is some room around, and the box ends where the picture does.
    """
    border = np.array(mask.shape[::-1]) - 0.5
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    seen = np.array([[columns[0] - 0.5, rows[0] - 0.5], [columns[-1] + 0.5, rows[-1] + 0.5]])
    points = np.concatenate([seen, joints[((joints > -0.5) & (joints < border)).all(1)]])
    low, high = points.min(0), points.max(0)
    margin = _BOX_MARGIN * (high - low)
    low, high = np.maximum(low - margin, 0.0), np.minimum(high + margin, border)
    return np.concatenate([low, high - low]).astype(np.float32)


def _pixels_with_gaps(
    places: Array, view: View, depths: Array | None, rng: np.random.Generator
) -> Array:
    pixels, distances = view.project(places)
    height, width = view.size
    inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(1)
    guessed = rng.random(len(pixels)) < _GUESSED_SHARE
    known = inside & (rng.random(len(pixels)) >= _FORGOTTEN_SHARE)
    if depths is not None:
        known &= guessed | _is_visible(pixels, distances, depths)
    return np.where(known[:, None], pixels, np.nan).astype(np.float32)


def _is_visible(pixels: Array, distances: Array, depths: Array) -> Array:
    """Whether joints are hidden behind nothing but their own flesh, bool (J,)."""
    x, y = np.round(pixels).astype(int).T
    seen = depths[np.clip(y, 0, depths.shape[0] - 1), np.clip(x, 0, depths.shape[1] - 1)]
    visible: Array = seen > distances - _HIDDEN_BEHIND_M
    return visible


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


def _camera(recipe: Recipe, view: View, world: DatasetWorld) -> CameraRecord:
    distortion = view.distortion
    if distortion is not None:
        distortion = distortion[: len(recipe.distortion)].astype(np.float32)
    return CameraRecord(
        rotation=(view.rotation @ world.rotation.T).astype(np.float32),
        position=world.millimetres(view.position[None])[0],
        intrinsics=view.intrinsics.astype(np.float32),
        distortion=distortion,
        world_up=recipe.world_up.astype(np.float32),
    )


def _parameters(
    recipe: Recipe, posed: PosedBody, world: DatasetWorld, rng: np.random.Generator
) -> dict[str, Any]:
    """Body-model parameters in the models' own layout: 24 rotations, or 22 with face and hands."""
    model = str(rng.choice(recipe.parameters))
    rotations = posed.relative_rotations()
    rotations[0] = world.rotation @ rotations[0]
    vectors = np.concatenate([cv2.Rodrigues(rotation)[0][:, 0] for rotation in rotations])
    width = {"smpl": 72, "smplh": 156, "smplx": 165}[model]
    pose = np.zeros(width, np.float32)
    used = 72 if model == "smpl" else 66
    pose[:used] = vectors[:used]
    return {
        "type": model,
        "gender": posed.person.gender,
        "pose": pose,
        "shape": posed.person.shape,
        "trans": world.millimetres(posed.points(("pelv",)))[0] / np.float32(1000.0),
        "kid_factor": np.float32(0.0),
    }
