"""The typical person of a dataset, learnt from a seeded sample of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.schema import Kind
from pipeline.skeletons import Skeleton
from stages.report import bones, sides
from stages.report.reprojection import project_rows
from stages.report.roles import Body, bodies_of

Columns = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """What is usual in a dataset.

    Attributes:
        kind, skeleton: of the dataset.
        bodies: the sets of joints that the skeleton unites.
        bones: the typical bones; in box diagonals in 2D, in metres of the typical person in 3D.
        sides: what each body has in front; empty in 2D.
        body_m: the median body along its bones, metres; NaN in 2D and where the joints lack.
        twins: of each edge the one on the other side.
    """

    kind: Kind
    skeleton: Skeleton
    bodies: tuple[Body, ...]
    bones: bones.BoneModel
    sides: tuple[sides.SideModel, ...]
    body_m: float
    twins: npt.NDArray[np.int64]

    @property
    def is_3d(self) -> bool:
        return is_3d(self.kind)


def is_3d(kind: Kind) -> bool:
    """Whether examples have joints in camera space."""
    return kind in (Kind.KP3D, Kind.PARAM)


def joint_columns(kind: Kind) -> tuple[str, str]:
    """Names of the columns that hold the joints and their validity."""
    if is_3d(kind):
        return "coords3d", "point_validity"
    return ("joints2d", "joint_validity") if kind is Kind.DENSE else ("coords2d", "point_validity")


def joint_pixels(columns: Columns, kind: Kind) -> Floats:
    """Where the joints lie in the pictures, (N, J, 2); NaN where they are not annotated."""
    joints, validity = (columns[name] for name in joint_columns(kind))
    if not is_3d(kind):
        return np.where(validity[..., None], joints.astype(np.float64), np.nan)
    return project_rows(
        joints,
        intrinsics=columns["intrinsics"],
        distortion=columns["distortion"],
        validity=validity,
    )


def box_diagonals(columns: Columns) -> Floats:
    """(N,), pixels; NaN where there is no box."""
    diagonals = np.linalg.norm(columns["bbox"][:, 2:].astype(np.float64), axis=1)
    return np.where(diagonals > 0, diagonals, np.nan)


def fit_reference(columns: Columns, *, kind: Kind, skeleton: Skeleton) -> Reference:
    """Learn what is usual from some rows (N, ...) of a store; robust against a bad minority."""
    joints, validity = (columns[name] for name in joint_columns(kind))
    lengths = bones.bone_lengths(joints, validity=validity, edges=skeleton.edges)
    bodies = bodies_of(skeleton.joint_names)
    scale = None if is_3d(kind) else box_diagonals(columns)
    models: list[sides.SideModel] = []
    lengths_m = np.full(len(joints), np.nan)
    for body in bodies if is_3d(kind) else ():
        evidence = sides.forward_evidence(joints, validity=validity, body=body)
        models.append(sides.fit_side_model(evidence))
        lengths_m = np.fmax(lengths_m, bones.body_lengths(joints, validity=validity, body=body))
    return Reference(
        kind=kind,
        skeleton=skeleton,
        bodies=bodies,
        bones=bones.fit_bone_model(lengths, scale),
        sides=tuple(models),
        body_m=float(np.nanmedian(lengths_m)) if np.isfinite(lengths_m).any() else float("nan"),
        twins=bones.mirrored_edges(skeleton),
    )
