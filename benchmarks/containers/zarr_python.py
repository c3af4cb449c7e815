"""zarr-python on a split of our own store, with its own codecs or those of zarrs."""

from __future__ import annotations

from pathlib import Path

import zarr

from benchmarks.containers import BLOBS, Columns


class Reader:
    CHECKED, IS_SEQUENTIAL = "every byte, CRC-32C", False

    def __init__(self, path: Path, *, pipeline: str | None) -> None:
        if pipeline:
            zarr.config.set({"codec_pipeline.path": pipeline})
        group = zarr.open_group(path, mode="r")
        self._arrays = dict(group.arrays())

    def columns(self) -> Columns:
        return {name: array[:] for name, array in self._arrays.items() if name != "image"}

    def example(self, row: int) -> Columns:
        found: Columns = {name: array[row] for name, array in self._arrays.items()}
        for name in BLOBS:
            if name in found:
                data = found[name].tobytes()
                length = found.get(f"{name}_length")
                found[name] = data.rstrip(b"\0") if length is None else data[: int(length)]
        return found
