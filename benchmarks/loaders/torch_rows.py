"""A map-style dataset of PyTorch over a container with random access, opened in each worker."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from benchmarks.containers import CONTAINERS, Reader
from benchmarks.loaders import Images, Task
from benchmarks.loaders.decoding import decode_and_warp
from benchmarks.loaders.torch_workers import images_of, shuffled


def batches(task: Task, path: Path) -> Generator[Images]:
    yield from images_of(shuffled(_Rows(task, path), task))


class _Rows(torch.utils.data.Dataset[Any]):
    def __init__(self, task: Task, path: Path) -> None:
        self._task, self._path = task, path
        self._reader: Reader | None = None

    def __len__(self) -> int:
        return self._task.n_batches * self._task.batch_size

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        if self._reader is None:
            self._reader = CONTAINERS[self._path.name].open(self._path)
        example = self._reader.example(row)
        image = decode_and_warp(
            example["image"], example["flags"], example["back"], side=self._task.side
        )
        return image, example["back"]
