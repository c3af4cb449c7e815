"""Rows of stores as the examples of a batch: crops, points in the crops' frames, appearance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from errors import StoreError
from pipeline.cameras import N_DISTORTION_COEFFICIENTS, Camera, reproject, without_distortion
from pipeline.image_files import BrokenImageError, image_size
from pipeline.training_crop import (
    UNCHANGED,
    AugmentationRanges,
    GeometryDraws,
    draw_geometry,
    training_camera,
    training_camera_without_source,
)
from pipeline.warping import plan_warps, warp_image, warp_planned
from stages.train.augmentation import (
    REDUCED_DECODING,
    Scenery,
    augment_appearance,
    changes_appearance,
    draw_border,
)
from stages.train.body_parameters import BODY_WIDTH, body_rows
from stages.train.packing import pack_valid_points
from stages.train.settings import CropSettings, TrainSettings
from stages.train.sources import Source

Batch = dict[str, npt.NDArray[Any]]
# Sources with the places in the batch of their examples.
Parts = Sequence[tuple[Source, npt.NDArray[np.int64]]]

# Sources that show one person at a time: half a box shows half of this person and nobody else.
SINGLE_PERSON_SOURCES = frozenset(
    "rich behave surreal moyo arctic intercap genebody humman synbody_humannerf thuman2 zjumocap "
    "dfaust_render h36m 3doh aist aspset gpa 3dpeople bml_movi mads bmhad 3dhp_full totalcapture "
    "ikea human4d fit3d freeman dna_rendering".split()
)
# Annotations in the lowest twentieth of a camera-less picture are not trusted.
_LOWEST_TRUSTED = 0.95


@dataclass(frozen=True, slots=True)
class ExampleDraws:
    """The random numbers of N examples.

    Attributes:
        geometry: of their crops.
        order: (N, P), which points are left out where they are too many.
        seeds: uint64 (N,), of their appearance.
    """

    geometry: GeometryDraws
    order: npt.NDArray[np.float64]
    seeds: npt.NDArray[np.uint64]

    def __getitem__(self, i: slice | npt.NDArray[Any]) -> ExampleDraws:
        """The draws of some of the examples."""
        return ExampleDraws(self.geometry[i], self.order[i], self.seeds[i])


@dataclass(frozen=True, slots=True)
class ExampleReader:
    """Reads examples: augmented for training, or, without draws, as they are.

    The geometry of all examples of a batch is computed at once; then each picture is read, decoded
    and warped straight to its place in the batch.

    Attributes:
        settings: the recipe.
        scenery: pictures for augmentation.
        n_slots: points per example; None: as many as the source annotates, none moved.
    """

    settings: TrainSettings
    scenery: Scenery
    n_slots: int | None = None

    def __call__(self, source: Source, position: int, rng: np.random.Generator | None) -> Batch:
        """The example at a position of the source: `read` without the leading axis."""
        sources, which = [source], np.zeros(1, np.int64)
        draws = None if rng is None else self.draw(sources, which, rng)
        batch = self.read(sources, which, np.array([position]), draws=draws)
        return {name: values[0] for name, values in batch.items()}

    def draw(
        self,
        sources: Sequence[Source],
        which: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> ExampleDraws:
        """Draw everything that is random about N examples, of which `which` names the sources."""
        n, crop = len(which), self.settings.crop
        seeds = rng.integers(0, 2**64, size=n, dtype=np.uint64)
        if crop.geom_aug:
            is_single = np.array([s.dataset in SINGLE_PERSON_SOURCES for s in sources])
            ranges = augmentation_ranges(crop)
            geometry = draw_geometry(rng, ranges, partial_visibility=is_single[which])
        else:
            nothing = np.zeros(n)
            geometry = GeometryDraws(None, np.zeros((n, 2)), nothing + 1, nothing, nothing > 0)
        widest = max(source.validity.shape[1] for source in sources)
        may_overflow = self.n_slots is not None and widest > self.n_slots
        return ExampleDraws(geometry, rng.random((n, widest if may_overflow else 0)), seeds)

    def read(
        self,
        sources: Sequence[Source],
        which: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        *,
        draws: ExampleDraws | None,
    ) -> Batch:
        """N examples.

        Args:
            sources: where they come from; without `n_slots` only one.
            which: (N,), places in `sources`.
            positions: (N,), places in the source.
            draws: as `draw` makes them; None: no augmentation.

        Returns:
            image uint8 (N, S, S, 3), RGB; intrinsics float32 (N, 3, 3); coords3d float32 (N, P, 3),
            metres in the crop's camera; coords2d float32 (N, P, 2), pixels of the crop;
            point_validity bool (N, P); joint_ids int32 (N, P), -1 where there is none;
            canonical_points float32 (N, P, 3); root_index int32 (N,), a slot or -1; source int32
            (N,); row int64 (N,). body float32 (N, W), side by side what
            `body_parameters.BODY_FIELDS` names; W = 0 where no body model is installed.

        Raises:
            StoreError: a picture is damaged.
        """
        batch, pictures = self.prepare(sources, which, positions, draws=draws)
        for i, out in enumerate(batch["image"]):
            pictures.render(i, out)
        return batch

    def prepare(
        self,
        sources: Sequence[Source],
        which: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        *,
        draws: ExampleDraws | None,
    ) -> tuple[Batch, Pictures]:
        """All of `read` but the pictures' pixels, which `Pictures.render` makes."""
        n, side = len(which), self.settings.head.proc_side
        parts = [(s, np.flatnonzero(which == i)) for i, s in enumerate(sources)]
        parts = [(source, members) for source, members in parts if len(members)]
        batch = _empty_batch(n, side=side, n_points=self.n_slots or parts[0][0].validity.shape[1])
        batch["source"][:] = which
        for source, members in parts:
            batch["row"][members] = source.rows[positions[members]]
        encoded = _read_pictures(parts, positions, n)
        sizes = _picture_sizes(parts, positions, encoded)
        geometry = UNCHANGED if draws is None else draws.geometry
        if draws is not None and any(source.body is not None for source, _ in parts):
            # A body is posed as it is, and cannot be mirrored.
            unmirrored = np.asarray(geometry.flip) & ~_is_posed(parts, positions, n)
            geometry = replace(geometry, flip=unmirrored)
        camera, target = crop_cameras(parts, positions, sizes, side=side, draws=geometry)
        batch["intrinsics"][:] = target.intrinsics
        has_models = self.settings.data.body_models is not None
        batch["body"] = np.zeros((n, BODY_WIDTH * has_models), np.float32)
        for source, members in parts if has_models else ():
            turn = target.rotation[members]
            batch["body"][members] = body_rows(source.body, positions[members], turn=turn)
        for source, members in parts:
            points = _points(source, positions[members], sizes[members], camera, target, members)
            if draws is not None:
                points = mirrored_points(points, source.mirror, np.asarray(geometry.flip)[members])
            root_index = source.root_index[positions[members]]
            order = None if draws is None else draws.order[members]
            self._place(batch, points, members, root_index=root_index, order=order)
        return batch, Pictures(self, sources, which, positions, encoded, camera, target, draws)

    def _place(
        self,
        batch: Batch,
        points: Batch,
        members: npt.NDArray[np.int64],
        *,
        root_index: npt.NDArray[np.int32],
        order: npt.NDArray[np.float64] | None,
    ) -> None:
        """Put the points (M, P, ...) of one source's examples into the batch."""
        validity, n = points["point_validity"], len(batch["row"])
        if self.n_slots is None:
            for name, values in points.items():
                batch[name][members] = values
            is_known = (root_index >= 0) & validity[np.arange(len(members)), root_index]
            batch["root_index"][members] = np.where(is_known, root_index, -1)
            return
        packing = pack_valid_points(
            validity, root_index=root_index, n_slots=self.n_slots, order=order
        )
        # Flat indices: numpy takes a third of the time that pairs of them cost.
        there = members[packing.examples] * self.n_slots + packing.slots
        here = packing.examples * validity.shape[1] + packing.points
        for name, values in points.items():
            into = batch[name].reshape(n * self.n_slots, *values.shape[2:])
            into[there] = values.reshape(-1, *values.shape[2:]).take(here, axis=0)
        batch["root_index"][members] = packing.root_slots


