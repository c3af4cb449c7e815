"""The limit: each column one uncompressed array of NumPy's, the blobs one after the other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.containers import Columns, Examples, load_specification, save_specification


def write(path: Path, examples: Examples) -> None:
    save_specification(path, examples)
    for name, values in examples.arrays.items():
        np.save(path / f"{name}.npy", values)
    for name, blobs in examples.blobs.items():
        np.save(path / f"{name}_ends.npy", np.cumsum([len(blob) for blob in blobs]))
        (path / name).write_bytes(b"".join(blobs))


class Reader:
    CHECKED, IS_SEQUENTIAL = "nothing", False

    def __init__(self, path: Path) -> None:
        self._path = path
        specification = load_specification(path)
        self._arrays = {n: np.load(path / f"{n}.npy", mmap_mode="r") for n in specification.arrays}
        self._ends = {name: np.load(path / f"{name}_ends.npy") for name in specification.blobs}
        self._files = {name: os.open(path / name, os.O_RDONLY) for name in specification.blobs}

    def columns(self) -> Columns:
        found: Columns = {name: np.load(self._path / f"{name}.npy") for name in self._arrays}
        for name, ends in self._ends.items():
            if name != "image":
                data = (self._path / name).read_bytes()
                starts = [0, *ends[:-1].tolist()]
                found[name] = [data[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
        return found

    def example(self, row: int) -> Columns:
        found: Columns = {name: np.array(values[row]) for name, values in self._arrays.items()}
        for name, ends in self._ends.items():
            start = int(ends[row - 1]) if row else 0
            found[name] = os.pread(self._files[name], int(ends[row]) - start, start)
        return found
