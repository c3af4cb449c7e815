"""A map-style dataset of PyTorch that reads the pictures of our own stores with another library.

Crops are in memory, as annotations are in our loader.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loaders import Images, Task
from benchmarks.loaders.decoding import decode_and_warp
from benchmarks.loaders.torch_workers import images_of, shuffled


def batches(task: Task, *, package: str) -> Generator[Images]:
    yield from images_of(shuffled(_Stores(task, package), task))


class _Stores(torch.utils.data.Dataset[Any]):
    def __init__(self, task: Task, package: str) -> None:
        self._task, self._package = task, package
        with np.load(task.rows) as rows:
            self._dataset, self._row = rows["dataset"], rows["row"]
            self._back, self._flags = rows["back"], rows["flags"]
        self._columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._row)

    def __getitems__(self, examples: Sequence[int]) -> list[tuple[Any, ...]]:
        """All pictures of a batch: TensorStore is asked for all before the first is waited for."""
        if not self._columns:
            opened = _with_zarr if self._package == "zarr" else _with_tensorstore
            names = np.unique(self._dataset).tolist()
            self._columns = {n: opened(self._task.stores / f"{n}.zarr" / "train") for n in names}
        return [
            (decode_and_warp(data, flags, back, side=self._task.side), back)
            for data, flags, back in zip(
                self._encoded(examples), self._flags[examples], self._back[examples], strict=True
            )
        ]

    def _encoded(self, examples: Sequence[int]) -> Iterable[Any]:
        places = [(self._columns[self._dataset[i]], self._row[i]) for i in examples]
        if self._package == "zarr":
            return (image[row][: length[row]] for (image, length), row in places)
        reading = [(image[row].read(), length[row]) for (image, length), row in places]
        return (image.result()[:n] for image, n in reading)


def _with_zarr(split: Path) -> tuple[Any, Any]:
    import zarr

    # In Rust: a picture takes half the time, here, that zarr-python's own codecs take.
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    group = zarr.open_group(split, mode="r")
    return group["image"], group["image_length"][:]


def _with_tensorstore(split: Path) -> tuple[Any, Any]:
    import tensorstore as ts

    image, length = (
        ts.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{split / name}/"}},
            read=True,
        ).result()
        for name in ("image", "image_length")
    )
    return image, length.read().result()
