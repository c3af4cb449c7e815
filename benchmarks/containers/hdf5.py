"""HDF5 by h5py: a chunked, shuffled, compressed dataset per column, blobs of variable length."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from benchmarks.containers import ROWS_PER_CHUNK, Columns, Examples

CHUNK_CACHE_BYTES = 1 << 24  # of each column


def write(path: Path, examples: Examples, *, compression: str) -> None:
    with h5py.File(path / "examples.h5", "w", libver="latest") as file:
        for name, values in examples.arrays.items():
            chunks = (min(ROWS_PER_CHUNK, len(values)), *values.shape[1:])
            file.create_dataset(
                name, data=values, chunks=chunks, compression=compression, shuffle=True
            )
        for name, blobs in examples.blobs.items():
            dataset = file.create_dataset(name, (len(blobs),), dtype=h5py.vlen_dtype(np.uint8))
            for row, data in enumerate(blobs):
                dataset[row] = np.frombuffer(data, np.uint8)


class Reader:
    CHECKED, IS_SEQUENTIAL = "nothing", False

    def __init__(self, path: Path, *, compression: str) -> None:
        self._file = h5py.File(path / "examples.h5", "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
        self._datasets = dict(self._file.items())
        self._blobs = [n for n, d in self._datasets.items() if h5py.check_vlen_dtype(d.dtype)]

    def columns(self) -> Columns:
        found: Columns = {n: data[:] for n, data in self._datasets.items() if n != "image"}
        for name in self._blobs:
            if name in found:
                found[name] = [values.tobytes() for values in found[name]]
        return found

    def example(self, row: int) -> Columns:
        found: Columns = {name: dataset[row] for name, dataset in self._datasets.items()}
        for name in self._blobs:
            found[name] = found[name].tobytes()
        return found
