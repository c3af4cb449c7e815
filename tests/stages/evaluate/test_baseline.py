"""The mean pose is the mean over what was annotated, placed at the true root."""

from __future__ import annotations

import numpy as np

from stages.evaluate.baseline import centers, mean_pose, place

POSES = np.array([[[0, 0, 5], [1, 0, 5], [0, 2, 5]], [[1, 1, 7], [4, 1, 7], [1, 1, 9]]], np.float32)
ALL = np.ones((2, 3), bool)


def test_the_mean_is_relative_to_the_root() -> None:
    pose = mean_pose(POSES, ALL, np.zeros(2, np.int32))
    np.testing.assert_allclose(pose, [[0, 0, 0], [2, 0, 0], [0, 1, 1]])


def test_without_a_root_the_valid_points_mean_stands_for_it() -> None:
    validity = np.array([[True, True, False], [True, True, True]])
    middle = centers(POSES, validity, np.array([-1, 0], np.int32))
    np.testing.assert_allclose(middle[:, 0], [[0.5, 0, 5], [1, 1, 7]])


def test_points_that_are_not_annotated_do_not_count() -> None:
    validity = np.array([[True, True, False], [True, False, False]])
    pose = mean_pose(POSES, validity, np.zeros(2, np.int32))
    np.testing.assert_allclose(pose, [[0, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_the_pose_is_placed_at_each_examples_own_root() -> None:
    pose = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
    placed = place(pose, np.array([[[0, 0, 5]], [[2, 0, 4]]], np.float32))
    np.testing.assert_allclose(placed, [[[0, 0, 5], [1, 1, 6]], [[2, 0, 4], [3, 1, 5]]])
