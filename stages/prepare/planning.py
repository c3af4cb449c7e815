"""The plan of a store: widths, layouts and blocks, a pure function of the converted columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.blocks import BlockSource, FileColumn
from cache.layout import ColumnLayout
from pipeline.columns import DatasetColumns, Ragged, SplitColumns
from pipeline.image_files import BrokenImageError, image_size
from pipeline.schema import SCHEMA_VERSION, Kind, Status, Widths, column_specs
from stages.prepare.settings import PrepareSettings

MIN_IMAGE_BYTES = 64 * 1024
MAX_IMAGE_BYTES = 256 * 1024 * 1024  # a larger file is not a photograph


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """One block: which rows of which split, and all that its bytes depend on."""

    split: str
    rows: range
    source: BlockSource


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


def plan_blocks(
    columns: DatasetColumns,
    layouts: Sequence[ColumnLayout],
    *,
    rows_per_block: int,
    images: Path | None,
) -> Iterator[PlannedBlock]:
    """Cut every split into blocks, in the source's order; columns are padded when asked for.

    Args:
        images: the folder that `image_path` is relative to; None leaves the pictures out.
    """
    file_column = None
    if images is not None:
        file_column = FileColumn(
            column="image",
            length_column="image_length",
            root=images,
            missing_status=Status.MISSING_IMAGE,
            check=check_picture,
        )
    for name, split in columns.splits.items():
        sources = split_sources(split, images=images)
        for start in range(0, split.n_rows, rows_per_block):
            rows = range(start, min(start + rows_per_block, split.n_rows))
            source = BlockSource(
                layouts=layouts,
                arrays=_block_arrays(split, rows, layouts),
                sources=sources[rows.start : rows.stop],
                details={r - start: split.details[r] for r in rows if r in split.details},
                file_column=file_column,
                parameters={"schema_version": SCHEMA_VERSION, "kind": columns.kind.value},
            )
            yield PlannedBlock(name, rows, source)


def largest_image(columns: DatasetColumns, images: Path) -> int:
    """Length in bytes of the largest picture that a usable example names; 0 if none is there."""
    largest = 0
    for split in columns.splits.values():
        paths = split_sources(split, images=images)
        for row in np.flatnonzero(split.arrays["status"] == Status.USABLE).tolist():
            try:
                size = os.stat(f"{images}/{paths[row]}").st_size  # noqa: PTH116 - hot path
            except OSError:
                continue
            if largest < size <= MAX_IMAGE_BYTES:
                largest = size
    return largest


def check_picture(data: bytes) -> tuple[int, str]:
    """Status of an encoded picture and, if it is not usable, why."""
    if len(data) > MAX_IMAGE_BYTES:
        return Status.BROKEN_IMAGE, f"the file is larger than {MAX_IMAGE_BYTES >> 20} MiB"
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
) -> Mapping[str, npt.NDArray[Any]]:
    arrays = {name: array[rows.start : rows.stop] for name, array in split.arrays.items()}
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
            arrays[layout.name] = _padded(split.ragged[name], rows, layout)
        elif layout.name == "body_shape":
            shape = arrays["body_shape"]
            width = layout.row_shape[0] - shape.shape[1]
            arrays["body_shape"] = np.pad(shape, ((0, 0), (0, width)))
    return arrays


def _padded(ragged: Ragged, rows: range, layout: ColumnLayout) -> npt.NDArray[Any]:
    return ragged.padded(rows.start, rows.stop, layout.row_shape[0])


def _round_up(n: int, multiple: int) -> int:
    return max(multiple, -(-n // multiple) * multiple)
