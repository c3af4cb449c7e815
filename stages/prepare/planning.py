"""The plan of a store: widths, layouts and blocks, a pure function of the converted columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.blocks import BlockSource
from cache.layout import ColumnLayout
from cache.source_files import FileColumn, scan_files
from cache.stat_cache import StatCache
from errors import SourceError
from pipeline.columns import DatasetColumns, SplitColumns
from pipeline.image_files import BrokenImageError, image_size
from pipeline.schema import (
    BODY_MODELS,
    GENDERS,
    SCHEMA_VERSION,
    Kind,
    Status,
    Widths,
    column_specs,
)
from stages.prepare.excludes import without
from stages.prepare.settings import PrepareSettings
from stages.prepare.source import Source

MIN_IMAGE_BYTES = 64 * 1024
MAX_IMAGE_BYTES = 256 * 1024 * 1024  # a larger file is not a photograph
STATUS_NAMES = {int(status): status.name.lower() for status in Status}
PICTURE_CHECK = 1  # version of `check_picture`: what it says of a file is part of a block


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """One block: which rows of which split, and all that its bytes depend on."""

    split: str
    rows: range
    source: BlockSource


@dataclass(frozen=True, slots=True)
class StorePlan:
    """All that a store will be, before its first byte is written.

    Attributes:
        attributes: of the root group.
        layouts: of every column.
        n_rows: of all splits together.
        blocks: of all splits, in order; made one by one, since they hold padded rows.
    """

    attributes: Mapping[str, Any]
    layouts: Sequence[ColumnLayout]
    n_rows: int
    blocks: Iterator[PlannedBlock]


def plan_store(
    dataset: str,
    source: Source,
    settings: PrepareSettings,
    *,
    images: Path | None,
    stats: StatCache,
) -> StorePlan:
    """Plan the store of a dataset; looks at every picture's `stat`, and reads none.

    Args:
        images: the folder that `image_path` is relative to; None leaves the pictures out.

    Raises:
        SourceError: none of the pictures is there.
    """
    columns = source.columns
    files = file_column(images) if images is not None else None
    sources = {n: split_sources(split, images=images) for n, split in columns.splits.items()}
    identities: dict[str, list[bytes | None]] = {}
    longest = 0
    for name, split in columns.splits.items():
        identities[name] = [b""] * split.n_rows
        if files is not None:
            usable = (split.arrays["status"] == Status.USABLE).tolist()
            paths = [p if ok else None for p, ok in zip(sources[name], usable, strict=True)]
            identities[name], longest_here = scan_files(files, paths, stats)
            longest = max(longest, longest_here)
    if files is not None and longest == 0:
        _refuse_empty_folder(columns, files.root, sources)
    # Widths are those of all examples: leaving one out must not change any other block.
    widths = plan_widths(columns, largest_image_bytes=longest)
    columns = without(columns, source.excluded)
    for name, excluded in source.excluded.items():
        for row in excluded:
            identities[name][row] = b""
    layouts = plan_layouts(columns.kind, widths, settings)
    return StorePlan(
        attributes=store_attributes(dataset, source, with_images=images is not None),
        layouts=layouts,
        n_rows=sum(split.n_rows for split in columns.splits.values()),
        blocks=_plan_blocks(columns, layouts, settings.rows_per_block, files, sources, identities),
    )


def store_attributes(dataset: str, source: Source, *, with_images: bool) -> dict[str, Any]:
    """The attributes of a store's root group."""
    columns, skeleton = source.columns, source.columns.skeleton
    roots = skeleton.root_candidates
    attributes: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "kind": columns.kind.value,
        "point_names": [] if columns.kind is Kind.DENSE else list(skeleton.joint_names),
        "joint_names": list(skeleton.joint_names),
        "edges": [list(edge) for edge in skeleton.edges],
        "mirror": list(skeleton.mirror),
        "root_name": skeleton.joint_names[roots[0]] if roots else None,
        "units": {"coords3d": "m", "coords2d": "px", "bbox": "px", "extrinsics": "m"},
        "frame": "camera: x right, y down, z forward; pixel (0, 0) is the centre of the top left",
        "status_names": {str(code): name for code, name in STATUS_NAMES.items()},
        "provenance": {**source.provenance, "parameters": {"images": with_images}},
    }
    if columns.kind is Kind.PARAM:
        attributes |= {"body_models": list(BODY_MODELS), "genders": list(GENDERS)}
    return attributes


def plan_widths(columns: DatasetColumns, *, largest_image_bytes: int) -> Widths:
    """The data-dependent widths, rounded up so that a slightly longer newcomer changes nothing."""

    def longest(name: str) -> int:
        ragged = [s.ragged[name] for s in columns.splits.values() if name in s.ragged]
        return max((int(r.lengths.max()) for r in ragged if len(r.lengths)), default=0)

    n_joints = len(columns.skeleton.joint_names)
    shapes = (
        [s.arrays["body_shape"].shape[1] for s in columns.splits.values() if s.n_rows]
        if (columns.kind is Kind.PARAM)
        else []
    )
    is_dense = columns.kind is Kind.DENSE
    return Widths(
        points=_round_up(longest("surface_pixels"), 32) if is_dense else n_joints,
        joints=n_joints,
        image_bytes=max(MIN_IMAGE_BYTES, 1 << max(0, largest_image_bytes - 1).bit_length()),
        image_path=_round_up(longest("image_path"), 32),
        mask_bytes=_round_up(longest("mask"), 32),
        body_shape=_round_up(max(shapes, default=0), 16) if columns.kind is Kind.PARAM else 0,
    )


