"""Rows of a store as examples to look at: picture decoded, mask expanded, joints projected."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

from cache.reader import Split
from pipeline.schema import Kind
from pipeline.skeletons import Skeleton
from stages.view.drawing import Picture, is_inside
from stages.view.projection import Projection, project
from stages.view.surface import BodyMesh, Surface, surface_colours

_BLANK: Picture = np.full((480, 480, 3), 60, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ViewedExample:
    """One example, or the reason why it is none.

    Attributes:
        split: its split.
        row: its row there, which is its index in the pickle's split.
        source: where its picture came from.
        status: `usable`, else the name of the reason for which it was rejected.
        detail: that reason in a sentence.
        picture: uint8 (H, W, 3), a blank one if `picture_fault` says why.
        picture_fault: empty if the picture is the stored one.
        box: float32 (4,), x, y, width, height; None where there is none.
        mask: bool (h, w), None where there is none. Not of the picture's size if the data is wrong.
        joints2d: (J, 2) pixels, projected where the store holds 3D.
        joints3d: float32 (J, 3), camera space, metres; None for 2D datasets.
        validity: bool (J,), which joints are annotated.
        is_ahead: bool (J,), which joints lie before the camera (all, in 2D datasets).
        root_index: place of the root joint, -1 if there is none.
        surface: the valid surface points of a dense dataset.
        remarks: what else the caption should say.
    """

    split: str
    row: int
    source: str
    status: str
    detail: str
    picture: Picture
    picture_fault: str
    box: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.bool_] | None
    joints2d: npt.NDArray[np.float64]
    joints3d: npt.NDArray[np.float32] | None
    validity: npt.NDArray[np.bool_]
    is_ahead: npt.NDArray[np.bool_]
    root_index: int
    surface: Surface | None
    remarks: tuple[str, ...] = ()

    def rejected(self, status: str, detail: str) -> ViewedExample:
        """The same example, not usable for a reason."""
        return replace(self, status=status, detail=detail)

    @property
    def is_usable(self) -> bool:
        return self.status == "usable"

    @property
    def is_drawn(self) -> npt.NDArray[np.bool_]:
        """bool (J,): which joints have a meaning in the picture."""
        return self.validity & self.is_ahead

    @property
    def is_outside(self) -> npt.NDArray[np.bool_]:
        """bool (J,): which of those lie beyond the picture's edge."""
        height, width = self.picture.shape[:2]
        return self.is_drawn & ~is_inside(self.joints2d, width=width, height=height)

    @property
    def depth_m(self) -> float | None:
        """Of the root, of the mean valid joint if there is none; None in 2D datasets."""
        if self.joints3d is None or not self.validity.any():
            return None
        if self.root_index >= 0:
            return float(self.joints3d[self.root_index, 2])
        return float(self.joints3d[self.validity, 2].mean())


def skeleton_of(attributes: Mapping[str, Any]) -> Skeleton:
    """The skeleton that a store's attributes describe."""
    return Skeleton(
        tuple(attributes["joint_names"]),
        tuple((int(i), int(j)) for i, j in attributes["edges"]),
        tuple(int(i) for i in attributes["mirror"]),
    )


def read_examples(
    split: Split,
    rows: Sequence[int],
    *,
    attributes: Mapping[str, Any],
    body: BodyMesh | None = None,
) -> list[ViewedExample]:
    """Read the given rows; nothing but them is read.

    Args:
        attributes: of the store.
        body: colours the surface points of a dense dataset, if they are on it.

    Raises:
        StoreError: a shard is missing, cut or altered.
        IndexError: a row is out of range.
    """
    values = split.gather(rows)
    images, masks = split.blobs("image", rows), split.blobs("mask", rows)
    paths = split.blobs("image_path", rows)
    status_names = {int(code): name for code, name in attributes["status_names"].items()}
    rejections = {rejection.row: rejection for rejection in split.rejections}
    kind = Kind(attributes["kind"])
    examples = []
    for n, row in enumerate(rows):
        one = {name: column[n] for name, column in values.items()}
        rejection = rejections.get(int(row))
        picture, fault = decode_picture(images[n])
        joints = _joints(one, kind)
        examples.append(
            ViewedExample(
                split=split.name,
                row=int(row),
                source=rejection.source if rejection else paths[n].decode("utf-8", "replace"),
                status=status_names.get(int(one["status"]), f"status {one['status']}"),
                detail=rejection.detail if rejection else "",
                picture=picture,
                picture_fault=fault,
                box=one["bbox"],
                mask=decode_mask(masks[n], one["mask_size"]),
                joints2d=joints.projection.pixels,
                joints3d=joints.coords3d,
                validity=joints.validity,
                is_ahead=joints.projection.is_ahead,
                root_index=int(one["root_index"]),
                surface=_surface(one, body) if kind is Kind.DENSE else None,
            )
        )
    return examples


@dataclass(frozen=True, slots=True)
class _Joints:
    projection: Projection
    coords3d: npt.NDArray[np.float32] | None
    validity: npt.NDArray[np.bool_]


def _joints(one: Mapping[str, Any], kind: Kind) -> _Joints:
    if kind in (Kind.KP3D, Kind.PARAM):
        coords3d, validity = one["coords3d"], one["point_validity"]
        if not validity.any():  # a rejected row: its camera is fill
            return _Joints(_as_projection(coords3d[:, :2]), coords3d, validity)
        projection = project(coords3d, intrinsics=one["intrinsics"], distortion=one["distortion"])
        return _Joints(projection, coords3d, validity)
    names = ("joints2d", "joint_validity") if kind is Kind.DENSE else ("coords2d", "point_validity")
    return _Joints(_as_projection(one[names[0]]), None, one[names[1]])


def _as_projection(pixels: npt.NDArray[Any]) -> Projection:
    return Projection(pixels.astype(np.float64), np.ones(len(pixels), dtype=bool))


def _surface(one: Mapping[str, Any], body: BodyMesh | None) -> Surface:
    is_valid = one["point_validity"]
    triangles, weights = one["surface_vertices"][is_valid], one["surface_weights"][is_valid]
    return Surface(one["coords2d"][is_valid], surface_colours(triangles, weights, body=body))


def decode_picture(data: bytes) -> tuple[Picture, str]:
    """The picture (H, W, 3), red first, and why it is a blank one; that is empty if it is not."""
    if not data:
        return _BLANK, "no picture is stored"
    # The annotations count pixels as they are stored, whatever an EXIF tag says of turning them.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if decoded is None:
        return _BLANK, "the picture cannot be decoded"
    return np.ascontiguousarray(decoded[..., ::-1]), ""


def decode_mask(counts: bytes, size: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """The mask, bool (h, w), from COCO's compressed run lengths; None if there is none."""
    if not counts:
        return None
    height, width = (int(n) for n in size)
    with warnings.catch_warnings():
        # pycocotools 2.0.11 passes on an array type that numpy 2 finds out of date.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
        mask = coco_masks.decode({"size": [height, width], "counts": counts})
    return np.asarray(mask, dtype=bool)