def _is_posed(parts: Parts, positions: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.bool_]:
    """Which of the n examples have a body to pose."""
    is_posed = np.zeros(n, np.bool_)
    for source, members in parts:
        if source.body is not None:
            is_posed[members] = source.body.variant[positions[members]] >= 0
    return is_posed


class Pictures:
    """Decodes, warps and changes the pictures of a batch, one at a time."""

    def __init__(
        self,
        reader: ExampleReader,
        sources: Sequence[Source],
        which: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        encoded: Sequence[bytes],
        camera: Camera,
        target: Camera,
        draws: ExampleDraws | None,
    ) -> None:
        self._reader, self._sources = reader, sources
        self._which, self._positions = which.tolist(), positions.tolist()
        self._encoded = encoded
        self._cameras = camera, target
        crop, side = reader.settings.crop, reader.settings.head.proc_side
        self._seeds = None
        if draws is not None and changes_appearance(crop):
            self._seeds = draws.seeds.tolist()
        is_augmented = draws is not None
        self._interpolation = (
            crop.image_interpolation_train if is_augmented else crop.image_interpolation_test
        )
        factors = decoding_factors(camera, target)
        self._factors = factors.tolist()
        self._warps = plan_warps(
            reduced(camera, factors),
            target,
            size=(side, side),
            supersampling=crop.antialias_train if is_augmented else crop.antialias_test,
        )

    def render(self, i: int, out: npt.NDArray[np.uint8]) -> None:
        """Make picture `i` of the batch in `out`, uint8 (S, S, 3), RGB."""
        crop = self._reader.settings.crop
        rng, border, border_value = None, "constant", (float(crop.border_value),) * 3
        if self._seeds is not None:
            rng = np.random.Generator(np.random.SFC64(self._seeds[i]))
            border, border_value = draw_border(rng, crop)
        image = cv2.imdecode(
            np.frombuffer(self._encoded[i], np.uint8),
            REDUCED_DECODING[self._factors[i]] | cv2.IMREAD_IGNORE_ORIENTATION,
        )
        if image is None:
            raise self._broken(i)
        warp_planned(
            image,
            self._warps,
            i,
            interpolation=self._interpolation,
            border=border,
            border_value=border_value,
            out=out,
        )
        if rng is not None:
            source = self._sources[self._which[i]]
            out[...] = augment_appearance(
                out,
                rng,
                mask=self._mask_view(i),
                dataset=source.dataset,
                crop=crop,
                scenery=self._reader.scenery,
            )

    def _mask_view(self, i: int) -> Callable[[], npt.NDArray[np.uint8]] | None:
        """The person's mask in the crop, made only if it is asked for."""
        source, position = self._sources[self._which[i]], self._positions[i]
        mask_sizes = source.mask_size
        if mask_sizes is None or not mask_sizes[position].any():
            return None
        side = self._reader.settings.head.proc_side

        def view() -> npt.NDArray[np.uint8]:
            counts = source.split.blobs("mask", source.rows[position : position + 1])[0]
            size = mask_sizes[position].tolist()
            mask = coco_mask.decode({"size": size, "counts": counts})
            camera, target = self._cameras
            warped = warp_image(
                np.ascontiguousarray(mask) * np.uint8(255), camera[i], target[i], size=(side, side)
            )
            return np.asarray(warped, dtype=np.uint8)

        return view

    def _broken(self, i: int) -> StoreError:
        source = self._sources[self._which[i]]
        return _broken_picture(source, self._positions[i], "the decoder refuses it")


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


