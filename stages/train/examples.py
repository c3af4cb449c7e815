"""One row of a store as one example of a batch: crop, points in the crop's frame, appearance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from errors import StoreError
from pipeline.cameras import Camera, make_camera, reproject
from pipeline.image_files import BrokenImageError, image_size
from pipeline.training_crop import (
    UNCHANGED,
    AugmentationRanges,
    GeometryDraws,
    draw_geometry,
    training_camera,
    training_camera_without_source,
)
from pipeline.warping import warp_image
from stages.train.augmentation import Scenery, augment_appearance
from stages.train.query_points import Packing, into_slots, pack_points
from stages.train.settings import CropSettings, TrainSettings
from stages.train.sources import Source

Array = npt.NDArray[Any]

# Sources that show one person at a time: half a box shows half of this person and nobody else.
SINGLE_PERSON_SOURCES = frozenset(
    "rich behave surreal moyo arctic intercap genebody humman synbody_humannerf thuman2 zjumocap "
    "dfaust_render h36m 3doh aist aspset gpa 3dpeople bml_movi mads bmhad 3dhp_full totalcapture "
    "ikea human4d fit3d freeman dna_rendering".split()
)
# Annotations in the lowest twentieth of a camera-less picture are not trusted.
_LOWEST_TRUSTED = 0.95
_REDUCED_DECODING = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True, slots=True)
class ExampleReader:
    """Reads examples: augmented for training, or, without a generator, as they are.

    Attributes:
        settings: the recipe.
        scenery: pictures for augmentation.
        n_slots: points per example; None: as many as the source annotates, none moved.
    """

    settings: TrainSettings
    scenery: Scenery
    n_slots: int | None = None

    def __call__(
        self, source: Source, position: int, rng: np.random.Generator | None
    ) -> dict[str, Array]:
        """The example at a position of the source.

        Returns:
            image uint8 (S, S, 3); intrinsics float32 (3, 3); coords3d float32 (P, 3), metres in
            the crop's camera; coords2d float32 (P, 2), pixels of the crop; point_validity bool
            (P,); joint_ids int32 (P,), -1 where there is none; canonical_points float32 (P, 3);
            root_index int32 (), a slot or -1.

        Raises:
            StoreError: the picture is damaged.
        """
        crop = self.settings.crop
        encoded, size = _read_picture(source, position)
        draws = UNCHANGED
        if rng is not None and crop.geom_aug:
            partial = source.dataset in SINGLE_PERSON_SOURCES
            draws = draw_geometry(rng, augmentation_ranges(crop), partial_visibility=partial)
        camera, target = crop_cameras(
            source, position, size=size, side=self.settings.head.proc_side, draws=draws
        )
        image = self._view(encoded, camera, target, is_training=rng is not None)
        if rng is not None:
            image = augment_appearance(
                image,
                rng,
                mask=self._mask_view(source, position, camera, target),
                dataset=source.dataset,
                crop=crop,
                scenery=self.scenery,
            )
        points = _points(source, position, size=size, camera=camera, target=target)
        if draws.flip:
            points = mirrored_points(points, source.mirror)
        return {
            "image": image,
            "intrinsics": target.intrinsics.astype(np.float32),
            **self._packed(points, root_index=int(source.root_index[position]), rng=rng),
        }

    def _packed(
        self, points: dict[str, Array], *, root_index: int, rng: np.random.Generator | None
    ) -> dict[str, Array]:
        validity = points["point_validity"]
        if root_index >= 0 and not validity[root_index]:
            root_index = -1
        if self.n_slots is None:
            return {**points, "root_index": np.asarray(root_index, np.int32)}
        packing: Packing = pack_points(
            validity, root_index=root_index, n_slots=self.n_slots, rng=rng
        )
        packed = {
            name: into_slots(values, packing, n_slots=self.n_slots)
            for name, values in points.items()
        }
        return {**packed, "root_index": np.asarray(packing.root_slot, np.int32)}

    def _view(
        self, encoded: bytes, camera: Camera, target: Camera, *, is_training: bool
    ) -> npt.NDArray[np.uint8]:
        crop, side = self.settings.crop, self.settings.head.proc_side
        factor = decoding_factor(camera, target)
        image = cv2.imdecode(
            np.frombuffer(encoded, np.uint8),
            _REDUCED_DECODING[factor] | cv2.IMREAD_IGNORE_ORIENTATION,
        )
        if image is None:
            raise StoreError("a stored picture cannot be decoded")
        warped = warp_image(
            image,
            reduced(camera, factor),
            target,
            size=(side, side),
            interpolation=(
                crop.image_interpolation_train if is_training else crop.image_interpolation_test
            ),
            border_value=crop.border_value,
            supersampling=crop.antialias_train if is_training else crop.antialias_test,
        )
        return cv2.cvtColor(warped, cv2.COLOR_BGR2RGB)

    def _mask_view(
        self, source: Source, position: int, camera: Camera, target: Camera
    ) -> Callable[[], npt.NDArray[np.uint8]] | None:
        """The person's mask in the crop, made only if it is asked for."""
        if source.mask_size is None or not source.mask_size[position].any():
            return None
        row, mask_size = source.rows[position : position + 1], source.mask_size[position]
        side = self.settings.head.proc_side

        def view() -> npt.NDArray[np.uint8]:
            counts = source.split.blobs("mask", row)[0]
            mask = coco_mask.decode({"size": mask_size.tolist(), "counts": counts})
            warped = warp_image(
                np.ascontiguousarray(mask) * np.uint8(255), camera, target, size=(side, side)
            )
            return np.asarray(warped, dtype=np.uint8)

        return view


