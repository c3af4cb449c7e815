"""MosaicML Streaming's MDS: a typed column per array; of a compressed one, shards are unpacked to
disk at first use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from streaming import MDSWriter, StreamingDataset

from benchmarks.containers import (
    Columns,
    Examples,
    load_specification,
    save_specification,
    stacked,
)


def write(path: Path, examples: Examples, *, compression: str | None) -> None:
    save_specification(path, examples)
    columns = dict.fromkeys(examples.blobs, "bytes")
    for name, values in examples.arrays.items():
        dtype = "uint8" if values.dtype.kind == "b" else values.dtype.name
        shape = ",".join(map(str, values.shape[1:]))
        columns[name] = f"ndarray:{dtype}:{shape}" if shape else dtype
    arrays = {n: v.view(np.uint8) if v.dtype.kind == "b" else v for n, v in examples.arrays.items()}
    stored = Examples(arrays, examples.blobs)
    with MDSWriter(out=str(path / "mds"), columns=columns, compression=compression) as writer:
        for row in range(len(examples)):
            writer.write(stored.example(row))


class Reader:
    CHECKED, IS_SEQUENTIAL = "nothing", False

    def __init__(self, path: Path, *, compression: str | None) -> None:
        self._dataset = StreamingDataset(local=str(path / "mds"), batch_size=1)
        self._specification = load_specification(path)

    def columns(self) -> Columns:
        examples = (self._dataset[row] for row in range(self._specification.n_examples))
        return stacked(examples, self._specification)

    def example(self, row: int) -> Columns:
        found: Columns = self._dataset[row]
        for name, (dtype, _) in self._specification.arrays.items():
            if dtype.kind == "b":
                found[name] = np.asarray(found[name]).view(bool)
        return found
