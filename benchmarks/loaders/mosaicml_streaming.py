"""MosaicML Streaming: its dataset, which shuffles and shares out the examples, and PyTorch's
workers."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from streaming import StreamingDataLoader, StreamingDataset

from benchmarks.loaders import SEED, WORKERS, Images, Task
from benchmarks.loaders.decoding import decode_and_warp
from benchmarks.loaders.torch_workers import images_of, one_thread


def batches(task: Task, path: Path) -> Generator[Images]:
    class Examples(StreamingDataset):
        def __getitem__(self, at: int) -> Any:
            example = super().__getitem__(at)
            image = decode_and_warp(
                example["image"], example["flags"], example["back"], side=task.side
            )
            return image, example["back"]

    dataset = Examples(
        local=str(path / "mds"), shuffle=True, shuffle_seed=SEED, batch_size=task.batch_size
    )
    loader = StreamingDataLoader(
        dataset, batch_size=task.batch_size, num_workers=WORKERS, worker_init_fn=one_thread
    )
    yield from images_of(loader)
