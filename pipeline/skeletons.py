"""The named joints of a dataset, how they connect and which is whose mirror image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Joint names with their edges and left/right twins, in the dataset's own order.

    Attributes:
        joint_names: J names; left joints begin with `l`, right ones with `r`.
        edges: index pairs of the stick figure.
        mirror: for each joint the index of its twin on the other side (itself in the middle).
    """

    joint_names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]

    def __post_init__(self) -> None:
        n_joints = len(self.joint_names)
        if len(self.mirror) != n_joints:
            raise ValueError(f"{len(self.mirror)} mirror indices for {n_joints} joints")
        if any(not 0 <= i < n_joints for edge in self.edges for i in edge):
            raise ValueError("an edge names a joint that does not exist")
        if any(not 0 <= j < n_joints or self.mirror[j] != i for i, j in enumerate(self.mirror)):
            raise ValueError("the mirror map is not its own inverse")

    @property
    def root_candidates(self) -> tuple[int, ...]:
        """Joints that may serve as root: those whose name begins with `pelv`, in order."""
        return tuple(i for i, name in enumerate(self.joint_names) if name.startswith("pelv"))


def skeleton_from_names(joint_names: Sequence[str], *, paths: Sequence[str]) -> Skeleton:
    """Build a skeleton from joint names and stick-figure paths such as `rsho-relb-rwri`.

    Every edge of a path brings its mirror image along, right after it, as PosePile does.

    Args:
        joint_names: J names, twins differing in their first letter only (`l`/`r`).
        paths: joints joined by `-`; consecutive ones are connected.

    Raises:
        ValueError: a path names a joint that is not in `joint_names`.
    """
    names = tuple(joint_names)
    index = {name: i for i, name in enumerate(names)}
    mirror = tuple(index.get(_twin_name(name), i) for i, name in enumerate(names))
    edges: list[tuple[int, int]] = []
    for path in paths:
        joints = path.split("-")
        for unknown in set(joints) - set(names):
            raise ValueError(f"path {path!r} names the unknown joint {unknown!r}")
        for a, b in itertools.pairwise(joints):
            i, j = sorted((index[a], index[b]))
            twin_i, twin_j = sorted((mirror[i], mirror[j]))
            edges.append((i, j))
            if (twin_i, twin_j) != (i, j):
                edges.append((twin_i, twin_j))
    return Skeleton(names, tuple(dict.fromkeys(edges)), mirror)


def root_index(validity: npt.NDArray[np.bool_], skeleton: Skeleton) -> npt.NDArray[np.int32]:
    """First valid root candidate of each example, -1 where there is none.

    Args:
        validity: bool (N, J).

    Returns:
        int32 (N,), positions among all J joints.
    """
    candidates = np.asarray(skeleton.root_candidates, dtype=np.int32)
    if candidates.size == 0:
        return np.full(len(validity), -1, dtype=np.int32)
    usable = validity[:, candidates]
    first: npt.NDArray[np.int32] = candidates[usable.argmax(axis=1)]
    return np.where(usable.any(axis=1), first, np.int32(-1)).astype(np.int32)


def _twin_name(name: str) -> str:
    return {"l": "r", "r": "l"}.get(name[:1], name[:1]) + name[1:]
