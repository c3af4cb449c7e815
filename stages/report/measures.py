"""What is measured of every example, from its columns alone. Rows in, a number per row out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.report import bones, reprojection, sides
from stages.report.reference import (
    Columns,
    Floats,
    Reference,
    box_diagonals,
    joint_columns,
    joint_pixels,
)

_BOX_MARGIN = 0.1
_WIDE = 0.04  # box diagonals: narrower, the order of two joints in a picture says little


def column_measures(
    columns: Columns, reference: Reference, *, sizes: Floats
) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    """Everything measured of some usable rows.

    Args:
        columns: (N, ...) each.
        sizes: (N, 2), width and height of the pictures; NaN where unknown.

    Returns:
        By quantity, (N,), NaN where it makes no sense; and notes of some quantities, (N,).
    """
    pixels = joint_pixels(columns, reference.kind)
    boxes = columns["bbox"]
    has_box = (boxes[:, 2:] > 0).all(axis=1)
    out = {
        "box_offset": reprojection.box_offsets(pixels, boxes, sizes=sizes),
        "box_ratio": reprojection.box_size_ratios(pixels, boxes, sizes=sizes),
        "share_in_box": reprojection.shares_in_box(pixels, boxes, margin=_BOX_MARGIN),
        "box_beyond": reprojection.boxes_outside(boxes, sizes=sizes),
        "box_side_px": np.sqrt(boxes[:, 2].astype(np.float64) * boxes[:, 3]),
    }
    out = {name: np.where(has_box, values, np.nan) for name, values in out.items()}
    factors, notes = _bones(columns, reference)
    out |= factors
    if reference.is_3d:
        out |= _in_space(columns, reference, sizes)
        out["body_m"] = body_sizes_m(columns, reference, out["relative_size"])
    else:
        out |= _in_picture(pixels, box_diagonals(columns), reference)
    return out, notes


def _bones(
    columns: Columns, reference: Reference
) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    joints, validity = (columns[name] for name in joint_columns(reference.kind))
    edges = reference.skeleton.edges
    lengths = bones.bone_lengths(joints, validity=validity, edges=edges)
    model = reference.bones
    if reference.is_3d:
        sizes = bones.body_sizes(lengths, model.length)
        ratios = bones.bone_ratios(lengths, sizes, model.length)
        factors, worst = bones.worst_factors(ratios)
        out = {"bone_factor": factors, "relative_size": sizes}
    else:
        ratios = bones.bone_ratios(lengths, box_diagonals(columns), model.ceiling)
        filled = np.nan_to_num(ratios, nan=0.0)
        worst = filled.argmax(axis=1) if filled.shape[1] else np.zeros(len(filled), np.int64)
        highest = filled.max(axis=1, initial=0)
        out = {"bone_factor_2d": np.where(highest > 0, highest, np.nan)}
    names = reference.skeleton.joint_names
    labels = [f"{names[i]} to {names[j]}" for i, j in edges] or [""]
    return out, {name: [labels[w] for w in worst.tolist()] for name in out}


def _in_space(columns: Columns, reference: Reference, sizes: Floats) -> dict[str, Floats]:
    joints, validity = columns["coords3d"], columns["point_validity"]
    turns, twists = [], []
    for body, model in zip(reference.bodies, reference.sides, strict=True):
        evidence = sides.forward_evidence(joints, validity=validity, body=body)
        turns.append(sides.handedness(evidence, model))
        twists.append(sides.twist_cosine(joints, validity=validity, body=body))
    return {
        "handedness": _lowest(turns, len(joints)),
        "twist_cosine": _lowest(twists, len(joints)),
        "depth_m": depths(columns),
        "view_deg": fields_of_view(columns["intrinsics"], sizes=sizes),
        "points_behind": (validity & (joints[..., 2] <= 0)).sum(axis=1).astype(np.float64),
    }


def _in_picture(pixels: Floats, diagonals: Floats, reference: Reference) -> dict[str, Floats]:
    rows = len(pixels)
    twists, feet, eyes = [], [], []
    for body in reference.bodies:
        at = {role: pixels[:, index] / diagonals[:, None] for role, index in body.joints.items()}
        twists.append(_twist_in_picture(at, rows))
        feet.append(_near_foot(at, rows))
        eyes.append(_frontal_eyes(at, rows))
    return {
        "twist_cosine": _lowest(twists, rows),
        "near_foot": _lowest(feet, rows),
        "frontal_eyes": _lowest(eyes, rows),
    }


def _twist_in_picture(at: Mapping[str, Floats], rows: int) -> Floats:
    """1 if hips and shoulders stand in the same order, -1 if not; NaN where one pair is narrow."""
    if not {"lhip", "rhip", "lsho", "rsho"} <= at.keys():
        return np.full(rows, np.nan)
    hips, shoulders = (at["lhip"] - at["rhip"])[:, 0], (at["lsho"] - at["rsho"])[:, 0]
    with np.errstate(invalid="ignore"):
        is_wide = (np.abs(hips) > _WIDE) & (np.abs(shoulders) > 2 * _WIDE)
    return np.where(is_wide, np.sign(hips * shoulders), np.nan)


def _near_foot(at: Mapping[str, Floats], rows: int) -> Floats:
    """1 if the foot on the camera's side is the lower one, 0 if it is the higher one.

    Who looks to the left of the picture turns the left side to the camera, and cameras mostly look
    down a little: what is nearer on the floor is lower in the picture.
    """
    if not {"nose", "lear", "rear", "lank", "rank"} <= at.keys():
        return np.full(rows, np.nan)
    looks = (at["nose"] - (at["lear"] + at["rear"]) / 2)[:, 0]
    lower = (at["lank"] - at["rank"])[:, 1]
    with np.errstate(invalid="ignore"):
        is_clear = (np.abs(looks) > 0.01) & (np.abs(lower) > 0.005)
        return np.where(is_clear, (looks * lower < 0).astype(np.float64), np.nan)


def _frontal_eyes(at: Mapping[str, Floats], rows: int) -> Floats:
    """1 if the left eye stands to the right in the picture, as faces that look at us have it."""
    if not {"leye", "reye", "nose"} <= at.keys():
        return np.full(rows, np.nan)
    apart = (at["leye"] - at["reye"])[:, 0] + 0 * at["nose"][:, 0]
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(apart) > 0.005, (apart > 0).astype(np.float64), np.nan)


def body_sizes_m(columns: Columns, reference: Reference, relative: Floats) -> Floats:
    """From ankle by knee to hip, and from hips to shoulders, metres (N,): some 1.3 of an adult.

    Where a joint of these is missing, by the size of the other bones against the typical person's.
    """
    joints, validity = columns["coords3d"], columns["point_validity"]
    out = relative * reference.body_m
    for body in reference.bodies:
        length = bones.body_lengths(joints, validity=validity, body=body)
        out = np.where(np.isfinite(length), length, out)
    return out


def depths(columns: Columns) -> Floats:
    """Of the root, of the mean valid point without one; metres (N,)."""
    z, validity = columns["coords3d"][..., 2].astype(np.float64), columns["point_validity"]
    root = columns["root_index"]
    n_valid = validity.sum(axis=1)
    mean = np.where(validity, z, 0).sum(axis=1) / np.maximum(n_valid, 1)
    at_root = np.take_along_axis(z, np.maximum(root, 0)[:, None], axis=1)[:, 0]
    return np.where(root >= 0, at_root, np.where(n_valid > 0, mean, np.nan))


def fields_of_view(intrinsics: npt.NDArray[Any], *, sizes: Floats) -> Floats:
    """The larger of a camera's two fields of view in its picture, degrees (N,)."""
    focal = intrinsics[:, [0, 1], [0, 1]].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        angles = 2 * np.degrees(np.arctan(sizes / 2 / np.where(focal > 0, focal, np.nan)))
    return np.asarray(angles.max(axis=1))


def _lowest(columns: list[Floats], rows: int) -> Floats:
    """The least of several bodies' figures, NaN where none has one, (N,)."""
    if not columns:
        return np.full(rows, np.nan)
    return np.asarray(np.fmin.reduce(columns), np.float64)
