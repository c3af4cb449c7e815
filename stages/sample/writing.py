"""Writing the whole sample: pictures by many processes, then the pickles, last of all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from errors import BusyError, ConfigError
from stages.sample.body import rest_body
from stages.sample.pictures import take_picture
from stages.sample.plans import PicturePlan, plan_pictures
from stages.sample.posepile_pickles import write_pickle
from stages.sample.recipes import RECIPES, Recipe
from stages.sample.records import ExampleRecord
from stages.sample.settings import SampleSettings

MARKER_NAME = ".poseshard-sample"
_PICTURES_PER_TASK = {True: 8, False: 64}


def write_sample(
    settings: SampleSettings, *, with_images: bool = True, progress: bool = True
) -> None:
    """Make the five sample datasets and the body mesh below `settings.out`.

    The same settings give the same bytes, whatever `jobs` is. A pickle appears only when all of
    its pictures are there, so a run that was cut short is never taken for a whole one.

    Args:
        settings: where, how much, which seed.
        with_images: False leaves out the pictures and annotates outlines instead of what is seen.
        progress: show a bar per dataset on standard error.

    Raises:
        ConfigError: the folder holds pickles that are not a sample's; they are left alone.
        BusyError: another process is making a sample there.
    """
    with _claimed(settings.out):
        _write(settings, with_images=with_images, progress=progress)


def _write(settings: SampleSettings, *, with_images: bool, progress: bool) -> None:
    out = settings.out
    for recipe in RECIPES.values():
        (out / recipe.file_name).unlink(missing_ok=True)
    write_body(out / "body.npz")
    jobs = settings.jobs or joblib.cpu_count()
    for recipe in RECIPES.values():
        count = settings.count(recipe.name)
        plans = plan_pictures(recipe, examples=count, seed=settings.seed)
        root = out if with_images else None
        records: list[ExampleRecord] = []
        with tqdm(total=count, desc=recipe.name, unit="example", disable=not progress) as bar:
            for taken in _take_all(recipe, plans, seed=settings.seed, root=root, jobs=jobs):
                records.extend(taken)
                bar.update(len(taken))
        write_pickle(out / recipe.file_name, records, skeleton=recipe.skeleton, form=recipe.form)


def write_body(path: Path) -> None:
    """The rest body as arrays: vertices, faces and every joint of the five datasets by name."""
    body = rest_body()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                canonical_vertices=body.vertices.astype(np.float32),
                faces=body.faces.astype(np.int32),
                joint_names=np.array(list(body.points)),
                canonical_joints=np.stack([p for _, p in body.points.values()]).astype(np.float32),
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Mark the folder as a sample's and hold it, unless somebody's own pickles lie there."""
    marker = out / MARKER_NAME
    if not marker.exists():
        for recipe in RECIPES.values():
            path = out / recipe.file_name
            if path.exists():
                raise ConfigError(
                    "refusing to overwrite a pickle that is not a sample",
                    where=str(path),
                    cause="the folder holds datasets that `cli.py sample` did not make",
                    next_command="choose another folder with --out",
                )
    out.mkdir(parents=True, exist_ok=True)
    with marker.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                "another process is making a sample in this folder",
                where=str(out),
                next_command="wait until it is done, or choose another folder with --out",
            ) from error
        file.truncate(0)
        file.write("Made by `cli.py sample`, which may replace everything here.\n")
        file.flush()
        yield


def _take_all(
    recipe: Recipe, plans: list[PicturePlan], *, seed: int, root: Path | None, jobs: int
) -> Iterator[list[ExampleRecord]]:
    """The records of all pictures in the plan's order, a few pictures at a time."""
    step = _PICTURES_PER_TASK[root is not None]
    tasks = (
        joblib.delayed(_take_some)(recipe.name, plans[i : i + step], seed, root)
        for i in range(0, len(plans), step)
    )
    taken: Iterator[list[ExampleRecord]] = joblib.Parallel(
        n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs"
    )(tasks)
    yield from taken


def _take_some(
    recipe_name: str, plans: list[PicturePlan], seed: int, root: Path | None
) -> list[ExampleRecord]:
    cv2.setNumThreads(1)  # the other cores have pictures of their own
    recipe = RECIPES[recipe_name]
    return [record for plan in plans for record in take_picture(recipe, plan, seed=seed, root=root)]
