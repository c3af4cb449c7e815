"""How a column lies on disk: its Zarr v3 metadata, shard names and chunk grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cache.chunks import ZSTD_LEVEL

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """A rectangular column, cut along its rows into shards and inner chunks.

    Attributes:
        name: the array's name in its group.
        dtype: numpy name of the element type.
        row_shape: shape of one row.
        fill: value of what is not stored.
        shard_rows: rows per shard file, a multiple of `chunk_rows`.
        chunk_rows: rows per inner chunk, the smallest thing that can be read.
        n_chunks: inner chunks per shard.
        row_bytes: length of a row.
        chunk_bytes: length of a decoded chunk.
    """

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    fill: float | int | bool
    shard_rows: int
    chunk_rows: int

    # Asked for with every chunk that is read, so worked out once.
    n_chunks: int = field(init=False, repr=False, compare=False)
    row_bytes: int = field(init=False, repr=False, compare=False)
    chunk_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.shard_rows % self.chunk_rows:
            raise ValueError(f"{self.shard_rows} rows do not divide into {self.chunk_rows}")
        row_bytes = np.dtype(self.dtype).itemsize * math.prod(self.row_shape)
        object.__setattr__(self, "n_chunks", self.shard_rows // self.chunk_rows)
        object.__setattr__(self, "row_bytes", row_bytes)
        object.__setattr__(self, "chunk_bytes", self.chunk_rows * row_bytes)

    def shard_path(self, shard: int) -> str:
        """Where shard number `shard` lies, relative to its split's group."""
        return "/".join([self.name, "c", str(shard), *["0"] * len(self.row_shape)])

    def array_metadata(self, n_rows: int) -> Json:
        """The `zarr.json` of the array with that many rows."""
        itemsize = np.dtype(self.dtype).itemsize
        endian = {"configuration": {"endian": "little"}} if itemsize > 1 else {}
        fill: Any = self.fill
        if np.dtype(self.dtype).kind == "f":
            fill = float(fill)
        elif np.dtype(self.dtype).kind in "iu":
            fill = int(fill)
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [n_rows, *self.row_shape],
            "data_type": self.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.shard_rows, *self.row_shape]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill,
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [self.chunk_rows, *self.row_shape],
                        "codecs": [
                            {"name": "bytes", **endian},
                            {
                                "name": "zstd",
                                "configuration": {"level": ZSTD_LEVEL, "checksum": False},
                            },
                            {"name": "crc32c"},
                        ],
                        "index_codecs": [
                            {"name": "bytes", "configuration": {"endian": "little"}},
                            {"name": "crc32c"},
                        ],
                        "index_location": "end",
                    },
                }
            ],
            "attributes": {},
        }


def layout_from_metadata(name: str, metadata: Mapping[str, Any]) -> ColumnLayout:
    """The inverse of `ColumnLayout.array_metadata`.

    Raises:
        KeyError, IndexError, TypeError, ValueError: not metadata that this package wrote.
    """
    shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    chunk = metadata["codecs"][0]["configuration"]["chunk_shape"]
    return ColumnLayout(
        name=name,
        dtype=str(metadata["data_type"]),
        row_shape=tuple(int(n) for n in metadata["shape"][1:]),
        fill=metadata["fill_value"],
        shard_rows=int(shard[0]),
        chunk_rows=int(chunk[0]),
    )


def group_metadata(attributes: Mapping[str, Any]) -> Json:
    """The `zarr.json` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def to_json(document: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """JSON whose bytes depend on nothing but the document."""
    # Without indentation: that takes json's slow way, ten times as long.
    try:
        return f"{json.dumps(document, ensure_ascii=False, allow_nan=False)}\n".encode()
    except UnicodeEncodeError:  # half a surrogate pair: not text, but names of files may hold it
        return f"{json.dumps(document, allow_nan=False)}\n".encode()
