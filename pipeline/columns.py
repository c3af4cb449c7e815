"""From a pickled data set to the columns of a store: units, frames, validity, reasons to reject.

World millimetres become camera metres, distortion is kept, validity comes from NaN, the root is the
first valid point whose name begins with `pelv`. Nothing is dropped: an example that cannot be used
keeps its row and gets a status and a sentence saying why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.schema import BODY_MODELS, GENDERS, SPLITS, Kind, Status
from pipeline.skeletons import Skeleton, root_index
from pipeline.unpickling import (
    Examples,
    PickledDataset,
    Reading,
    body_columns,
    boxes,
    camera_columns,
    coords2d,
    image_paths,
    mask_columns,
    surface_points,
    world_coords,
)

Arrays = dict[str, npt.NDArray[Any]]

_ROWS_AT_A_TIME = 2048


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths, one after the other.

    Attributes:
        values: (sum of lengths, ...).
        lengths: int32 (N,).
    """

    values: npt.NDArray[Any]
    lengths: npt.NDArray[np.int32]

    def rows(self, start: int, stop: int) -> Ragged:
        """Rows `start` to `stop` (exclusive) by themselves."""
        if start == 0 and stop >= len(self.lengths):
            return self
        first = int(self.lengths[:start].sum(dtype=np.int64))
        last = first + int(self.lengths[start:stop].sum(dtype=np.int64))
        return Ragged(self.values[first:last], self.lengths[start:stop])

    def padded(self, start: int, stop: int, width: int) -> npt.NDArray[Any]:
        """Rows `start` to `stop` (exclusive) as (stop - start, width, ...), zeros at the end."""
        values, lengths = (rows := self.rows(start, stop)).values, rows.lengths
        if len(lengths) and lengths.max() > width:
            raise ValueError(f"a row of {lengths.max()} values does not fit into {width}")
        out = np.zeros((len(lengths), width, *values.shape[1:]), dtype=values.dtype)
        # Copying row by row is ten times as fast as an index of what to copy where.
        item = out.itemsize * int(np.prod(out.shape[2:], dtype=np.int64))
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        target = out.reshape(-1).view(np.uint8).data
        at = 0
        for row, length in enumerate((lengths.astype(np.int64) * item).tolist()):
            place = row * width * item
            target[place : place + length] = data[at : at + length]
            at += length
        return out

    def any_per_row(self) -> npt.NDArray[np.bool_]:
        """Whether any value of each row is true, (N,); False for an empty row."""
        row_of_value = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.bincount(row_of_value[self.values.astype(bool)], minlength=len(self.lengths)) > 0


class RaggedBlocks:
    """Blocks of ragged rows, one below the other and joined only where somebody asks for it."""

    def __init__(self, blocks: Sequence[Ragged]) -> None:
        self._blocks = blocks
        self._first_rows = np.cumsum([0] + [len(block.lengths) for block in blocks]).tolist()
        self.lengths: npt.NDArray[np.int32] = np.concatenate([block.lengths for block in blocks])

    @property
    def values(self) -> npt.NDArray[Any]:
        """(sum of lengths, ...)."""
        return np.concatenate([block.values for block in self._blocks])

    def rows(self, start: int, stop: int) -> Ragged:
        """Rows `start` to `stop` (exclusive) by themselves."""
        parts = [
            block.rows(max(0, start - first), min(len(block.lengths), stop - first))
            for first, block in zip(self._first_rows, self._blocks, strict=False)
            if first < stop and start < first + len(block.lengths)
        ]
        if len(parts) == 1:
            return parts[0]
        return Ragged(
            np.concatenate([part.values for part in parts] or [self._blocks[0].values[:0]]),
            np.concatenate([part.lengths for part in parts] or [self.lengths[:0]]),
        )

    def padded(self, start: int, stop: int, width: int) -> npt.NDArray[Any]:
        """As `Ragged.padded`."""
        rows = self.rows(start, stop)
        return rows.padded(0, len(rows.lengths), width)

    def any_per_row(self) -> npt.NDArray[np.bool_]:
        """As `Ragged.any_per_row`."""
        return np.concatenate([block.any_per_row() for block in self._blocks])


