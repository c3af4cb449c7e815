"""The geometry behind the figures, on bodies and pictures made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.skeletons import skeleton_from_names
from stages.report import bones, pictures, sides
from stages.report.outlines import outline_contrast
from stages.report.reprojection import (
    box_offsets,
    box_size_ratios,
    boxes_outside,
    project_rows,
    share_in_mask,
    shares_in_box,
)
from stages.report.roles import bodies_of
from stages.report.settings import Limits, ReportSettings, SuspectBounds
from stages.report.tally import Tally

# A person who stands and faces the camera: x right, y down, z away from it; left is at the right.
BODY = {
    "pelv": (0, 0, 0),
    "lhip": (0.1, 0.05, 0),
    "rhip": (-0.1, 0.05, 0),
    "lkne": (0.12, 0.45, -0.06),
    "rkne": (-0.12, 0.45, -0.06),
    "lank": (0.12, 0.85, 0.02),
    "rank": (-0.12, 0.85, 0.02),
    "ltoe": (0.13, 0.92, -0.12),
    "rtoe": (-0.13, 0.92, -0.12),
    "lsho": (0.18, -0.5, 0),
    "rsho": (-0.18, -0.5, 0),
    "neck": (0, -0.52, 0),
    "head": (0, -0.65, -0.03),
    "nose": (0, -0.68, -0.14),
}
NAMES = tuple(BODY)
STANDING = np.array(list(BODY.values()), np.float64)
SKELETON = skeleton_from_names(
    NAMES, paths=["head-neck-pelv-rhip-rkne-rank-rtoe", "neck-rsho", "head-nose"]
)
N = 12
CROWD = STANDING + np.random.default_rng(0).normal(0, 0.01, (N, *STANDING.shape))
VALID = np.ones(CROWD.shape[:2], bool)
(PERSON,) = bodies_of(NAMES)


def rotation(rng: np.random.Generator) -> np.ndarray:
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def handedness(joints: np.ndarray, validity: np.ndarray = VALID) -> np.ndarray:
    evidence = sides.forward_evidence(CROWD, validity=VALID, body=PERSON)
    model = sides.fit_side_model(evidence)
    found = sides.forward_evidence(joints, validity=validity, body=PERSON)
    return sides.handedness(found, model)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 1000))
def test_handedness_knows_no_place_turn_or_size(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    moved = scale * (CROWD @ rotation(rng).T + rng.normal(0, 5, 3))
    assert np.allclose(handedness(moved), handedness(CROWD), atol=1e-6)
    assert (handedness(CROWD) > 0.7).all()


def test_swapping_sides_and_mirroring_turn_handedness_round() -> None:
    assert (handedness(CROWD[:, list(SKELETON.mirror)]) < -0.7).all()
    assert (handedness(CROWD * [-1, 1, 1]) < -0.7).all()
    # Both together are a person again, seen in a mirror and named as one sees it.
    assert (handedness(CROWD[:, list(SKELETON.mirror)] * [-1, 1, 1]) > 0.7).all()


def test_without_evidence_there_is_no_handedness() -> None:
    validity = VALID.copy()
    validity[0, [NAMES.index(n) for n in ("ltoe", "nose", "head", "lkne")]] = False
    found = handedness(CROWD, validity)
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()


@pytest.mark.parametrize("n_swapped", [0, 3, 9, 12])
def test_the_typical_person_is_learnt_from_any_mixture(n_swapped: int) -> None:
    mixed = CROWD.copy()
    mixed[:n_swapped] = mixed[:n_swapped][:, list(SKELETON.mirror)]
    evidence = sides.forward_evidence(mixed, validity=VALID, body=PERSON)
    model = sides.fit_side_model(evidence)
    assert ((sides.handedness(evidence, model) < 0) == (np.arange(N) < n_swapped)).all()


def test_hips_against_shoulders() -> None:
    order = np.arange(len(NAMES))
    left, right = NAMES.index("lhip"), NAMES.index("rhip")
    order[[left, right]] = right, left
    for joints, sign in ((CROWD, 1), (CROWD[:, order], -1)):
        cosine = sides.twist_cosine(joints, validity=VALID, body=PERSON)
        assert (sign * cosine > 0.9).all()


def test_skeletons_of_two_conventions_are_two_bodies() -> None:
    names = ["lhip", "rhip", "lhip_smplx", "rhip_smplx", "leyehf_smplx", "lfoo_coco", "thing"]
    found = bodies_of(names)
    assert [body.suffix for body in found] == ["", "_smplx"]
    assert found[1].joints == {"lhip": 2, "rhip": 3, "leye": 4}


def test_bones_of_any_unit_are_the_same_bones() -> None:
    lengths = bones.bone_lengths(CROWD, validity=VALID, edges=SKELETON.edges)
    model = bones.fit_bone_model(lengths)
    large = bones.bone_ratios(
        1000 * lengths, bones.body_sizes(1000 * lengths, model.length), model.length
    )
    factors, _ = bones.worst_factors(large)
    assert (factors < 1.4).all()
    spoilt = CROWD.copy()
    spoilt[4, NAMES.index("lkne")] += [0.0, 0.6, 0.0]
    lengths = bones.bone_lengths(spoilt, validity=VALID, edges=SKELETON.edges)
    ratios = bones.bone_ratios(lengths, bones.body_sizes(lengths, model.length), model.length)
    factors, worst = bones.worst_factors(ratios)
    assert factors.argmax() == 4 and factors[4] > 2
    assert NAMES.index("lkne") in SKELETON.edges[worst[4]]


def test_body_length_is_measured_along_the_bones() -> None:
    length = bones.body_lengths(STANDING[None], validity=VALID[:1], body=PERSON)
    leg = np.linalg.norm(STANDING[3] - STANDING[1]) + np.linalg.norm(STANDING[5] - STANDING[3])
    assert length[0] == pytest.approx(leg + 0.55)


def test_twin_bones_and_their_asymmetry() -> None:
    twins = bones.mirrored_edges(SKELETON)
    middle = SKELETON.edges.index(tuple(sorted((NAMES.index("neck"), NAMES.index("pelv")))))
    assert twins[middle] == -1
    assert all(twins[twins[n]] == n for n in range(len(twins)) if twins[n] >= 0)
    lengths = np.ones((1, len(twins)))
    lengths[0, twins.argmax()] = 2
    assert np.nanmax(bones.asymmetries(lengths, twins)) == pytest.approx(2 / 3)


def test_projection_of_rows_leaves_out_what_is_behind() -> None:
    points = np.array([[[0.5, 0.25, 2.0], [0.0, 0.0, -1.0], [0.0, 0.0, 4.0]]])
    pixels = project_rows(
        points,
        intrinsics=np.array([[[400.0, 0, 160], [0, 400, 120], [0, 0, 1]]]),
        distortion=np.zeros((1, 14)),
        validity=np.array([[True, True, False]]),
    )
    assert pixels[0, 0] == pytest.approx([260, 170])
    assert np.isnan(pixels[0, 1:]).all()


def test_boxes_against_points() -> None:
    pixels = np.array([[[10.0, 10], [50, 10], [10, 90], [50, 90], [900, 900]]])
    box, sizes = np.array([[10.0, 10, 40, 80]]), np.array([[100.0, 100]])
    assert box_offsets(pixels, box, sizes=sizes)[0] == pytest.approx(0)  # 900 is off the picture
    assert box_size_ratios(pixels, 2 * box, sizes=sizes)[0] == pytest.approx(2)
    assert shares_in_box(pixels, box, margin=0)[0] == pytest.approx(0.8)
    assert boxes_outside(box + np.array([50, 0, 0, 0]), sizes=sizes)[0] == pytest.approx(0)
    assert boxes_outside(box + np.array([70, 0, 0, 0]), sizes=sizes)[0] == pytest.approx(0.5)
    assert np.isnan(box_offsets(pixels[:, :2], box, sizes=sizes)[0])


def test_share_on_the_mask_counts_what_is_in_the_picture() -> None:
    distance = np.zeros((20, 20), np.float32)
    distance[:, 10:] = np.arange(1, 11)
    pixels = np.array([[1.0, 1], [9, 5], [12, 5], [19, 19], [400, 5], [np.nan, np.nan]])
    assert share_in_mask(pixels, distance, reach_px=3) == pytest.approx(0.75)
    assert np.isnan(share_in_mask(pixels[:2], distance, reach_px=3))


def person_picture(rng: np.random.Generator, centre: tuple[int, int]) -> tuple:
    mask = np.zeros((200, 160), np.uint8)
    cv2.ellipse(mask, centre, (25, 60), 15, 0, 360, 1, -1)
    picture = rng.integers(60, 110, (200, 160, 3)).astype(np.uint8)
    picture[mask == 1] += 90
    return picture, mask.astype(bool)


def test_an_outline_is_found_in_its_own_picture_only() -> None:
    rng = np.random.default_rng(2)
    picture, mask = person_picture(rng, (60, 100))
    _, other = person_picture(rng, (110, 110))
    assert outline_contrast(picture, mask) > 2
    assert outline_contrast(picture, other) < 1.4
    large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    assert outline_contrast(np.asarray(large), mask) > 2  # the mask is stretched to the picture
    assert np.isnan(outline_contrast(picture, np.zeros_like(mask)))
    assert np.isnan(outline_contrast(picture, np.ones_like(mask)))
    flat = np.full_like(picture, 128)
    assert outline_contrast(flat, mask) == pytest.approx(1)


def test_copies_have_other_names_and_leaks_other_splits() -> None:
    contents = np.array([5, 5, 6, 6, 0, 0, 7, 7], np.uint64)
    sources = np.array([1, 2, 3, 3, 4, 5, 6, 6], np.uint64)
    is_copied, first = pictures.copies(contents, sources)
    assert is_copied.tolist() == [True, True] + 6 * [False]
    assert first[:4].tolist() == [0, 0, 2, 2]
    splits = np.array([0, 0, 0, 0, 0, 1, 0, 1])
    shared = pictures.shared_between(contents, splits)
    assert np.flatnonzero(shared).tolist() == [6, 7]


def test_look_alikes_survive_another_size_and_light() -> None:
    rng = np.random.default_rng(3)
    coarse = [rng.integers(0, 200, (9, 8, 3)).astype(np.uint8) for _ in range(3)]
    large = [cv2.resize(c, (320, 360), interpolation=cv2.INTER_CUBIC) for c in coarse]
    twin = cv2.resize(large[0], (150, 170), interpolation=cv2.INTER_AREA) // 2 + 20
    bits = np.array([pictures.likeness_bits(np.asarray(p)) for p in [*large, twin]])
    assert pictures.near_copies(bits).tolist() == [3, -1, -1, 0]


def test_sizes_are_read_from_the_header() -> None:
    for suffix in (".jpg", ".png"):
        _, data = cv2.imencode(suffix, np.zeros((30, 50, 3), np.uint8))
        assert pictures.picture_size(data.tobytes()) == (50, 30)
    for broken in (b"", b"no picture", data.tobytes()[:10]):
        assert np.isnan(pictures.picture_size(broken)).all()


def test_a_tally_keeps_the_worst_of_all_blocks_and_a_bounded_sample() -> None:
    values = np.random.default_rng(4).normal(size=50_000)
    values[[7, 31_000, 49_999]] = 9, np.inf, 8
    values[11] = np.nan
    tallies = [Tally(low=-6, high=6, n_worst=2, seed=1) for _ in range(2)]
    for tally, size in zip(tallies, (1_000, 1_000), strict=True):
        for start in range(0, len(values), size):
            rows = np.arange(start, start + size)
            tally.add("train", rows, values[rows])
    first, second = tallies
    assert (first.n_measured, first.n_suspects) == (49_999, 3)
    assert [s.row for s in first.worst] == [31_000, 7]
    assert len(first.sample) == 4096
    assert first.percentile(50) == pytest.approx(0, abs=0.06)
    assert (first.sample == second.sample).all() and first.worst == second.worst


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="least_box_ratio must be below most_box_ratio"):
        ReportSettings(suspects=SuspectBounds(least_box_ratio=2.0))
    with pytest.raises(ValueError, match="least_median_box_ratio"):
        ReportSettings(limits=Limits(most_median_box_ratio=0.1))
    with pytest.raises(ValueError, match="thumbnail_side"):
        ReportSettings(thumbnail_side=4)


def test_every_threshold_is_written_in_params() -> None:
    from dataclasses import asdict

    from stages.settings import load_params, load_section

    written = load_params()["report"]
    assert written.keys() == asdict(ReportSettings()).keys()
    for section in ("suspects", "limits"):
        assert written[section] == asdict(ReportSettings())[section]
    assert load_section(ReportSettings, "report").limits == Limits()