def augmentation_ranges(crop: CropSettings) -> AugmentationRanges:
    """The settings, in degrees and percent, as the crop's ranges."""
    return AugmentationRanges(
        shift=crop.shift_aug / 100,
        zoom=(1 - crop.scale_aug_down / 100, 1 + crop.scale_aug_up / 100),
        rotation_rad=math.radians(crop.rot_aug),
        full_rotation_prob=crop.full_rot_aug_prob,
        partial_visibility_prob=crop.partial_visibility_prob,
        flip=crop.hflip_aug,
    )


def crop_cameras(
    source: Source, position: int, *, size: tuple[int, int], side: int, draws: GeometryDraws
) -> tuple[Camera, Camera]:
    """The camera of the stored picture (its frame is the world) and that of the crop.

    Args:
        size: width and height of the stored picture.
    """
    bbox = source.bbox[position]
    if not source.intrinsics[position].any():
        return training_camera_without_source((size[1], size[0]), bbox, side=side, draws=draws)
    camera = make_camera(
        source.intrinsics[position],
        distortion=source.distortion[position],
        world_up=source.up[position] if source.up[position].any() else None,
    )
    return camera, training_camera(camera, bbox, side=side, draws=draws)


def mirrored_points(points: dict[str, Array], mirror: Array | None) -> dict[str, Array]:
    """The annotations of a mirrored picture: what was a left joint now is a right one.

    Surface points keep their order; their canonical places are mirrored.
    """
    if mirror is None:
        reflected = points["canonical_points"] * np.array([-1, 1, 1], np.float32)
        return {**points, "canonical_points": reflected}
    swapped = ("coords3d", "coords2d", "point_validity")
    validity = points["point_validity"][mirror] & (points["joint_ids"] >= 0)
    return {
        **points,
        **{name: points[name][mirror] for name in swapped},
        "point_validity": validity,
    }


def decoding_factor(camera: Camera, target: Camera) -> int:
    """How much smaller a picture may be decoded without losing what the crop can show: 1, 2, 4, 8.

    On its axis a camera has the fewest pixels per angle, its focal length's; so the ratio of the
    focal lengths is the least number of picture pixels that come to one of the crop.
    """
    finest = np.trace(camera.intrinsics[:2, :2]) / np.trace(target.intrinsics[:2, :2])
    return next(factor for factor in (8, 4, 2, 1) if finest >= factor or factor == 1)


def reduced(camera: Camera, factor: int) -> Camera:
    """The camera of the picture in which factor × factor pixels have become one."""
    shift = (1 / factor - 1) / 2
    scale = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift], [0, 0, 1]])
    return replace(camera, intrinsics=scale @ camera.intrinsics)


def _read_picture(source: Source, position: int) -> tuple[bytes, tuple[int, int]]:
    encoded = source.split.blobs("image", source.rows[position : position + 1])[0]
    try:
        return encoded, image_size(encoded)
    except BrokenImageError as error:
        raise StoreError(
            "a stored picture cannot be decoded",
            where=f"{source.name}, row {source.rows[position]}",
            cause=f"{error}; the store may have been prepared with --no-images",
        ) from error


def _points(
    source: Source, position: int, *, size: tuple[int, int], camera: Camera, target: Camera
) -> dict[str, Array]:
    """The annotated points (P, ...) in the crop's frame, unmirrored in name and number."""
    validity = source.validity[position]
    n_points = len(validity)
    coords3d = np.zeros((n_points, 3), np.float32)
    coords2d = np.zeros((n_points, 2), np.float32)
    if source.coords3d is not None:
        coords3d = (source.coords3d[position] @ target.rotation.T).astype(np.float32)
    else:
        assert source.coords2d is not None
        pixels = source.coords2d[position]
        # The published loader keeps dense points that it discards as valid points at (0, 0).
        validity = validity & (pixels[:, 1] <= _LOWEST_TRUSTED * size[1]) & (pixels >= 0).all(1)
        moved = reproject(pixels, camera, target)
        coords2d = np.where(validity[:, np.newaxis], moved, 0).astype(np.float32)
    joint_ids = source.joint_ids
    surface = None if source.surface is None else source.surface[position]
    return {
        "coords3d": coords3d,
        "coords2d": coords2d,
        "point_validity": validity,
        "joint_ids": np.full(n_points, -1, np.int32) if joint_ids is None else joint_ids,
        "canonical_points": np.zeros((n_points, 3), np.float32) if surface is None else surface,
    }