@dataclass(frozen=True, slots=True)
class SplitColumns:
    """The annotation columns of one split, not yet padded to the widths of a store.

    Attributes:
        arrays: rectangular columns, (N, ...), `status` among them.
        ragged: `image_path`, `mask` (bytes) and, for dense data sets, the surface points.
        details: by row, why it is rejected, in a sentence.
    """

    arrays: Arrays
    ragged: Mapping[str, Ragged | RaggedBlocks]
    details: Mapping[int, str]

    @property
    def n_rows(self) -> int:
        return len(self.arrays["status"])


@dataclass(frozen=True, slots=True)
class DatasetColumns:
    """A converted data set."""

    kind: Kind
    era: str
    skeleton: Skeleton
    splits: Mapping[str, SplitColumns]


def convert(dataset: PickledDataset) -> DatasetColumns:
    """Convert every split of a data set. Never raises for what is wrong with one example."""
    blocks = list(convert_blocks(dataset))
    splits = {
        split: joined([block for name, _, block in blocks if name == split]) for split in SPLITS
    }
    return DatasetColumns(kind_of(dataset), dataset.era, dataset.skeleton, splits)


def convert_blocks(
    dataset: PickledDataset, *, part: int = 0, n_parts: int = 1
) -> Iterator[tuple[str, int, SplitColumns]]:
    """Convert some of the blocks of rows, at least one per split, that `joined` puts together.

    Block by block: nearly all of the time goes into fetching scattered objects from memory.

    Args:
        part: convert every `n_parts`-th block only, from this one on.

    Yields:
        The split, the number of the block in it, and its columns.
    """
    kind = kind_of(dataset)
    blocks = [
        (split, number, block)
        for split in SPLITS
        for number, block in enumerate(dataset.examples[split].blocks(_ROWS_AT_A_TIME))
    ]
    for split, number, block in blocks[part::n_parts]:
        yield split, number, _convert_block(block, dataset.skeleton, kind)


def kind_of(dataset: PickledDataset) -> Kind:
    """What a data set annotates."""

    def any_has(attribute: str) -> bool:
        return any(examples.has(attribute) for examples in dataset.examples.values())

    if dataset.dimensions == 3:
        return Kind.PARAM if any_has("parameters") else Kind.KP3D
    return Kind.DENSE if any_has("densepose") else Kind.KP2D


class _Verdicts:
    """The status of each row; the first reason found stands."""

    def __init__(self, n_rows: int) -> None:
        self.status = np.zeros(n_rows, dtype=np.uint8)
        self.details: dict[int, str] = {}

    def reject(self, rows: npt.NDArray[np.bool_], status: Status, detail: str) -> None:
        for row in np.flatnonzero(rows & (self.status == Status.USABLE)).tolist():
            self.status[row] = status
            self.details[row] = detail


def joined(blocks: Sequence[SplitColumns]) -> SplitColumns:
    """Blocks one below the other; where one is narrower (body shapes), zeros fill it up."""
    if len(blocks) == 1:
        return blocks[0]
    first_rows = np.cumsum([0] + [block.n_rows for block in blocks])
    return SplitColumns(
        {name: _stacked([block.arrays[name] for block in blocks]) for name in blocks[0].arrays},
        {
            name: RaggedBlocks([cast(Ragged, block.ragged[name]) for block in blocks])
            for name in blocks[0].ragged
        },
        {
            int(first) + row: detail
            for first, block in zip(first_rows[:-1], blocks, strict=True)
            for row, detail in block.details.items()
        },
    )


