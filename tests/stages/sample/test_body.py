"""The rest body is a closed, symmetric person with every joint that a dataset names."""

import numpy as np
import pytest

from pipeline.datasets import DATASETS
from stages.sample.body import _flesh_distance, rest_body
from stages.sample.recipes import RECIPES

BODY = rest_body()
FLIP = np.array([-1.0, 1.0, 1.0])


def test_the_mesh_is_closed_and_faces_outwards() -> None:
    edges = np.concatenate([BODY.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges), "an edge is used twice in one direction"
    assert {(b, a) for a, b in forward} == forward, "an edge has no neighbour"
    a, b, c = (BODY.vertices[BODY.faces[:, i]] for i in range(3))
    litres = 1000 * np.einsum("ij,ij->", np.cross(a, b), c) / 6
    assert 55 < litres < 95


def test_fewer_vertices_than_smpl() -> None:
    assert len(BODY.vertices) < 6890


def test_left_and_right_are_mirror_images_to_the_last_bit() -> None:
    np.testing.assert_array_equal(BODY.vertices[BODY.mirror] * FLIP, BODY.vertices)
    np.testing.assert_array_equal(BODY.mirror[BODY.mirror], np.arange(len(BODY.mirror)))
    for name, (_, place) in BODY.points.items():
        twin = {"l": "r", "r": "l"}.get(name[0], name[0]) + name[1:]
        np.testing.assert_array_equal(BODY.points[twin][1] * FLIP, place, err_msg=name)


def test_skin_weights_are_a_partition_and_symmetric() -> None:
    np.testing.assert_allclose(BODY.weights.sum(1), 1.0, atol=1e-12)
    twins = [
        BODY.bone({"l": "r", "r": "l"}.get(name[0], name[0]) + name[1:]) for name in BODY.bone_names
    ]
    np.testing.assert_allclose(BODY.weights[BODY.mirror][:, twins], BODY.weights, atol=1e-12)


def test_no_flesh_follows_a_limb_of_the_other_side() -> None:
    left = [i for i, name in enumerate(BODY.bone_names) if name[0] == "l" and name != "lcla"]
    far_right = BODY.vertices[:, 0] < -0.1
    assert BODY.weights[far_right][:, left].max() < 1e-6


@pytest.mark.parametrize("name", DATASETS)
def test_every_joint_of_every_dataset_has_a_place_inside_the_flesh(name: str) -> None:
    places = np.array([BODY.points[point][1] for point in RECIPES[name].point_names])
    distance = _flesh_distance(np.abs(places) * [1, 0, 0] + places * [0, 1, 1])
    assert distance.max() < 0.02, "noses and ears may lie on the skin"


def test_every_joint_can_be_looked_up_by_its_own_and_by_its_merged_name() -> None:
    for name in DATASETS["mads"].skeleton.joint_names:
        assert {name, f"{name}_mads"} <= set(BODY.points)
    for name in DATASETS["coco"].skeleton.joint_names:
        assert {name, f"{name}_coco"} <= set(BODY.points)
        np.testing.assert_array_equal(BODY.points[name][1], BODY.points[f"{name}_coco"][1])
    for name in ("agora", "behave"):
        assert set(DATASETS[name].skeleton.joint_names) <= set(BODY.points)


def test_axes_are_those_of_smpl() -> None:
    place = {name: at for name, (_, at) in BODY.points.items()}
    assert place["lwri"][0] > 0.5, "x points to the body's left"
    assert place["head"][1] > 0.4 > -0.4 > place["lank"][1], "y points up"
    assert place["nose"][2] > place["head"][2] and place["ltoe"][2] > place["lank"][2]
