"""WebDataset: shards in a random order, shared out to PyTorch's workers, and a shuffle buffer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import webdataset
from torch.utils.data import default_collate

from benchmarks.containers.msgpack_records import unpack
from benchmarks.loaders import SEED, SHUFFLED, WORKERS, Images, Task
from benchmarks.loaders.decoding import decode_and_warp
from benchmarks.loaders.torch_workers import images_of, one_thread


def batches(task: Task, path: Path) -> Generator[Images]:
    def change(member: Mapping[str, bytes]) -> tuple[Any, ...]:
        example = unpack(member["mp"])
        image = decode_and_warp(member["jpg"], example["flags"], example["back"], side=task.side)
        return image, example["back"]

    files = sorted(map(str, path.glob("*.tar")))
    dataset = (
        webdataset.WebDataset(files, shardshuffle=len(files), seed=SEED)
        .shuffle(SHUFFLED, seed=SEED)
        .map(change)
        # PyTorch's collation fills shared memory, its own an array that is then copied there.
        .batched(task.batch_size, collation_fn=default_collate, partial=False)
    )
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=WORKERS, worker_init_fn=one_thread
    )
    yield from images_of(loader)
