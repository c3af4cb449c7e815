"""Every seeded label bug is found by the figure that ought to find it; sound data has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.stages.report import bugs
from tests.stages.report.conftest import FILES, Measure, breaches

SPACE = ("agora", "behave", "mads")
FLAT = ("coco", "densepose_coco")


Case = tuple[bugs.Bug, float, set[str]]


def crossed(datasets: tuple[str, ...], cases: tuple[Case, ...]) -> list[ParameterSet]:
    """Every case with every dataset; by default each case meets one of them, in turn."""
    return [
        pytest.param(
            dataset,
            *case,
            id=f"{case[0].__name__}-{case[1]}-{dataset}",
            marks=() if n % len(datasets) == d else pytest.mark.long,
        )
        for n, case in enumerate(cases)
        for d, dataset in enumerate(datasets)
    ]


@pytest.mark.parametrize("dataset", FILES)
def test_sound_data_with_pictures_has_no_finding(
    dataset: str, rendered: Path, measure: Measure
) -> None:
    figures = measure(dataset, rendered)
    assert breaches(figures) == set()
    assert figures["median_contrast"].value > 1.8


@pytest.mark.parametrize("dataset", FILES)
def test_sound_annotations_have_no_finding(
    dataset: str, unrendered: Path, measure: Measure
) -> None:
    assert breaches(measure(dataset, unrendered, images=False)) == set()


# The bug, in which share of the examples, and what must be among the findings.
IN_SPACE: tuple[Case, ...] = (
    (bugs.swapped_sides, 1.0, {"swapped_sides"}),
    (bugs.swapped_sides, 0.05, {"swapped_sides"}),
    (bugs.swapped_sides, 0.6, {"swapped_sides"}),
    (bugs.swapped_hips, 0.05, {"twisted_torso", "swapped_sides"}),
    (bugs.millimetres, 1.0, {"body_size", "depth"}),
    (bugs.millimetres, 0.02, {"body_size", "relative_size", "depth"}),
    (bugs.inches, 1.0, {"body_size"}),
    (bugs.box_doubled, 1.0, {"median_box_ratio", "box_misplaced", "box_wrong_size"}),
    (bugs.box_doubled, 0.05, {"box_misplaced", "box_wrong_size", "points_off_box"}),
    (bugs.box_halved, 0.05, {"box_misplaced", "box_wrong_size", "points_off_box"}),
    (bugs.long_focal_length, 1.0, {"median_on_mask", "points_off_mask"}),
    (bugs.camera_of_the_neighbour, 1.0, {"box_misplaced", "median_on_mask", "points_off_mask"}),
    (bugs.camera_of_the_neighbour, 0.1, {"box_misplaced", "points_off_mask"}),
    (bugs.mirrored_camera, 1.0, {"swapped_sides", "median_on_mask"}),
    (bugs.mirrored_camera, 0.05, {"swapped_sides"}),
    (bugs.behind_the_camera, 0.05, {"behind_camera", "depth"}),
    (bugs.shuffled_joints, 1.0, {"bone_spread", "asymmetry", "odd_bones"}),
    (bugs.shuffled_joints, 0.05, {"odd_bones"}),
    (bugs.points_off_by_one, 1.0, {"box_misplaced", "points_off_box", "median_on_mask"}),
    (bugs.points_and_boxes_off_by_one, 1.0, {"median_on_mask", "points_off_mask"}),
    (bugs.points_off_by_one, 0.1, {"box_misplaced", "points_off_mask"}),
    (bugs.lens_invented, 1.0, {"lens_preference"}),
    (bugs.one_pose, 1.0, {"pose_distance"}),
    (bugs.lost_joint, 1.0, {"rarest_joint"}),
)


IN_PICTURES: tuple[Case, ...] = (
    (bugs.swapped_sides, 1.0, {"near_foot_lower"}),
    (bugs.swapped_hips, 0.1, {"twisted_torso"}),
    (bugs.box_doubled, 1.0, {"median_box_ratio", "box_misplaced", "box_wrong_size"}),
    (bugs.box_doubled, 0.05, {"box_misplaced", "box_wrong_size", "points_off_box"}),
    (bugs.box_halved, 0.05, {"box_misplaced", "box_wrong_size", "points_off_box"}),
    (bugs.shuffled_joints, 1.0, {"asymmetry_2d"}),
    (bugs.shuffled_joints, 0.05, {"odd_bones_2d"}),
    (bugs.points_off_by_one, 1.0, {"box_misplaced", "points_off_box", "median_on_mask"}),
    (bugs.points_and_boxes_off_by_one, 1.0, {"median_on_mask", "points_off_mask"}),
    (bugs.one_pose, 1.0, {"pose_distance"}),
)


@pytest.mark.parametrize(
    ("dataset", "bug", "share", "expected"),
    [*crossed(SPACE, IN_SPACE), *crossed(FLAT, IN_PICTURES)],
)
def test_bugs_in_labels_are_found(
    dataset: str,
    bug: bugs.Bug,
    share: float,
    expected: set[str],
    unrendered: Path,
    measure: Measure,
) -> None:
    found = breaches(measure(dataset, unrendered, bug, share=share, images=False))
    assert expected <= found


def test_surface_points_tell_the_sides_of_joints(unrendered: Path, measure: Measure) -> None:
    for share in (1.0, 0.15):
        found = measure("densepose_coco", unrendered, bugs.swapped_sides, share=share, images=False)
        assert found["surface_sides"].is_breach
        assert found["surface_sides"].value == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("dataset", FILES)
def test_pictures_off_by_one_are_found_though_every_label_moved(
    dataset: str, rendered: Path, measure: Measure
) -> None:
    found = measure(dataset, rendered, bugs.pictures_off_by_one)
    assert {"median_contrast", "faint_outline", "mask_of_other_size"} <= breaches(found)
    assert found["median_contrast"].value < 1.2


def test_pictures_off_by_one_in_some_examples(rendered: Path, measure: Measure) -> None:
    found = measure("behave", rendered, bugs.pictures_off_by_one, share=0.2)
    assert {"faint_outline", "mask_of_other_size"} <= breaches(found)


@pytest.mark.parametrize(("share", "most"), [(1.0, 1.0), (0.3, 0.45)])
def test_the_share_of_swapped_examples_is_measured(
    share: float, most: float, unrendered: Path, measure: Measure
) -> None:
    swapped = measure("behave", unrendered, bugs.swapped_sides, share=share, images=False)
    assert share - 0.05 <= swapped["swapped_sides"].value <= most


def test_the_unit_is_named(unrendered: Path, measure: Measure) -> None:
    for bug, unit in ((bugs.millimetres, "millimetres"), (bugs.inches, "inches")):
        found = measure("mads", unrendered, bug, images=False)
        assert f"a person in {unit}" in found["body_size"].hint


def test_suspects_are_the_spoilt_examples(unrendered: Path, measure: Measure) -> None:
    spoilt: dict[str, set[int]] = {}

    def bug(split: bugs.Split) -> None:
        bugs.swapped_sides(split)
        spoilt[str(len(split.arrays["status"]))] = set(split.rows.tolist())

    found = measure("agora", unrendered, bug, share=0.03, images=False)["swapped_sides"]
    everything = set().union(*spoilt.values())
    assert found.n_suspects == sum(len(rows) for rows in spoilt.values())
    assert {suspect.row for suspect in found.suspects} <= everything
