"""Converted columns on their way home from the process that read the pickle."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from pipeline.columns import DatasetColumns, Ragged, SplitColumns, convert
from pipeline.schema import SPLITS, Kind
from pipeline.skeletons import Skeleton
from pipeline.unpickling import Extract, PickledDataset


def extract_columns(dataset: PickledDataset) -> Extract:
    """Convert in the reading process, and pack the result as arrays and JSON."""
    columns = convert(dataset)
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, dict[str, str]] = {}
    for name, split in columns.splits.items():
        for column, array in split.arrays.items():
            arrays[f"{name}/arrays/{column}"] = array
        for column, ragged in split.ragged.items():
            arrays[f"{name}/ragged/{column}"] = ragged.values
            arrays[f"{name}/lengths/{column}"] = ragged.lengths
        details[name] = {str(row): detail for row, detail in split.details.items()}
    facts = {
        "kind": columns.kind.value,
        "era": columns.era,
        "joint_names": list(columns.skeleton.joint_names),
        "edges": [list(edge) for edge in columns.skeleton.edges],
        "mirror": list(columns.skeleton.mirror),
        "details": details,
    }
    return Extract(arrays, facts)


def unpack_columns(extract: Extract) -> DatasetColumns:
    """The inverse of `extract_columns`, in the receiving process."""
    facts = extract.facts
    splits = {}
    for name in SPLITS:
        arrays: dict[str, npt.NDArray[Any]] = {}
        ragged: dict[str, Ragged] = {}
        for key, array in extract.arrays.items():
            split, form, column = key.split("/")
            if split != name:
                continue
            if form == "arrays":
                arrays[column] = array
            elif form == "ragged":
                ragged[column] = Ragged(array, extract.arrays[f"{name}/lengths/{column}"])
        details = {int(row): str(text) for row, text in facts["details"][name].items()}
        splits[name] = SplitColumns(arrays, ragged, details)
    skeleton = Skeleton(
        tuple(facts["joint_names"]),
        tuple((i, j) for i, j in facts["edges"]),
        tuple(facts["mirror"]),
    )
    return DatasetColumns(Kind(facts["kind"]), str(facts["era"]), skeleton, splits)
