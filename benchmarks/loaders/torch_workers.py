"""How PyTorch's workers are started for all that use them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.loaders import SEED, WORKERS, Images, Task


def shuffled(dataset: Dataset[Any], task: Task) -> DataLoader[Any]:
    """The batches of a dataset with random access, in a random order.

    The workers are forked: what has threads, such as TensorStore, must be imported by them alone.
    """
    return DataLoader(
        dataset,
        batch_size=task.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(SEED),
        num_workers=WORKERS,
        worker_init_fn=one_thread,
        drop_last=True,
    )


def one_thread(worker: int) -> None:
    """What a worker does first: leave the other processors to the others."""
    cv2.setNumThreads(1)


def images_of(loader: Iterable[Any]) -> Generator[Images]:
    """The pictures of its batches; at the end of them, or when closed, the workers are gone."""
    iterator = iter(loader)
    try:
        for images, _ in iterator:
            yield images.numpy() if isinstance(images, torch.Tensor) else images
    finally:
        del iterator  # its end is that of the workers