def mirrored_points(
    points: Batch, mirror: npt.NDArray[np.int64] | None, flip: npt.NDArray[np.bool_]
) -> Batch:
    """The annotations (M, P, ...) of mirrored pictures: what was a left joint now is a right one.

    Surface points keep their order; their canonical places are mirrored.

    Args:
        mirror: (P,), the twin of each joint; None: they are surface points.
        flip: bool (M,), which of the pictures are mirrored.
    """
    if not flip.any():
        return points
    changed = dict(points)
    if mirror is None:
        sign = np.where(flip[:, np.newaxis], np.float32(-1), np.float32(1))
        canonical = points["canonical_points"].copy()
        canonical[..., 0] *= sign
        return {**points, "canonical_points": canonical}
    for name in {"coords3d", "coords2d", "point_validity"} & points.keys():
        changed[name] = points[name].copy()
        changed[name][flip] = points[name][flip][:, mirror]
    changed["point_validity"] &= points["joint_ids"] >= 0
    return changed


def decoding_factors(camera: Camera, target: Camera) -> npt.NDArray[np.int64]:
    """How much smaller a picture may be decoded without losing what the crop can show: 1, 2, 4, 8.

    On its axis a camera has the fewest pixels per angle, its focal length's; so the ratio of the
    focal lengths is the least number of picture pixels that come to one of the crop.

    Args:
        camera, target: N cameras each.
    """
    finest = _focal_lengths(camera) / _focal_lengths(target)
    return 2 ** np.clip(np.floor(np.log2(finest + 1e-12)), 0, 3).astype(np.int64)


