"""What only pixels tell: masks against joints and pictures, for a sample of the examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cache.reader import Split
from pipeline.schema import Kind
from stages.report import pictures
from stages.report.outlines import outline_contrast
from stages.report.reference import Reference, box_diagonals, joint_columns, joint_pixels
from stages.report.reprojection import share_in_mask, undistorted_pixels
from stages.view.examples import decode_mask, decode_picture
from stages.view.surface import BodyMesh

Floats = npt.NDArray[np.float64]

_REACH = 0.03  # box diagonals: joints this close to the mask count as on it
_LEAST_SHIFT_PX = 2.0  # a lens that moves the joints by less leaves nothing to compare
_MOST_MASK_PIXELS = 120_000
_LEAST_LIMB_POINTS = 6


@dataclass(frozen=True, slots=True)
class Closeup:
    """One example's figures, and the bits by which look-alikes of its picture are found."""

    numbers: dict[str, float] = field(default_factory=dict)
    likeness: npt.NDArray[np.bool_] | None = None


def closeup_measures(
    split: Split,
    rows: Sequence[int],
    decoded: Sequence[bool],
    reference: Reference,
    body: BodyMesh | None,
) -> Iterator[tuple[int, Closeup]]:
    """Look closely at some rows.

    Args:
        decoded: of each row, whether its picture is decoded too.
        body: tells the sides of surface points; None leaves them out.
    """
    names = [*joint_columns(reference.kind), "bbox", "intrinsics", "distortion", "mask_size"]
    if reference.kind is Kind.DENSE:
        names += ["coords2d", "point_validity", "surface_vertices", "surface_weights"]
    columns = split.gather(rows, names)
    pixels, diagonals = joint_pixels(columns, reference.kind), box_diagonals(columns)
    wanted = [row for row, is_decoded in zip(rows, decoded, strict=True) if is_decoded]
    blobs = dict(zip(wanted, split.blobs("image", wanted), strict=True)) if wanted else {}
    for n, (row, counts) in enumerate(zip(rows, split.blobs("mask", rows), strict=True)):
        one = {name: values[n] for name, values in columns.items()}
        mask = decode_mask(counts, one["mask_size"])
        numbers = {} if mask is None else _on_mask(mask, pixels[n], float(diagonals[n]), one)
        if body is not None and reference.kind is Kind.DENSE:
            numbers["surface_sides"] = surface_sides(pixels[n], one, reference, body)
        likeness = None
        if blobs.get(row):
            picture, fault = decode_picture(blobs[row])
            if not fault:
                numbers["brightness"] = pictures.brightness(picture)
                numbers["picture_spread"] = pictures.spread(picture)
                likeness = pictures.likeness_bits(picture)
                if mask is not None:
                    numbers["outline_contrast"] = outline_contrast(picture, mask)
        yield row, Closeup(numbers, likeness)


def _on_mask(
    mask: npt.NDArray[np.bool_], pixels: Floats, diagonal: float, one: dict[str, Any]
) -> dict[str, float]:
    factor = min(1.0, (_MOST_MASK_PIXELS / mask.size) ** 0.5)
    small = mask.astype(np.uint8)
    if factor < 1:
        size = max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor))
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    outside = cv2.distanceTransform(1 - small, cv2.DIST_L2, 3)
    scaled = (pixels + 0.5) * factor - 0.5
    share = share_in_mask(scaled, outside, reach_px=_REACH * diagonal * factor)
    numbers = {"share_on_mask": share}
    if "coords3d" in one and one["distortion"].any():
        plain = undistorted_pixels(pixels, one["coords3d"], intrinsics=one["intrinsics"])
        shift = np.nanmedian(np.abs(plain - pixels)) if np.isfinite(pixels).any() else 0.0
        if shift > _LEAST_SHIFT_PX:
            inside = cv2.distanceTransform(small, cv2.DIST_L2, 3)
            depth = inside - outside
            with_lens = _mean_depth(depth, scaled)
            without = _mean_depth(depth, (plain + 0.5) * factor - 0.5)
            numbers["lens_preferred"] = float(without > with_lens)
    return numbers


def surface_sides(
    joints: Floats, one: dict[str, Any], reference: Reference, body: BodyMesh
) -> float:
    """1 if surface points of the limbs lie at the joints of their own side, -1 if at the other's.

    Limbs that cross or hide each other weigh little: a point counts by how much nearer one side's
    joints are. NaN where there are too few points on the limbs, or the body is another one.
    """
    validity = one["point_validity"]
    triangles, weights = one["surface_vertices"][validity], one["surface_weights"][validity]
    if len(triangles) < 8 or not body.has(triangles) or not reference.bodies:
        return float("nan")
    places = np.einsum("mvc,mv->mc", body.vertices[triangles], weights)
    low, high = body.vertices.min(axis=0), body.vertices.max(axis=0)
    across = (places[:, 0] - (low + high)[0] / 2) / (high - low)[0]  # left is positive
    above = (places[:, 1] - low[1]) / (high - low)[1]
    at = reference.bodies[0].joints
    pixels = one["coords2d"][validity].astype(np.float64)
    lead, total, n_points = 0.0, 0.0, 0
    for on_limb, roles in (
        ((above < 0.4) & (np.abs(across) > 0.015), ("kne", "ank")),
        (np.abs(across) > 0.22, ("elb", "wri")),
    ):
        if not all(side + role in at for side in "lr" for role in roles) or not on_limb.any():
            continue
        left, right = (_nearest(pixels[on_limb], joints[[at[s + r] for r in roles]]) for s in "lr")
        nearer = np.where(across[on_limb] > 0, right - left, left - right)
        known = np.isfinite(nearer)
        lead += float(nearer[known].sum())
        total += float(np.abs(nearer[known]).sum())
        n_points += int(known.sum())
    return lead / total if n_points >= _LEAST_LIMB_POINTS and total > 0 else float("nan")


def _nearest(pixels: Floats, joints: Floats) -> Floats:
    """From each pixel (m, 2) to the nearest of some joints (k, 2), (m,); NaN if one is missing."""
    return np.asarray(np.linalg.norm(pixels[:, None] - joints, axis=2).min(axis=1))


def _mean_depth(depth: npt.NDArray[Any], pixels: Floats) -> float:
    """How deep inside the mask the joints lie on average, pixels; less than 0 is outside."""
    height, width = depth.shape
    present = pixels[np.isfinite(pixels[:, 0])]
    near = np.round(present).clip([0, 0], [width - 1, height - 1]).astype(np.int64)
    return float(depth[near[:, 1], near[:, 0]].mean())
