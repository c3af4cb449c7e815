"""The rest-pose body in which every point that is asked for has its place.

x points to the body's left, y up, z forward; metres.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from errors import ConfigError


@dataclass(frozen=True, slots=True)
class CanonicalBody:
    """A body mesh in rest pose with named joints.

    Attributes:
        vertices: float32 (V, 3), metres.
        faces: int32 (F, 3), vertex indices.
        joints: name -> float32 (3,).
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    joints: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class JointTable:
    """The joints of all skeletons in one list: a joint of one dataset is nobody else's.

    A hip means something else in every dataset, so each skeleton has its own canonical joints.

    Attributes:
        datasets: the skeletons' owners, in the order of the table.
        names: per dataset the joint names, in the dataset's order.
        initial: float32 (T, 3), where each joint starts; zero where `located` is False.
        located: bool (T,), whether the body knows a place for the joint.
    """

    datasets: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    initial: npt.NDArray[np.float32]
    located: npt.NDArray[np.bool_]

    def ids(self, dataset: str) -> npt.NDArray[np.int32]:
        """int32 (J,): places of the dataset's joints in the table, -1 for those the body lacks."""
        start, n_joints = self.start(dataset), len(self.names[self.datasets.index(dataset)])
        ids = np.arange(start, start + n_joints, dtype=np.int32)
        return np.where(self.located[ids], ids, np.int32(-1)).astype(np.int32)

    def start(self, dataset: str) -> int:
        """Where the dataset's joints begin in the table."""
        return sum(len(names) for names in self.names[: self.datasets.index(dataset)])

    @property
    def unlocated(self) -> Mapping[str, tuple[str, ...]]:
        """Per dataset the names of the joints without a place, where there are any."""
        missing: dict[str, tuple[str, ...]] = {}
        for dataset, names in zip(self.datasets, self.names, strict=True):
            ids = self.ids(dataset)
            lost = tuple(name for name, i in zip(names, ids, strict=True) if i < 0)
            if lost:
                missing[dataset] = lost
        return missing


def load_canonical_body(path: Path) -> CanonicalBody:
    """Read `canonical_vertices`, `faces`, `joint_names` and `canonical_joints` of an npz file.

    Raises:
        ConfigError: the file is missing, broken or lacks an array.
    """
    where = str(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vertices = arrays["canonical_vertices"].astype(np.float32)
            faces = arrays["faces"].astype(np.int32)
            names = [str(name) for name in arrays["joint_names"]]
            joints = arrays["canonical_joints"].astype(np.float32)
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no canonical body",
            where=where,
            cause="the sample data, which brings one, has not been made",
            next_command="cli.py sample, or set train.data.body",
        ) from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            "the canonical body cannot be read", where=where, cause=str(error)
        ) from error
    if len(names) != len(joints) or (faces.size and faces.max() >= len(vertices)):
        raise ConfigError("the canonical body contradicts itself", where=where)
    return CanonicalBody(vertices, faces, dict(zip(names, joints, strict=True)))


def joint_table(body: CanonicalBody, skeletons: Mapping[str, Sequence[str]]) -> JointTable:
    """Line up the skeletons' joints and look their places up in the body.

    A joint is looked up by its whole name, then by its name without the suffix (`pelv_coco` ->
    `pelv`).
    """
    names = {dataset: tuple(joints) for dataset, joints in skeletons.items()}
    places = [_places(body, joints) for joints in names.values()]
    initial = np.concatenate([place for place, _ in places])
    located = np.concatenate([is_located for _, is_located in places])
    return JointTable(tuple(names), tuple(names.values()), initial, located)


def surface_points(
    body: CanonicalBody, vertices: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Barycentric combinations of canonical vertices.

    Args:
        body: the canonical body.
        vertices: int32 (..., 3).
        weights: float32 (..., 3).

    Returns:
        float32 (..., 3), metres.

    Raises:
        ConfigError: a vertex does not exist in this body.
    """
    if vertices.size and vertices.max() >= len(body.vertices):
        raise ConfigError(
            f"surface vertex {int(vertices.max())} does not exist",
            cause=f"the canonical body has {len(body.vertices)} vertices: another mesh is needed",
            where="params.yaml: train.data.body",
        )
    corners = body.vertices[vertices]
    return np.einsum("...k,...kd->...d", weights, corners).astype(np.float32)


def _places(
    body: CanonicalBody, names: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Symmetric places (J, 3) of a skeleton's joints, and whether the body has them (J,)."""
    found = [body.joints.get(name, body.joints.get(name.split("_")[0])) for name in names]
    located = np.array([place is not None for place in found], dtype=bool)
    places = np.array([(0, 0, 0) if p is None else p for p in found], dtype=np.float32)
    mirror = [_twin(names, i) for i in range(len(names))]
    reflected = places[mirror] * np.array([-1, 1, 1], np.float32)
    return np.where(located[mirror, None], (places + reflected) / 2, places), located


def _twin(names: Sequence[str], i: int) -> int:
    twin = {"l": "r", "r": "l"}.get(names[i][:1], names[i][:1]) + names[i][1:]
    return names.index(twin) if twin in names else i