def _focal_lengths(camera: Camera) -> npt.NDArray[np.float64]:
    return np.asarray(camera.intrinsics[:, 0, 0] + camera.intrinsics[:, 1, 1])


def reduced(camera: Camera, factors: npt.NDArray[np.int64]) -> Camera:
    """The cameras of the pictures in which factor × factor pixels have become one.

    Args:
        camera: N cameras.
        factors: (N,).
    """
    scale = np.zeros((len(factors), 3, 3))
    scale[:, 0, 0] = scale[:, 1, 1] = 1 / factors
    scale[:, :2, 2] = ((1 / factors - 1) / 2)[:, np.newaxis]
    scale[:, 2, 2] = 1
    return replace(camera, intrinsics=scale @ camera.intrinsics)


def _empty_batch(n: int, *, side: int, n_points: int) -> Batch:
    return {
        "image": np.empty((n, side, side, 3), np.uint8),
        "intrinsics": np.empty((n, 3, 3), np.float32),
        "coords3d": np.zeros((n, n_points, 3), np.float32),
        "coords2d": np.zeros((n, n_points, 2), np.float32),
        "point_validity": np.zeros((n, n_points), np.bool_),
        "joint_ids": np.zeros((n, n_points), np.int32),
        "canonical_points": np.zeros((n, n_points, 3), np.float32),
        "root_index": np.empty(n, np.int32),
        "source": np.empty(n, np.int32),
        "row": np.empty(n, np.int64),
    }


def _read_pictures(parts: Parts, positions: npt.NDArray[np.int64], n: int) -> list[bytes]:
    encoded = [b""] * n
    for source, members in parts:
        files = source.split.blobs("image", source.rows[positions[members]])
        for i, file in zip(members.tolist(), files, strict=True):
            encoded[i] = file
    return encoded


