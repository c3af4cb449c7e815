"""Examples are shown as training gets them: every label stays on the pixels that it labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cache.reader import Store
from pipeline.schema import Kind
from stages.train.canonical_body import CanonicalBody
from stages.train.settings import TrainSettings
from stages.view.augmented import read_augmented
from tests.stages.view.people import (
    DEPTH_M,
    HEAD,
    LANK,
    LWRI,
    PELV,
    RANK,
    ROW_EMPTY,
    ROW_PARTIAL,
    RWRI,
    SKELETON,
    make_store,
)

LEFT, RIGHT = (LWRI, LANK), (RWRI, RANK)
BODY = CanonicalBody(
    np.zeros((3, 3), np.float32),
    np.int32([[0, 1, 2]]),
    {name: np.zeros(3, np.float32) for name in SKELETON.joint_names},
)


def settings(**crop: object) -> TrainSettings:
    """The recipe, but what is pictured stays recognisable: only the geometry is augmented."""
    plain = TrainSettings()
    quiet = dict.fromkeys(
        ("occlude_aug_prob", "background_aug_prob", "background_aug_prob_real", "jpeg_aug_prob"),
        0.0,
    )
    changed = dataclasses.replace(plain.crop, color_aug=False, **{**quiet, **crop})  # type: ignore[arg-type]
    return dataclasses.replace(plain, crop=changed)


@pytest.fixture(scope="module", params=[Kind.KP3D, Kind.KP2D])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("people")
    return Store.open(make_store(folder, kind=request.param, mark_joints=True))


def test_every_label_stays_on_its_pixels_and_a_mirrored_left_is_a_right(store: Store) -> None:
    was_flipped, n_seen = set(), 0
    for seed in range(12):
        (example,) = read_augmented(store, "train", [0], settings=settings(), body=BODY, seed=seed)
        colours = {}
        for joint in np.flatnonzero(example.is_drawn & ~example.is_outside):
            x, y = np.clip(np.round(example.joints2d[joint]).astype(int), 0, 255)
            colours[int(joint)] = example.picture[y, x].astype(int)
        for joint in {PELV, HEAD} & colours.keys():
            assert colours[joint].min() > 200
        reds = {j: bool(c[0] > c[2] + 60) for j, c in colours.items() if j in LEFT + RIGHT}
        flips = {is_red != (joint in LEFT) for joint, is_red in reds.items()}
        assert len(flips) <= 1
        was_flipped |= flips
        n_seen += len(reds)
    assert was_flipped == {False, True}
    assert n_seen > 24


def test_the_same_seed_shows_the_same_example(store: Store) -> None:
    shown = [
        read_augmented(store, "train", [0], settings=settings(), body=BODY, seed=seed)[0]
        for seed in (1, 1, 2)
    ]
    assert (shown[0].picture == shown[1].picture).all()
    assert (shown[0].picture != shown[2].picture).any()


def test_depth_root_and_validity_come_along(store: Store) -> None:
    whole, partial = read_augmented(
        store, "train", [0, ROW_PARTIAL], settings=settings(geom_aug=False), body=BODY, seed=0
    )
    assert whole.validity.all()
    assert not partial.validity[HEAD]
    if store.attributes["kind"] == "kp3d":
        assert whole.root_index == PELV
        assert whole.depth_m == pytest.approx(DEPTH_M, rel=0.02)
        assert any(remark.startswith("f ") for remark in whole.remarks)


def test_what_training_leaves_out_says_why(store: Store) -> None:
    (rejected,) = read_augmented(
        store, "train", [ROW_EMPTY], settings=settings(), body=BODY, seed=0
    )
    assert rejected.status == "no_valid_point"
    bodiless = CanonicalBody(BODY.vertices, BODY.faces, {"nose": np.zeros(3, np.float32)})
    (unused,) = read_augmented(store, "train", [0], settings=settings(), body=bodiless, seed=0)
    assert (unused.status, unused.is_usable) == ("not_trained", False)
