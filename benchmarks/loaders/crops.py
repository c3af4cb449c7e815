"""The pictures of a number of training batches with their crops, as our loader draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from benchmarks.containers import Examples
from benchmarks.loaders import SEED, WORKERS, Task
from benchmarks.loaders.decoding import checksum, decode_and_warp
from cache.reader import Store
from stages.settings import load_section
from stages.train.augmentation import REDUCED_DECODING, Scenery
from stages.train.canonical_body import joint_table, load_canonical_body
from stages.train.examples import Batch, ExampleReader, Pictures
from stages.train.loader import BatchMaker
from stages.train.settings import BatchSettings, CropSettings, HeadSettings, TrainSettings
from stages.train.sources import Source, open_source

PRESETS = ("sample", "published geometry", "published")
NO_APPEARANCE: Mapping[str, Any] = {
    "color_aug": False,
    "occlude_aug_prob": 0.0,
    "jpeg_aug_prob": 0.0,
    "background_aug_prob": 0.0,
    "background_aug_prob_real": 0.0,
    "background_aug_prob_grey": 0.0,
}


def opened(task: Task) -> tuple[TrainSettings, list[Source], ExampleReader]:
    """Settings of a preset, its sources and the reader."""
    settings = load_section(TrainSettings, "train")
    if task.preset != "sample":
        crop = CropSettings(**(NO_APPEARANCE if task.preset == "published geometry" else {}))
        settings = replace(settings, head=HeadSettings(), crop=crop, batch=BatchSettings())
    data = replace(settings.data, loader_threads=WORKERS, prefetch_batches=WORKERS)
    settings = replace(settings, data=data)
    stores = {name: Store.open(task.stores / f"{name}.zarr") for name in data.datasets}
    body = load_canonical_body(task.body)
    names = {name: store.attributes["joint_names"] for name, store in stores.items()}
    table = joint_table(body, names)
    sources = [
        open_source(name, s, split_name="train", table=table, body=body, batch=settings.batch)
        for name, s in stores.items()
    ]
    return settings, sources, ExampleReader(settings, Scenery(), n_slots=settings.batch.num_points)


def drawn(task: Task) -> Iterator[tuple[Batch, Pictures]]:
    """Every batch without its pixels, and what makes these."""
    settings, sources, reader = opened(task)
    maker = BatchMaker(sources, reader, batch=settings.batch, seed=SEED)
    for number in range(task.n_batches):
        which, positions = maker.examples(number)
        draws = reader.draw(sources, which, maker.generator(number))
        yield reader.prepare(sources, which, positions, draws=draws)


def examples_to_write(task: Task) -> Examples:
    """What the peers are given: the encoded pictures and how to decode and warp each."""
    images: list[bytes] = []
    back, flags = [], []
    for _, pictures in drawn(task):
        images += pictures._encoded
        back.append(pictures._warps.back)
        flags += _flags(pictures)
    arrays = {"back": np.concatenate(back), "flags": np.array(flags, np.int64)}
    return Examples(arrays, {"image": images})


def prove_and_number(task: Task) -> dict[str, Any]:
    """Checksums of the pictures as ours makes them and as the peers do, after they were compared.

    A homography does not say it all of crops that look behind the picture's camera: these only ours
    renders by maps of positions, and only these may differ. For those who read our stores, it is
    saved here which row of which store each example is.

    Raises:
        RuntimeError: a peer would make another picture than ours.
    """
    datasets = load_section(TrainSettings, "train").data.datasets
    rows: dict[str, list[Any]] = {"dataset": [], "row": [], "back": [], "flags": []}
    ours, theirs, by_maps = 0, 0, 0
    for batch, pictures in drawn(task):
        flags = _flags(pictures)
        rows["dataset"] += [datasets[source] for source in batch["source"]]
        rows["row"] += batch["row"].tolist()
        rows["back"] += list(pictures._warps.back)
        rows["flags"] += flags
        side = batch["image"].shape[1]
        for i, out in enumerate(batch["image"]):
            pictures.render(i, out)
            image = decode_and_warp(
                pictures._encoded[i], flags[i], pictures._warps.back[i], side=side
            )
            if not pictures._warps.by_maps[i] and not np.array_equal(image, out):
                raise RuntimeError(f"picture {i} of a batch is another one for the peers")
            by_maps += bool(pictures._warps.by_maps[i])
            ours, theirs = ours + checksum(out), theirs + checksum(image)
    np.savez(task.rows, **{name: np.array(values) for name, values in rows.items()})
    return {"ours": ours, "theirs": theirs, "by_maps": by_maps}


def published_shape() -> tuple[int, int]:
    """Examples in a published batch and the side of their crops."""
    batch = BatchSettings()
    n = batch.batch_size_parametric + batch.batch_size
    return n + batch.batch_size_densepose + batch.batch_size_2d, HeadSettings().proc_side


def _flags(pictures: Pictures) -> list[int]:
    kept = cv2.IMREAD_IGNORE_ORIENTATION
    return [REDUCED_DECODING[factor] | kept for factor in pictures._factors]
