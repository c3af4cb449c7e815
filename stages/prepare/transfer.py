"""Converted columns on their way home from the processes that read the pickle."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.columns import (
    DatasetColumns,
    Ragged,
    SplitColumns,
    convert_blocks,
    joined,
    kind_of,
)
from pipeline.schema import SPLITS, Kind
from pipeline.skeletons import Skeleton
from pipeline.unpickling import Extract, PickledDataset

_LEAST_BYTES_TO_SHARE = 1 << 22  # a smaller pickle is converted before a second process has begun


def extracts_for(path: Path) -> list[Callable[[PickledDataset], Extract]]:
    """What to apply to a pickled data set, each in a process of its own, side by side."""
    is_small = path.stat().st_size < _LEAST_BYTES_TO_SHARE
    n_parts = 1 if is_small else min(2, len(os.sched_getaffinity(0)))
    return [
        functools.partial(extract_columns, part=part, n_parts=n_parts) for part in range(n_parts)
    ]


def extract_columns(dataset: PickledDataset, *, part: int = 0, n_parts: int = 1) -> Extract:
    """Convert in the reading process, and pack the result as arrays and JSON.

    Args:
        part: convert every `n_parts`-th block of rows only, from this one on.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, dict[str, str]] = {}
    for name, number, block in convert_blocks(dataset, part=part, n_parts=n_parts):
        place = f"{name}/{number}"
        for column, array in block.arrays.items():
            arrays[f"{place}/arrays/{column}"] = array
        for column, ragged in block.ragged.items():
            arrays[f"{place}/ragged/{column}"] = ragged.values
            arrays[f"{place}/lengths/{column}"] = ragged.lengths
        details[place] = {str(row): detail for row, detail in block.details.items()}
    facts = {
        "kind": kind_of(dataset).value,
        "era": dataset.era,
        "joint_names": list(dataset.skeleton.joint_names),
        "edges": [list(edge) for edge in dataset.skeleton.edges],
        "mirror": list(dataset.skeleton.mirror),
        f"details/{part}": details,
    }
    return Extract(arrays, facts)


def unpack_columns(extract: Extract) -> DatasetColumns:
    """The inverse of `extract_columns` of all parts together, in the receiving process."""
    facts = extract.facts
    details = {
        place: found
        for key, places in facts.items()
        if key.startswith("details/")
        for place, found in places.items()
    }
    blocks: dict[str, tuple[dict[str, npt.NDArray[Any]], dict[str, Ragged]]] = {
        place: ({}, {}) for place in details
    }
    for key, array in extract.arrays.items():
        split, number, form, column = key.split("/")
        arrays, ragged = blocks[f"{split}/{number}"]
        if form == "arrays":
            arrays[column] = array
        elif form == "ragged":
            lengths = extract.arrays[f"{split}/{number}/lengths/{column}"]
            ragged[column] = Ragged(array, lengths)
    splits = {}
    for name in SPLITS:
        n_blocks = sum(place.startswith(f"{name}/") for place in details)
        places = [f"{name}/{number}" for number in range(n_blocks)]
        splits[name] = joined(
            [
                SplitColumns(*blocks[place], {int(r): str(t) for r, t in details[place].items()})
                for place in places
            ]
        )
    skeleton = Skeleton(
        tuple(facts["joint_names"]),
        tuple((i, j) for i, j in facts["edges"]),
        tuple(facts["mirror"]),
    )
    return DatasetColumns(Kind(facts["kind"]), str(facts["era"]), skeleton, splits)