def _stacked(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


def _convert_block(examples: Examples, skeleton: Skeleton, kind: Kind) -> SplitColumns:
    verdicts = _Verdicts(len(examples))
    ragged: dict[str, Ragged] = {}
    arrays: Arrays = {}

    paths = image_paths(examples)
    no_path = np.array([path is None for path in paths], dtype=bool)
    verdicts.reject(no_path, Status.MALFORMED_ANNOTATION, "image_path is absent or not text")
    leaving = np.array([".." in (p or "").split("/") or "\0" in (p or "") for p in paths], bool)
    verdicts.reject(leaving, Status.MALFORMED_ANNOTATION, "image_path leaves the images' folder")
    ragged["image_path"] = _ragged_bytes([(p or "").encode("utf-8", "replace") for p in paths])

    cameras_needed = kind in (Kind.KP3D, Kind.PARAM)
    world_to_camera = _add_cameras(arrays, verdicts, examples, are_needed=cameras_needed)
    if cameras_needed:
        _add_joints3d(arrays, verdicts, examples, skeleton, world_to_camera)
    elif kind is Kind.KP2D:
        validity, coords = _joints2d(verdicts, examples, skeleton)
        arrays |= {"point_validity": validity, "coords2d": coords}
    else:
        validity, coords = _joints2d(verdicts, examples, skeleton)
        arrays |= {"joint_validity": validity, "joints2d": coords}
        _add_surface_points(ragged, verdicts, examples)
    if kind is Kind.PARAM:
        _add_body(arrays, verdicts, examples)

    _add_boxes(arrays, verdicts, examples)
    masks = mask_columns(examples)
    verdicts.reject(
        masks.reading == Reading.MALFORMED, Status.UNREADABLE_MASK, "the mask cannot be decoded"
    )
    ragged["mask"] = _ragged_bytes(masks.counts)
    arrays |= {"mask_length": ragged["mask"].lengths, "mask_size": masks.size}

    if kind is Kind.DENSE:
        has_point = ragged["surface_validity"].any_per_row()
        arrays["root_index"] = np.full(len(examples), -1, dtype=np.int32)
    else:
        has_point = np.any(arrays["point_validity"], axis=1)
        arrays["root_index"] = root_index(arrays["point_validity"], skeleton)
    verdicts.reject(~has_point, Status.NO_VALID_POINT, "no point is annotated and finite")
    arrays["status"] = verdicts.status
    return SplitColumns(arrays, ragged, verdicts.details)


def _add_cameras(
    arrays: Arrays, verdicts: _Verdicts, examples: Examples, *, are_needed: bool
) -> npt.NDArray[np.float64]:
    """Add the camera columns; returns world (mm) to camera (m) as float64 (N, 3, 4)."""
    cameras = camera_columns(examples)
    malformed = cameras.reading == Reading.MALFORMED
    verdicts.reject(malformed, Status.UNREADABLE_CAMERA, "the camera is malformed or not finite")
    fisheye = cameras.reading == Reading.FISHEYE
    verdicts.reject(fisheye, Status.FISHEYE_CAMERA, "a fisheye camera is not a pinhole camera")
    if are_needed:
        absent = cameras.reading == Reading.ABSENT
        verdicts.reject(absent, Status.UNREADABLE_CAMERA, "the example has no camera")
    translation = -np.einsum("nij,nj->ni", cameras.rotation, cameras.optical_centre) / 1000
    extrinsics = np.concatenate([cameras.rotation, translation[:, :, None]], axis=2)
    is_read = (cameras.reading == Reading.READ)[:, None, None]
    arrays["intrinsics"] = np.where(is_read, cameras.intrinsics, 0).astype(np.float32)
    arrays["extrinsics"] = extrinsics.astype(np.float32)
    arrays["distortion"] = cameras.distortion.astype(np.float32)
    arrays["world_up"] = cameras.world_up.astype(np.float32)
    return extrinsics


def _add_joints3d(
    arrays: Arrays,
    verdicts: _Verdicts,
    examples: Examples,
    skeleton: Skeleton,
    world_to_camera: npt.NDArray[np.float64],
) -> None:
    world = world_coords(examples, n_joints=len(skeleton.joint_names))
    malformed = np.isin(world.reading, (Reading.MALFORMED, Reading.ABSENT))
    verdicts.reject(malformed, Status.MALFORMED_ANNOTATION, "world_coords are absent or malformed")
    rotation, translation = world_to_camera[:, :, :3], world_to_camera[:, None, :, 3]
    with np.errstate(invalid="ignore", over="ignore"):
        # Millimetres to metres first: what is large in the world must cancel in float64.
        camera = np.matmul(world.values * 0.001, rotation.transpose(0, 2, 1)) + translation
        coords3d = camera.astype(np.float32)
    validity = np.isfinite(coords3d).all(axis=2)
    coords3d[~validity] = 0
    arrays |= {"coords3d": coords3d, "point_validity": validity}


def _joints2d(
    verdicts: _Verdicts, examples: Examples, skeleton: Skeleton
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    pixels = coords2d(examples, n_joints=len(skeleton.joint_names))
    malformed = pixels.reading == Reading.MALFORMED
    verdicts.reject(malformed, Status.MALFORMED_ANNOTATION, "coords are malformed")
    coords = pixels.values.astype(np.float32)
    validity: npt.NDArray[np.bool_] = np.all(np.isfinite(coords), axis=2)
    coords[~validity] = 0
    return validity, coords


def _add_surface_points(ragged: dict[str, Ragged], verdicts: _Verdicts, examples: Examples) -> None:
    points = surface_points(examples)
    malformed = points.reading == Reading.MALFORMED
    verdicts.reject(malformed, Status.MALFORMED_ANNOTATION, "densepose is malformed")
    validity = np.ones(len(points.pixels), dtype=np.bool_)
    ragged["surface_validity"] = Ragged(validity, points.lengths)
    ragged["surface_pixels"] = Ragged(points.pixels, points.lengths)
    ragged["surface_vertices"] = Ragged(points.vertices, points.lengths)
    ragged["surface_weights"] = Ragged(points.weights, points.lengths)


def _add_body(arrays: Arrays, verdicts: _Verdicts, examples: Examples) -> None:
    body = body_columns(examples)
    malformed = body.reading == Reading.MALFORMED
    verdicts.reject(malformed, Status.MALFORMED_ANNOTATION, "the body parameters are malformed")
    models = {name: code for code, name in enumerate(BODY_MODELS)}
    genders = {name: code for code, name in enumerate(GENDERS)}
    is_read = body.reading == Reading.READ
    unknown = np.array([is_read[i] and m not in models for i, m in enumerate(body.model)], bool)
    verdicts.reject(unknown, Status.MALFORMED_ANNOTATION, "the body model is not a known one")
    arrays["body_model"] = np.array([models.get(name, 0) for name in body.model], dtype=np.uint8)
    arrays["body_gender"] = np.array([genders.get(g, 0) for g in body.gender], dtype=np.uint8)
    arrays["body_pose"] = body.pose
    arrays["body_shape"] = body.shape
    arrays["body_translation"] = body.translation
    arrays["body_kid_factor"] = body.kid_factor
    arrays["body_scale"] = body.scale


def _add_boxes(arrays: Arrays, verdicts: _Verdicts, examples: Examples) -> None:
    found = boxes(examples)
    box = found.values.astype(np.float32)
    with np.errstate(invalid="ignore"):
        is_good = (found.reading == Reading.READ) & np.isfinite(box).all(axis=1)
        is_good &= (box[:, 2:] >= 0).all(axis=1)
    verdicts.reject(~is_good, Status.MALFORMED_ANNOTATION, "bbox is absent, not finite or negative")
    arrays["bbox"] = np.where(is_good[:, None], box, 0).astype(np.float32)


def _ragged_bytes(rows: Sequence[bytes]) -> Ragged:
    return Ragged(
        np.frombuffer(b"".join(rows), dtype=np.uint8), np.array([len(r) for r in rows], np.int32)
    )
