"""The label bugs of published converters, as changes to a sound data set's columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.columns import DatasetColumns, Ragged, SplitColumns
from pipeline.skeletons import Skeleton

Arrays = dict[str, np.ndarray[Any, Any]]
JOINTS = ("coords3d", "coords2d", "joints2d")
VALIDITY = {"joints2d": "joint_validity"}


@dataclass
class Split:
    """One split to be changed in place: arrays, ragged columns, and which rows to spoil."""

    arrays: Arrays
    ragged: dict[str, Ragged]
    skeleton: Skeleton
    rows: np.ndarray[Any, Any]

    @property
    def joints(self) -> str:
        """Name of the column that holds the named joints."""
        n_joints = len(self.skeleton.joint_names)
        return next(n for n in JOINTS if n in self.arrays and self.arrays[n].shape[1] == n_joints)

    @property
    def validity(self) -> str:
        return VALIDITY.get(self.joints, "point_validity")

    def reorder(self, order: Any, rows: Any) -> None:
        for name in (self.joints, self.validity):
            self.arrays[name][rows] = self.arrays[name][rows][:, order]
        self.drop_root()

    def drop_root(self) -> None:
        self.arrays["root_index"][:] = -1


Bug = Callable[[Split], None]


def with_bug(columns: DatasetColumns, bug: Bug, *, share: float, seed: int = 5) -> DatasetColumns:
    """The same data set with a bug in a seeded share of the rows of every split."""
    rng = np.random.default_rng(seed)
    splits: dict[str, SplitColumns] = {}
    for name, split in columns.splits.items():
        n_rows = split.n_rows
        rows = np.sort(rng.permutation(n_rows)[: int(np.ceil(share * n_rows))])
        arrays = {key: values.copy() for key, values in split.arrays.items()}
        changed = Split(arrays, dict(split.ragged), columns.skeleton, rows)
        if n_rows:
            bug(changed)
        splits[name] = SplitColumns(changed.arrays, changed.ragged, split.details)
    return replace(columns, splits=splits)


def nothing(split: Split) -> None:
    """No bug."""


def swapped_sides(split: Split) -> None:
    """Left joints are called right ones and the other way round."""
    split.reorder(list(split.skeleton.mirror), split.rows)


def swapped_hips(split: Split) -> None:
    """The two hips are mixed up, nothing else."""
    names = split.skeleton.joint_names
    order = np.arange(len(names))
    for name in names:
        if name.startswith("lhip"):
            left, right = names.index(name), names.index("r" + name[1:])
            order[[left, right]] = right, left
    split.reorder(order, split.rows)


def shuffled_joints(split: Split) -> None:
    """The columns of the joints stand in another order than their names."""
    rng = np.random.default_rng(3)
    split.reorder(rng.permutation(len(split.skeleton.joint_names)), split.rows)


def millimetres(split: Split) -> None:
    """Camera coordinates are millimetres."""
    split.arrays["coords3d"][split.rows] *= 1000


def inches(split: Split) -> None:
    """Camera coordinates are inches."""
    split.arrays["coords3d"][split.rows] *= 39.37


def box_doubled(split: Split) -> None:
    """The box counts the pixels of a picture twice as large."""
    split.arrays["bbox"][split.rows] *= 2


def box_halved(split: Split) -> None:
    """The box counts the pixels of a picture half as large."""
    split.arrays["bbox"][split.rows] /= 2


def long_focal_length(split: Split) -> None:
    """The focal length is a third too long; the principal point is right."""
    for axis in (0, 1):
        split.arrays["intrinsics"][split.rows, axis, axis] *= 1.33


def camera_of_the_neighbour(split: Split) -> None:
    """Each example has the intrinsics of the next one."""
    others = np.roll(split.arrays["intrinsics"], -1, axis=0)
    split.arrays["intrinsics"][split.rows] = others[split.rows]


def mirrored_camera(split: Split) -> None:
    """Camera coordinates of the wrong handedness: x points to the left."""
    split.arrays["coords3d"][split.rows] *= np.array([-1, 1, 1], np.float32)


def behind_the_camera(split: Split) -> None:
    """The camera looks the other way."""
    split.arrays["coords3d"][split.rows] *= np.array([-1, 1, -1], np.float32)


def points_off_by_one(split: Split) -> None:
    """Points and camera belong to the next picture; box, mask and picture stay."""
    for name in (*JOINTS, "point_validity", "joint_validity", "intrinsics", "distortion"):
        if name in split.arrays:
            others = np.roll(split.arrays[name], -1, axis=0)
            split.arrays[name][split.rows] = others[split.rows]
    split.drop_root()


def points_and_boxes_off_by_one(split: Split) -> None:
    """Points, camera and box belong to the next picture; mask and picture stay."""
    points_off_by_one(split)
    others = np.roll(split.arrays["bbox"], -1, axis=0)
    split.arrays["bbox"][split.rows] = others[split.rows]


def pictures_off_by_one(split: Split) -> None:
    """All labels, masks included, belong to the next picture."""
    paths = split.ragged["image_path"]
    ends = np.cumsum(paths.lengths)
    pieces = np.split(paths.values, ends[:-1])
    n_rows = len(pieces)
    order = np.arange(n_rows)
    order[split.rows] = (split.rows + 1) % n_rows
    moved = [pieces[i] for i in order]
    lengths = np.array([len(piece) for piece in moved], np.int32)
    split.ragged["image_path"] = Ragged(np.concatenate(moved), lengths)


def lens_invented(split: Split) -> None:
    """Pictures of a pinhole camera come with the coefficients of a lens."""
    split.arrays["distortion"][split.rows, 0] = -1.5


def one_pose(split: Split) -> None:
    """Every example has the points of the first one."""
    for name in (split.joints, split.validity):
        split.arrays[name][:] = split.arrays[name][:1]


def lost_joint(split: Split) -> None:
    """One joint is never valid."""
    split.arrays[split.validity][:, 0] = False
    split.arrays[split.joints][:, 0] = 0
    split.drop_root()
