"""Poses stay within joint limits and mean the same on both sides."""

import numpy as np

from stages.sample.body import rest_body
from stages.sample.joint_angles import LIMITS, NEUTRAL, SIDE_LIMITS, bone_rotations, mirrored
from stages.sample.people import pose_person, sample_person
from stages.sample.pose_families import sample_angles

PERSON = sample_person(0, np.random.default_rng(0))


def test_angles_stay_within_the_limits() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        for name, value in sample_angles(rng).items():
            low, high = LIMITS.get(name) or SIDE_LIMITS[name[2:]]
            assert low <= value <= high, name


def test_bones_turn_without_stretching() -> None:
    rng = np.random.default_rng(2)
    rotations = np.stack([bone_rotations(sample_angles(rng), heading=33.0) for _ in range(50)])
    identity = np.einsum("nbij,nbkj->nbik", rotations, rotations)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_no_rotation_leaves_the_rest_pose() -> None:
    still = pose_person(PERSON, np.stack([np.eye(3)] * 24))
    ones = PERSON.bone_scales * 0 + 1
    average = pose_person(
        type(PERSON)(0, ones, PERSON.shape, PERSON.gender, PERSON.outfit),
        np.stack([np.eye(3)] * 24),
    )
    np.testing.assert_allclose(average.vertices(), rest_body().vertices, atol=1e-12)
    assert np.abs(still.vertices() - average.vertices()).max() > 0.01, "people differ in shape"


def test_a_mirrored_pose_is_the_mirror_image() -> None:
    angles = sample_angles(np.random.default_rng(3))
    names = ("lwri", "rwri", "lank", "rank", "lear", "rear", "nose")
    twins = ("rwri", "lwri", "rank", "lank", "rear", "lear", "nose")
    pose = pose_person(PERSON, bone_rotations(angles, heading=0.0)).points(names)
    other = pose_person(PERSON, bone_rotations(mirrored(angles), heading=0.0)).points(twins)
    np.testing.assert_allclose(other * [-1, 1, 1], pose, atol=1e-9)


def test_angles_mean_what_they_say() -> None:
    def posed(**changes: float) -> dict[str, np.ndarray]:
        angles = {**NEUTRAL, **changes}
        names = ("lwri", "lelb", "lsho", "lank", "lkne", "lhip", "head", "pelv")
        points = pose_person(PERSON, bone_rotations(angles, heading=0.0)).points(names)
        return dict(zip(names, points, strict=True))

    hanging = posed()
    assert hanging["lwri"][1] < hanging["lelb"][1] < hanging["lsho"][1]
    assert posed(l_arm_raise=170.0)["lelb"][1] > hanging["lsho"][1] + 0.1
    ahead = posed(l_arm_raise=90.0, l_arm_forward=90.0, l_elbow_flex=0.0)
    assert ahead["lwri"][2] > ahead["lsho"][2] + 0.3
    assert posed(l_knee_flex=90.0)["lank"][2] < hanging["lkne"][2] - 0.25, "knees bend backwards"
    assert posed(l_hip_flex=90.0)["lkne"][2] > hanging["lhip"][2] + 0.25
    assert posed(l_hip_abduct=40.0)["lkne"][0] > hanging["lkne"][0] + 0.15
    assert posed(trunk_flex=60.0)["head"][2] > hanging["head"][2] + 0.2


def test_poses_vary() -> None:
    rng = np.random.default_rng(4)
    wrists = np.stack(
        [
            pose_person(PERSON, bone_rotations(sample_angles(rng), heading=0.0)).points(
                ("lwri", "lank", "head")
            )
            for _ in range(150)
        ]
    )
    assert (wrists[:, :2].std(0).max(1) > 0.15).all()
    assert (wrists[:, 0, 1] > wrists[:, 2, 1]).mean() > 0.05, "some raise a hand over the head"