def _picture_sizes(
    parts: Parts, positions: npt.NDArray[np.int64], encoded: Sequence[bytes]
) -> npt.NDArray[np.int64]:
    """Height and width (N, 2) of the stored pictures, zero where nothing depends on them."""
    sizes = np.zeros((len(encoded), 2), np.int64)
    for source, members in parts:
        if source.coords2d is None and source.intrinsics[positions[members]].any(axis=(1, 2)).all():
            continue
        for i in members.tolist():
            try:
                sizes[i] = image_size(encoded[i])[::-1]
            except BrokenImageError as error:
                raise _broken_picture(source, int(positions[i]), str(error)) from error
    return sizes


def _broken_picture(source: Source, position: int, problem: str) -> StoreError:
    return StoreError(
        "a stored picture cannot be decoded",
        where=f"{source.name}, row {source.rows[position]}",
        cause=f"{problem}; the store may have been prepared with --no-images",
    )


def crop_cameras(
    parts: Parts,
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    *,
    side: int,
    draws: GeometryDraws,
) -> tuple[Camera, Camera]:
    """The N cameras of the stored pictures (their frames are the worlds) and those of the crops."""
    n = len(sizes)
    bbox = np.empty((n, 4))
    camera = Camera(
        intrinsics=np.empty((n, 3, 3)),
        rotation=np.broadcast_to(np.eye(3), (n, 3, 3)),
        position=np.zeros((n, 3)),
        distortion=np.empty((n, N_DISTORTION_COEFFICIENTS)),
        world_up=np.empty((n, 3)),
    )
    for source, members in parts:
        rows = positions[members]
        bbox[members] = source.bbox[rows]
        camera.intrinsics[members] = source.intrinsics[rows]
        camera.distortion[members] = source.distortion[rows]
        camera.world_up[members] = source.up[rows]
    known = camera.intrinsics.any(axis=(1, 2))
    if known.all():
        return camera, training_camera(camera, bbox, side=side, draws=draws)
    target = replace(camera, intrinsics=np.empty((n, 3, 3)), rotation=np.empty((n, 3, 3)))
    target = without_distortion(target)
    with_camera, without = np.flatnonzero(known), np.flatnonzero(~known)
    pretended, imagined = training_camera_without_source(
        sizes[without], bbox[without], side=side, draws=_some(draws, without)
    )
    camera.intrinsics[without] = pretended.intrinsics
    camera.distortion[without] = 0
    camera.world_up[without] = pretended.world_up
    turned = training_camera(
        camera[with_camera], bbox[with_camera], side=side, draws=_some(draws, with_camera)
    )
    for where, part in ((with_camera, turned), (without, imagined)):
        target.intrinsics[where] = part.intrinsics
        target.rotation[where] = part.rotation
    return camera, target


def _some(draws: GeometryDraws, where: npt.NDArray[np.int64]) -> GeometryDraws:
    return draws if draws is UNCHANGED else draws[where]


def _points(
    source: Source,
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    camera: Camera,
    target: Camera,
    members: npt.NDArray[np.int64],
) -> Batch:
    """The annotated points (M, P, ...) of a source's examples in the crops' frames, unmirrored in
    name and number; what the source has not is left out.
    """
    validity = source.validity[positions]
    points: Batch = {}
    if source.coords3d is not None:
        coords3d = source.coords3d[positions] @ target.rotation[members].mT
        points["coords3d"] = coords3d.astype(np.float32)
    else:
        assert source.coords2d is not None
        pixels = source.coords2d[positions]
        # The published loader keeps dense points that it discards as valid points at (0, 0).
        lowest = _LOWEST_TRUSTED * sizes[:, :1]
        validity = validity & (pixels[..., 1] <= lowest) & (pixels >= 0).all(axis=-1)
        moved = reproject(pixels, camera[members], target[members])
        points["coords2d"] = np.where(validity[..., np.newaxis], moved, 0).astype(np.float32)
    if source.surface is not None:
        points["canonical_points"] = source.surface[positions]
    joint_ids = np.int32(-1) if source.joint_ids is None else source.joint_ids
    points["joint_ids"] = np.broadcast_to(joint_ids, validity.shape)
    points["point_validity"] = validity
    return points
