"""Taking one picture: compose, render, write, annotate."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.sample.annotations import Observed, annotate
from stages.sample.backgrounds import sample_place
from stages.sample.composition import Shot, compose, sample_world
from stages.sample.plans import PicturePlan, picture_seed
from stages.sample.recipes import Recipe
from stages.sample.records import ExampleRecord
from stages.sample.scenes import Scene, Sight, look, nearest_depths, paint, visible_mask
from stages.sample.silhouettes import sketch_mask
from stages.sample.surface import Array
from stages.sample.surface_points import points_in_sight, points_sketched

_LEAST_VISIBLE = 0.4


def take_picture(
    recipe: Recipe, plan: PicturePlan, *, seed: int, root: Path | None
) -> list[ExampleRecord]:
    """One picture and its examples.

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
    shot = compose(recipe, plan, seed=seed, rng=pose_rng)
    path = image_path(recipe, plan)
    world = sample_world(recipe, gap_rng)
    n_annotated = len(plan.annotated)
    if root is None:
        observed = _sketch(recipe, shot, n_annotated, gap_rng)
    else:
        scene, sight = _render(plan, shot, look_rng)
        _write_jpeg(root / path, _develop(paint(scene, shot.view, sight), look_rng), look_rng)
        observed = _observe(recipe, shot, sight, n_annotated, gap_rng)
    return [
        annotate(
            recipe,
            posed,
            view=shot.view,
            world=world,
            observed=seen,
            split=plan.split,
            image_path=path,
            rng=gap_rng,
        )
        for posed, seen in zip(shot.people, observed, strict=False)
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


def _sketch(
    recipe: Recipe, shot: Shot, n_annotated: int, rng: np.random.Generator
) -> list[Observed]:
    """Outlines instead of what is visible."""
    masks = [sketch_mask(posed, shot.view) for posed in shot.people]
    everybody = np.any(masks, axis=0) if recipe.mask_shows_everybody else None
    return [
        Observed(
            own_mask=mask,
            mask=mask if everybody is None else everybody,
            depths=None,
            surface=points_sketched(shot.view, posed, rng) if recipe.is_dense else None,
        )
        for mask, posed in zip(masks[:n_annotated], shot.people, strict=False)
    ]


def _render(plan: PicturePlan, shot: Shot, rng: np.random.Generator) -> tuple[Scene, Sight]:
    """What the camera sees, without the things if they hide an annotated person."""
    reach = float(np.abs(shot.view.position[[0, 2]]).max()) + 0.3
    flesh = tuple(posed.vertices() for posed in shot.people)
    scene = Scene(sample_place(rng, reach=reach), shot.people, flesh, shot.solids)
    sight = look(scene, shot.view)
    for person in range(len(plan.annotated)):
        whole = sketch_mask(shot.people[person], shot.view).sum()
        if (sight.owners == person).sum() < _LEAST_VISIBLE * whole:
            scene = Scene(scene.place, scene.people, scene.flesh, ())
            return scene, look(scene, shot.view)
    return scene, sight


def _observe(
    recipe: Recipe, shot: Shot, sight: Sight, n_annotated: int, rng: np.random.Generator
) -> list[Observed]:
    everybody = None
    if recipe.mask_shows_everybody:
        everybody = visible_mask(sight, shot.view, np.arange(len(shot.people)))
    depths = nearest_depths(sight, shot.view) if recipe.form.dimensions == 2 else None
    observed = []
    for person, posed in enumerate(shot.people[:n_annotated]):
        own = visible_mask(sight, shot.view, np.array([person]))
        if not own.any():  # wholly hidden behind somebody else
            own = sketch_mask(posed, shot.view)
        surface = None
        if recipe.is_dense:
            surface = points_in_sight(sight, shot.view, posed, person, rng)
        mask = own if everybody is None else everybody
        observed.append(Observed(own, mask, depths, surface))
    return observed


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
