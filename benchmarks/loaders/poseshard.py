"""Our loader, with all that it computes besides: cameras, points, body parameters."""

from __future__ import annotations

from collections.abc import Generator

from benchmarks.loaders import SEED, Images, Task
from benchmarks.loaders.crops import opened
from stages.train.loader import training_stream


def batches(task: Task) -> Generator[Images]:
    settings, sources, reader = opened(task)
    stream = training_stream(
        sources,
        reader,
        batch=settings.batch,
        data=settings.data,
        seed=SEED,
        n_batches=task.n_batches,
    )
    try:
        for batch in stream:
            yield batch["image"]
    finally:
        stream.close()
