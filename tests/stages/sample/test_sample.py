"""The sample's promises: same seed same bytes, nobody in two splits, true annotations."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from test_posepile_pickles import _load

from errors import BusyError, ConfigError
from pipeline.datasets import DATASETS
from stages.sample import SampleSettings, write_sample, writing
from stages.sample.pictures import take_picture
from stages.sample.plans import plan_pictures
from stages.sample.recipes import RECIPES

HELD_OUT = {"agora": 1, "behave": 2, "coco": 1}


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def _examples(root: Path, name: str) -> list[Any]:
    splits = _load(root / RECIPES[name].file_name).examples
    return [example for split in (0, 1, 2) for example in splits[split]]


def _coords(example: Any) -> np.ndarray:
    if not hasattr(example, "world_coords"):
        return np.asarray(example.coords)
    coords = example.world_coords
    if isinstance(coords, np.ndarray):
        return coords
    dense = np.full(coords.shape, np.nan, np.float32)
    dense[coords.i_valid_joints] = coords.valid_coords
    return dense


def _pixels(example: Any) -> np.ndarray:
    coords = _coords(example)
    if not hasattr(example, "world_coords"):
        return coords
    camera = example.camera
    local = (coords - camera.t) @ camera.R.T
    known = np.isfinite(local).all(1)
    pixels = np.full((len(local), 2), np.nan)
    pixels[known] = cv2.projectPoints(
        local[known].astype(float), np.zeros(3), np.zeros(3),
        camera.intrinsic_matrix.astype(float), camera.distortion_coeffs,
    )[0][:, 0]  # fmt: skip
    return pixels


def _mask(example: Any) -> np.ndarray | None:
    mask = example.mask[0] if isinstance(example.mask, list) else example.mask
    if mask is None:
        return None
    counts = mask["counts"] if "counts" in mask else zlib.decompress(mask["zcounts"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools and NumPy 2
        return np.asarray(coco_mask.decode({"size": mask["size"], "counts": counts}), bool)


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    for folder, jobs in (("one", 1), ("two", 2)):
        settings = SampleSettings(out=tmp_path / folder, examples=2, seed=7, jobs=jobs)
        write_sample(settings, progress=False)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_unrendered_samples_are_deterministic_too(tmp_path: Path) -> None:
    for folder, jobs, seed in (("one", 1, 7), ("two", 2, 7), ("other", 1, 8)):
        settings = SampleSettings(out=tmp_path / folder, examples=70, seed=seed, jobs=jobs)
        write_sample(settings, with_images=False, progress=False)
    one, two, other = (_files(tmp_path / folder) for folder in ("one", "two", "other"))
    assert one == two
    assert one != other and one["body.npz"] == other["body.npz"]


def test_what_is_drawn_does_not_depend_on_the_count_before_it() -> None:
    """Pictures have seeds of their own, not a share of one stream."""
    recipe = RECIPES["mads"]
    plan = plan_pictures(recipe, examples=30, seed=1)[11]
    first, second = (take_picture(recipe, plan, seed=1, root=None)[0] for _ in range(2))
    np.testing.assert_array_equal(first.joints, second.joints)
    third = take_picture(recipe, plan, seed=2, root=None)[0]
    assert np.nanmax(np.abs(first.joints - third.joints)) > 1.0


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("count", [1, 2, 5, 600, 5264])
def test_nobody_is_in_two_splits_and_no_example_is_lost(name: str, count: int) -> None:
    plans = plan_pictures(RECIPES[name], examples=count, seed=1)
    assert sum(len(plan.annotated) for plan in plans) == count
    assert [plan.number for plan in plans] == list(range(len(plans)))
    people: dict[int, set[int]] = {}
    sizes: dict[int, int] = {}
    for plan in plans:
        people.setdefault(plan.split, set()).update(plan.annotated, plan.bystanders)
        sizes[plan.split] = sizes.get(plan.split, 0) + len(plan.annotated)
    held_out = HELD_OUT.get(name)
    assert set(sizes) <= {0, held_out}
    if held_out and count >= 5:
        assert sizes[held_out] == round(0.2 * count)
        assert not people[0] & people[held_out]


@pytest.mark.parametrize("name", RECIPES)
def test_every_picture_is_there_and_has_its_masks_size(name: str, sample_root: Path) -> None:
    examples = _examples(sample_root, name)
    assert len(examples) == 9
    for example in examples:
        assert example.image_path.startswith(f"{name}_downscaled/")
        picture = cv2.imread(str(sample_root / example.image_path))
        assert picture is not None and picture.std() > 10
        mask = _mask(example)
        if mask is not None:
            assert mask.shape == picture.shape[:2]
        x, y, w, h = example.bbox.astype(float)
        assert x >= 0 and y >= 0 and w > 5 and h > 5
        assert x + w <= picture.shape[1] + 2 and y + h <= picture.shape[0] + 2


@pytest.mark.parametrize("name", RECIPES)
def test_the_box_holds_the_joints_that_the_picture_holds(name: str, unrendered_root: Path) -> None:
    for example in _examples(unrendered_root, name):
        mask = _mask(example)
        if mask is None:
            continue
        pixels = _pixels(example)
        x, y, width, height = example.bbox.astype(float)
        within = ((pixels > -0.5) & (pixels < np.array(mask.shape[::-1]) - 0.5)).all(1)
        low, high = np.array([x, y]) - 0.51, np.array([x + width, y + height]) + 0.51
        assert ((pixels[within] >= low) & (pixels[within] <= high)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_joints_lie_in_the_person(name: str, unrendered_root: Path) -> None:
    inside, total = 0, 0
    for example in _examples(unrendered_root, name):
        mask = _mask(example)
        if mask is None:
            continue
        pixels = np.round(_pixels(example))
        known = np.isfinite(pixels).all(1)
        x, y = pixels[known].astype(int).T
        seen = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        inside += int(mask[y[seen], x[seen]].sum())
        total += int(seen.sum())
    assert inside / total > 0.93


def test_gaps_and_forms_are_those_of_real_files(unrendered_root: Path) -> None:
    for name in ("agora", "behave", "mads"):
        examples = _examples(unrendered_root, name)
        missing = np.isnan(np.stack([_coords(example) for example in examples])).any(-1)
        roots = list(DATASETS[name].skeleton.root_candidates)
        assert 0 < missing[:, roots].all(1).sum() < 30, "some have no pelvis"
        assert 0.02 < missing.any(1).mean() < 0.6
        sparse = np.mean([not isinstance(e.world_coords, np.ndarray) for e in examples])
        assert 0.15 < sparse < 0.35
        forms = {"list" if isinstance(e.mask, list) else str(e.mask and sorted(e.mask)[0])
                 for e in examples}  # fmt: skip
        assert forms == {"None", "list", "counts", "size"} or len(forms) >= 3
        assert {e.bbox.dtype for e in examples} == {np.dtype("f2"), np.dtype("f4")}
    mads = _examples(unrendered_root, "mads")
    names = DATASETS["mads"].skeleton.joint_names
    left_out = [names.index(name) for name in ("ltoe", "rtoe", "lhan", "rhan")]
    takes = np.isnan(np.stack([_coords(e) for e in mads])[:, left_out]).any(-1).all(1)
    assert 0.12 < takes.mean() < 0.4
    for name, count in (("behave", 8), ("mads", 5)):
        lenses = [e.camera.distortion_coeffs for e in _examples(unrendered_root, name)]
        assert {len(lens) for lens in lenses if lens is not None} == {count}
    coco = np.stack([_coords(e) for e in _examples(unrendered_root, "coco")])
    assert 0.01 < np.isnan(coco).any(-1).mean() < 0.3


def test_some_people_share_a_picture_and_its_camera(unrendered_root: Path) -> None:
    by_path: dict[str, list[Any]] = {}
    for example in _examples(unrendered_root, "agora"):
        by_path.setdefault(example.image_path, []).append(example)
    shared = [examples for examples in by_path.values() if len(examples) > 1]
    assert shared
    for first, *others in shared:
        for other in others:
            np.testing.assert_array_equal(first.camera.R, other.camera.R)
            np.testing.assert_array_equal(first.camera.t, other.camera.t)
            assert np.abs(first.bbox - other.bbox).max() > 5


@pytest.mark.parametrize(("name", "up"), [("agora", -1), ("behave", -1), ("mads", 1)])
def test_the_world_is_upright(name: str, up: int, unrendered_root: Path) -> None:
    names = DATASETS[name].skeleton.joint_names
    head, feet = names.index("head"), names.index("lank")
    heights = []
    for example in _examples(unrendered_root, name):
        np.testing.assert_array_equal(example.camera.world_up, [0, up, 0])
        np.testing.assert_allclose(np.linalg.det(example.camera.R), 1.0, atol=1e-5)
        coords = _coords(example)
        heights.append((coords[head] - coords[feet]) @ example.camera.world_up)
    assert 1000 < np.nanmedian(heights) < 1800


def test_surface_points_belong_to_the_mesh_and_the_person(sample_root: Path) -> None:
    body = np.load(sample_root / "body.npz")
    n_vertices = len(body["canonical_vertices"])
    faces = {tuple(sorted(face)) for face in body["faces"].tolist()}
    for example in _examples(sample_root, "densepose_coco"):
        pixels, triplets, weights = example.densepose
        assert pixels.dtype == weights.dtype == np.float32 and triplets.dtype == np.int64
        assert 20 < len(pixels) == len(triplets) == len(weights) <= 180
        assert triplets.min() >= 0 and triplets.max() < n_vertices < 6890
        assert {tuple(sorted(triplet)) for triplet in triplets.tolist()} <= faces
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
        mask = _mask(example)
        if mask is not None:
            x, y = np.round(pixels).astype(int).T
            near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
            assert near[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)].all()


def test_the_body_file_names_every_joint(sample_root: Path) -> None:
    body = np.load(sample_root / "body.npz")
    assert body["canonical_vertices"].dtype == body["canonical_joints"].dtype == np.float32
    assert body["faces"].dtype == np.int32
    assert body["canonical_joints"].shape == (len(body["joint_names"]), 3)
    named = {joint for dataset in DATASETS.values() for joint in dataset.skeleton.joint_names}
    assert named <= set(body["joint_names"].tolist())


def test_somebody_elses_pickles_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "behave.pkl").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="refusing to overwrite"):
        write_sample(SampleSettings(out=tmp_path, examples=1), progress=False)
    assert _files(tmp_path) == {"behave.pkl": b"precious"}


def test_two_runs_do_not_mix_in_one_folder(tmp_path: Path) -> None:
    settings = SampleSettings(out=tmp_path, examples=1, jobs=1)
    with (
        writing._claimed(tmp_path),
        pytest.raises(BusyError, match="another process"),
    ):
        write_sample(settings, with_images=False, progress=False)
    write_sample(settings, with_images=False, progress=False)
    assert len(list(tmp_path.glob("*.pkl"))) == 5


def test_a_run_that_is_cut_short_leaves_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SampleSettings(out=tmp_path, examples=4, seed=1, jobs=1)
    write_sample(settings, with_images=False, progress=False)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_pickle", fail)
    with pytest.raises(KeyboardInterrupt):
        write_sample(settings, with_images=False, progress=False)
    assert not list(tmp_path.glob("*.pkl"))


def test_counts_can_differ_by_dataset(tmp_path: Path) -> None:
    counts = {"agora": 3, "behave": 5}
    settings = SampleSettings(out=tmp_path, examples=2, examples_per_dataset=counts, jobs=1)
    write_sample(settings, with_images=False, progress=False)
    found = {name: len(_examples(tmp_path, name)) for name in RECIPES}
    assert found == {"agora": 3, "behave": 5, "mads": 2, "coco": 2, "densepose_coco": 2}
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"examples": 0}, "at least 1"),
        ({"examples_per_dataset": {"agora": 0}}, "at least 1"),
        ({"examples_per_dataset": {"agoro": 3}}, "unknown dataset 'agoro'"),
        ({"seed": -1}, "seed"),
        ({"jobs": -2}, "jobs"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleSettings(**settings)


def test_the_projects_own_settings_are_valid() -> None:
    from stages.settings import load_section

    settings = load_section(SampleSettings, "sample")
    assert settings.examples >= 1 and settings.out.is_absolute()
