"""Grain over ArrayRecord: a global shuffle, threads that make a batch each."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import grain

from benchmarks.containers.msgpack_records import unpack
from benchmarks.loaders import SEED, WORKERS, Images, Task
from benchmarks.loaders.decoding import decode_and_warp


def batches(task: Task, path: Path) -> Generator[Images]:
    cv2.setNumThreads(1)

    def change(record: bytes) -> tuple[Any, ...]:
        example = unpack(record)
        image = decode_and_warp(example["image"], example["flags"], example["back"], side=task.side)
        return image, example["back"]

    files = sorted(map(str, path.glob("*.array_record")))
    examples = (
        grain.MapDataset.source(grain.sources.ArrayRecordDataSource(files))
        .shuffle(seed=SEED)
        .map(change)
        .batch(task.batch_size, drop_remainder=True)
    )
    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=WORKERS)
    iterator = iter(examples.to_iter_dataset(options))
    try:
        for images, _ in iterator:
            yield images
    finally:
        iterator.close()
