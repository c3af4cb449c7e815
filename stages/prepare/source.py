"""The annotations of one dataset, read and converted, with where they come from."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from errors import SourceError
from pipeline.columns import DatasetColumns
from pipeline.datasets import DATASETS
from pipeline.schema import Kind
from pipeline.unpickling import begin_read
from stages.prepare.excludes import Excluded
from stages.prepare.settings import DatasetFiles
from stages.prepare.transfer import extracts_for, unpack_columns

# Part of every store's provenance, not of a block's key: that depends on what the converter made.
CONVERTER_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Source:
    """Converted annotations, what the store says of their origin, and who is to be left out."""

    columns: DatasetColumns
    provenance: dict[str, Any]
    excluded: Excluded = field(default_factory=dict)


def read_source(dataset: str, files: DatasetFiles) -> Source:
    """Read and convert in a guarded child while this process takes the file's digest.

    Raises:
        SourceError: the pickle is not there, cannot be read or changes meanwhile.
    """
    path = files.annotations
    if not path.is_file():
        raise SourceError(
            "the annotations are not there",
            where=str(path),
            cause="the path is wrong, or the sample data was not made yet",
            next_command="run `cli.py sample`, or name the file in params.yaml or by --annotations",
        )
    before = path.stat()
    pending = begin_read(path, *extracts_for(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    columns = unpack_columns(pending.result())
    if _version(path.stat()) != _version(before):
        raise SourceError(
            "the annotations changed while they were being read",
            where=str(path),
            cause="another program is writing this file",
            next_command="wait until it is done, then run the same command again",
        )
    _check_declaration(dataset, columns, files)
    provenance = {
        "source": path.name,
        "source_bytes": before.st_size,
        "source_sha256": digest,
        "era": columns.era,
        "converter_version": CONVERTER_VERSION,
    }
    return Source(columns, provenance)


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _check_declaration(dataset: str, columns: DatasetColumns, files: DatasetFiles) -> None:
    declaration = DATASETS.get(dataset)
    if declaration is None:
        return
    dimensions = 3 if columns.kind in (Kind.KP3D, Kind.PARAM) else 2
    if dimensions != declaration.dimensions:
        raise SourceError(
            f"this is not {dataset}: it holds {dimensions}D annotations, "
            f"{dataset} has {declaration.dimensions}D ones",
            where=str(files.annotations),
            cause="the file of another dataset was given",
            next_command=f"look for {declaration.file_name}, or choose another name than {dataset}",
        )
    if columns.skeleton.joint_names != declaration.skeleton.joint_names:
        tqdm.write(
            f"note: {files.annotations.name} has other joints "
            f"({len(columns.skeleton.joint_names)}) than {dataset} is known for "
            f"({len(declaration.skeleton.joint_names)}); its own are used",
            file=sys.stderr,
        )