def plan_layouts(kind: Kind, widths: Widths, settings: PrepareSettings) -> list[ColumnLayout]:
    """Layout of every column: one inner chunk per example for `image`, some tens for the rest."""
    return [
        ColumnLayout(
            name=name,
            dtype=spec.dtype,
            row_shape=spec.row_shape,
            fill=spec.fill,
            shard_rows=settings.rows_per_block,
            chunk_rows=1 if name == "image" else settings.rows_per_chunk,
        )
        for name, spec in column_specs(kind, widths).items()
    ]


def _plan_blocks(
    columns: DatasetColumns,
    layouts: Sequence[ColumnLayout],
    rows_per_block: int,
    files: FileColumn | None,
    sources: Mapping[str, Sequence[str]],
    identities: Mapping[str, Sequence[bytes | None]],
) -> Iterator[PlannedBlock]:
    """Cut every split into blocks, in the source's order; columns are padded when asked for."""
    parameters = {"schema_version": SCHEMA_VERSION, "kind": columns.kind.value}
    if files is not None:
        parameters["picture_check"] = PICTURE_CHECK
    for name, split in columns.splits.items():
        for start in range(0, split.n_rows, rows_per_block):
            rows = range(start, min(start + rows_per_block, split.n_rows))
            arrays, packed = _block_arrays(split, rows, layouts)
            source = BlockSource(
                layouts=layouts,
                arrays=arrays,
                packed=packed,
                sources=sources[name][rows.start : rows.stop],
                details={r - start: split.details[r] for r in rows if r in split.details},
                file_column=files,
                identities=identities[name][rows.start : rows.stop],
                parameters=parameters,
            )
            yield PlannedBlock(name, rows, source)


def file_column(images: Path) -> FileColumn:
    """How the `image` column is read from the files below a folder."""
    return FileColumn(
        column="image",
        length_column="image_length",
        root=images,
        max_bytes=MAX_IMAGE_BYTES,
        missing_status=Status.MISSING_IMAGE,
        broken_status=Status.BROKEN_IMAGE,
        check=check_picture,
    )


def _refuse_empty_folder(
    columns: DatasetColumns, images: Path, sources: Mapping[str, Sequence[str]]
) -> None:
    wanted = [
        sources[name][row]
        for name, split in columns.splits.items()
        for row in np.flatnonzero(split.arrays["status"] == Status.USABLE).tolist()
    ]
    if wanted:
        raise SourceError(
            f"none of the {len(wanted)} pictures is there",
            where=f"{images}; the first one would be {images / wanted[0]}",
            cause="--images, or `images` in params.yaml, is not the folder that the pickle's paths "
            "are relative to",
            next_command="give the right --images, or --no-images to convert annotations alone",
        )


def check_picture(data: bytes) -> tuple[int, str]:
    """Status of an encoded picture and, if it is not usable, why."""
    try:
        image_size(data)
    except BrokenImageError as error:
        return Status.BROKEN_IMAGE, str(error)
    return Status.USABLE, ""


def split_sources(split: SplitColumns, *, images: Path | None) -> list[str]:
    """The `image_path` of every row as text, relative to the images' folder.

    Very old pickles hold absolute paths; those below the images' folder are made relative, others
    do not name a file of it.
    """
    ragged = split.ragged["image_path"]
    data = ragged.values.tobytes()
    ends = np.cumsum(ragged.lengths, dtype=np.int64).tolist()
    starts = [0, *ends][: len(ends)]
    paths = [data[a:b].decode("utf-8") for a, b in zip(starts, ends, strict=True)]
    prefix = f"{images}/"
    return [path.removeprefix(prefix) for path in paths]


def _block_arrays(
    split: SplitColumns, rows: range, layouts: Sequence[ColumnLayout]
) -> tuple[
    Mapping[str, npt.NDArray[Any]], Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[Any]]]
]:
    """The rows of every column, padded, and those of padded columns without the padding."""
    arrays = {name: array[rows.start : rows.stop] for name, array in split.arrays.items()}
    packed: dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[Any]]] = {}
    renamed = {
        "point_validity": "surface_validity",
        "coords2d": "surface_pixels",
        "surface_vertices": "surface_vertices",
        "surface_weights": "surface_weights",
        "image_path": "image_path",
        "mask": "mask",
    }
    for layout in layouts:
        name = renamed.get(layout.name, "")
        if name in split.ragged and layout.name not in arrays:
            ragged = split.ragged[name].rows(rows.start, rows.stop)
            packed[layout.name] = ragged.lengths, ragged.values
            arrays[layout.name] = ragged.padded(0, len(rows), layout.row_shape[0])
        elif layout.name == "body_shape":
            shape = arrays["body_shape"]
            width = layout.row_shape[0] - shape.shape[1]
            arrays["body_shape"] = np.pad(shape, ((0, 0), (0, width)))
    return arrays, packed


def _round_up(n: int, multiple: int) -> int:
    return max(multiple, -(-n // multiple) * multiple)
