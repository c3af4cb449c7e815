"""Rendering alone: everything else of all batches was done before the first is handed out."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from benchmarks.loaders import WORKERS, Images, Task
from benchmarks.loaders.crops import drawn
from stages.train.examples import Pictures


def batches(task: Task) -> Generator[Images]:
    cv2.setNumThreads(1)
    prepared = [(batch["image"].shape, pictures) for batch, pictures in drawn(task)]

    def render(shape: tuple[int, ...], pictures: Pictures) -> Images:
        images = np.empty(shape, np.uint8)
        for i, out in enumerate(images):
            pictures.render(i, out)
        return images

    with ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(render, *job) for job in prepared[:WORKERS]]
        for number in range(len(prepared)):
            done = running.pop(0).result()
            if number + WORKERS < len(prepared):
                running.append(pool.submit(render, *prepared[number + WORKERS]))
            yield done
