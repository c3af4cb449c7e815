"""The containers that are compared: the same examples, stored as each one's own guide says.

A module for each package, with a function `write` and a class `Reader` (see `Reader` here). They
are imported only where they are used: PyTorch and TensorFlow do not bear each other in one process.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

BLOBS = ("image", "mask", "image_path")
EXAMPLES_PER_SHARD = 1_000  # of the containers whose shards are read from their beginning
ROWS_PER_CHUNK = 32  # of HDF5: as many as ours
_SPECIFICATION = "columns.json"

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Examples:
    """N examples as everybody gets them.

    Attributes:
        arrays: by column, (N, ...).
        blobs: by column, N byte strings: the encoded picture, the compressed mask, a path.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    blobs: Mapping[str, Sequence[bytes]]

    def __len__(self) -> int:
        return len(next(iter(self.blobs.values())))

    def example(self, row: int) -> dict[str, Any]:
        """One example: an array or a byte string by column."""
        return {name: values[row] for name, values in [*self.arrays.items(), *self.blobs.items()]}


class Reader(Protocol):
    """How examples are read back.

    Attributes:
        CHECKED: what is compared with a checksum while reading, in a few words.
        IS_SEQUENTIAL: an example can be reached only through those before it in its shard.
    """

    CHECKED: str
    IS_SEQUENTIAL: bool

    def columns(self) -> Columns:
        """Everything but the pictures, of all rows: arrays (N, ...); blobs as N byte strings or
        padded."""

    def example(self, row: int) -> Columns:
        """Everything of one row, the encoded picture as bytes."""


@dataclass(frozen=True, slots=True)
class Container:
    """A row of every table: a module of this package, with its settings."""

    module: str
    options: Mapping[str, Any]

    @property
    def reads_our_store(self) -> bool:
        """Whether it reads the store itself, so that nothing has to be written."""
        return self.module in ("poseshard", "zarr_python", "tensor_store")

    def write(self, path: Path, examples: Examples) -> None:
        """Write a folder that holds these examples."""
        path.mkdir(parents=True)
        self.load().write(path, examples, **self.options)

    def open(self, path: Path) -> Reader:
        """Open what `write` wrote, or a split of a store of ours."""
        reader: Reader = self.load().Reader(path, **self.options)
        return reader

    def load(self) -> Any:
        """The module, imported."""
        return importlib.import_module(f"benchmarks.containers.{self.module}")


OURS = "poseshard"
LIMIT = "limit: plain arrays"
CONTAINERS: Mapping[str, Container] = {
    LIMIT: Container("plain_arrays", {}),
    OURS: Container("poseshard", {}),
    "zarr-python on our store": Container("zarr_python", {"pipeline": None}),
    "zarr-python, zarrs": Container("zarr_python", {"pipeline": "zarrs.ZarrsCodecPipeline"}),
    "TensorStore on our store": Container("tensor_store", {}),
    "HDF5 gzip": Container("hdf5", {"compression": "gzip"}),
    "HDF5 lzf": Container("hdf5", {"compression": "lzf"}),
    "TFRecord": Container("tfrecord", {"compression": ""}),
    "TFRecord gzip": Container("tfrecord", {"compression": "GZIP"}),
    "ArrayRecord": Container("array_record_files", {}),
    "MDS": Container("mds", {"compression": None}),
    "MDS zstd": Container("mds", {"compression": "zstd"}),
    "WebDataset": Container("web_dataset", {}),
    "Barecat": Container("barecat_msgpack", {}),
}


def examples_of(split: Any) -> Examples:
    """All rows of a split of a store (`cache.reader.Split`)."""
    rows = range(len(split))
    return Examples(
        {name: split.column(name) for name in split.columns if name not in BLOBS},
        {name: split.blobs(name, rows) for name in BLOBS if name in split.columns},
    )


def save_specification(path: Path, examples: Examples) -> None:
    """What a reader of records has to know of the columns: dtype and shape of a row."""
    columns = {name: [v.dtype.str, v.shape[1:]] for name, v in examples.arrays.items()}
    document = {"arrays": columns, "blobs": list(examples.blobs), "examples": len(examples)}
    (path / _SPECIFICATION).write_text(json.dumps(document))


@dataclass(frozen=True, slots=True)
class Specification:
    """What `save_specification` saved."""

    arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
    blobs: Sequence[str]
    n_examples: int


def load_specification(path: Path) -> Specification:
    document = json.loads((path / _SPECIFICATION).read_text())
    arrays = {
        n: (np.dtype(dtype), tuple(shape)) for n, (dtype, shape) in document["arrays"].items()
    }
    return Specification(arrays, document["blobs"], document["examples"])


def stacked(examples: Iterable[Mapping[str, Any]], specification: Specification) -> Columns:
    """Columns without pictures, from one example after the other."""
    n, arrays = specification.n_examples, specification.arrays
    found: Columns = {name: np.empty((n, *row), dtype) for name, (dtype, row) in arrays.items()}
    found |= {name: [b""] * n for name in specification.blobs if name != "image"}
    columns = list(found.items())
    for row, example in enumerate(examples):
        for name, values in columns:
            values[row] = example[name]
    return found
