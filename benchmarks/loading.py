"""The training loader against its limit and against other loaders.

    make setup-bench && .venv-bench/bin/python benchmarks/loading.py STORES BODY [--rounds R]
        [--batches B] [--json FILE] [--plot FILE]

STORES is the folder of the prepared stores, BODY the canonical body (data/stores,
data/sample/body.npz). Every contestant runs in a process of its own, they take turns, and each is
asked for the same number of batches after a first one that is not counted. `cpu_ms` is processor
time per example of the process and its workers, `peak_mib` the largest process.

* *limit*: decoding and warping alone, of the very pictures of the loader's batches, from memory, by
  as many threads, in the sample preset (64 px), in the published one (256 px) without changes of
  appearance, and with them; there the limit makes these changes too.
* *peers*: tf.data over TFRecord, MosaicML Streaming and Grain over ArrayRecord, 256 px. They get
  the crops ready made beside the encoded picture, so they have no geometry to compute and no
  annotation to move, and call the same function to decode and warp.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from benchmarks.measuring import peak_mib, print_table, save_json

WORKERS = 2
SEED = 1
RECORD = np.dtype([("flags", "<i8"), ("back", "<f8", (3, 3))])
NO_APPEARANCE = {
    "color_aug": False,
    "occlude_aug_prob": 0.0,
    "jpeg_aug_prob": 0.0,
    "background_aug_prob": 0.0,
    "background_aug_prob_real": 0.0,
    "background_aug_prob_grey": 0.0,
}
PRESETS = ("sample", "published geometry", "published")
PEERS = ("tf.data, TFRecord", "MosaicML Streaming, MDS", "Grain, ArrayRecord")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", type=Path)
    parser.add_argument("body", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--preset", choices=PRESETS, help=argparse.SUPPRESS)
    parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        run = CONTESTANTS[arguments.contestant]
        print(json.dumps(run(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.records = Path(folder)
        limits = [against_limit(arguments, preset) for preset in PRESETS]
        print_table("the loader and its limit: decoding and warping alone", limits)
        save_json(arguments.json, "loader limit", limits)
        for writer in WRITERS:
            alone(arguments, writer, PRESETS[1])
        peers = against_peers(arguments)
        print_table("loaders, 256 px, the same pictures and crops", peers)
        save_json(arguments.json, "loaders", peers)
    if arguments.plot:
        plot(arguments.plot, limits, peers)


def alone(arguments: argparse.Namespace, contestant: str, preset: str) -> dict[str, float]:
    """One run of one contestant, in a process of its own."""
    command = [sys.executable, __file__, str(arguments.stores), str(arguments.body)]
    command += ["--contestant", contestant, "--preset", preset]
    command += ["--records", str(arguments.records), "--batches", str(arguments.batches)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{contestant} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def interleaved(
    arguments: argparse.Namespace, contestants: list[str], preset: str
) -> dict[str, dict[str, list[float]]]:
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    for number in range(arguments.rounds):
        # Whoever comes second finds the caches warm: turn about.
        for name in contestants[:: -1 if number % 2 else 1]:
            for key, value in alone(arguments, name, preset).items():
                runs[name].setdefault(key, []).append(value)
    return runs


def against_limit(arguments: argparse.Namespace, preset: str) -> dict[str, Any]:
    runs = interleaved(arguments, ["limit", "poseshard"], preset)
    ratios = {
        key: [a / b for a, b in zip(runs["limit"][key], runs["poseshard"][key], strict=True)]
        for key in ("wall_ms", "cpu_ms")
    }
    middle = {n: {k: statistics.median(v) for k, v in r.items()} for n, r in runs.items()}
    return {
        "preset": preset,
        "limit_per_s": 1e3 / middle["limit"]["wall_ms"],
        "loader_per_s": 1e3 / middle["poseshard"]["wall_ms"],
        "limit_cpu_ms": middle["limit"]["cpu_ms"],
        "loader_cpu_ms": middle["poseshard"]["cpu_ms"],
        "wall_share": statistics.median(ratios["wall_ms"]),
        "cpu_share": statistics.median(ratios["cpu_ms"]),
        "least": min(ratios["cpu_ms"]),
        "greatest": max(ratios["cpu_ms"]),
        "peak_mib": middle["poseshard"]["peak_mib"],
    }


def against_peers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    runs = interleaved(arguments, ["poseshard", *PEERS], PRESETS[1])
    rows = []
    for name, found in runs.items():
        per_s = [1e3 / wall for wall in found["wall_ms"]]
        rows.append(
            {
                "loader": name,
                "examples_per_s": statistics.median(per_s),
                "least": min(per_s),
                "greatest": max(per_s),
                "cpu_ms": statistics.median(found["cpu_ms"]),
                "peak_mib": statistics.median(found["peak_mib"]),
            }
        )
    return rows


def plot(path: Path, limits: list[dict[str, Any]], peers: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
    places = np.arange(len(limits))
    for offset, key, label in (
        (-0.2, "limit_cpu_ms", "decoding and warping alone"),
        (0.2, "loader_cpu_ms", "loader"),
    ):
        left.barh(places + offset, [row[key] for row in limits], 0.4, label=label)
    left.set_yticks(places, [row["preset"] for row in limits])
    left.set_xlabel("processor time per example, ms")
    left.legend()
    places = np.arange(len(peers))
    speed = [row["examples_per_s"] for row in peers]
    spread = [
        [row["examples_per_s"] - row["least"] for row in peers],
        [row["greatest"] - row["examples_per_s"] for row in peers],
    ]
    right.barh(places, speed, xerr=spread)
    right.set_yticks(places, [row["loader"] for row in peers])
    right.set_xlabel(f"examples per second, {WORKERS} workers")
    for axes in (left, right):
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


# --- contestants -----------------------------------------------------------------------------


def measured(
    batches: Iterator[Any], *, batch_size: int, n_batches: int, finish: Callable[[], None]
) -> dict[str, float]:
    """Take all batches; the first is not counted in wall time."""
    next(batches)
    began, used = time.perf_counter(), _processor_s()
    n = sum(1 for _ in batches)
    wall = time.perf_counter() - began
    finish()
    if n != n_batches:
        raise RuntimeError(f"{n} batches instead of {n_batches}")
    return {
        "wall_ms": wall / n / batch_size * 1e3,
        "cpu_ms": (_processor_s() - used) / n / batch_size * 1e3,
        "peak_mib": max(peak_mib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def _processor_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, kinds))


def opened(arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Settings of a preset, its sources and the reader."""
    from cache.reader import Store
    from stages.settings import load_section
    from stages.train.augmentation import Scenery
    from stages.train.canonical_body import joint_table, load_canonical_body
    from stages.train.examples import ExampleReader
    from stages.train.settings import BatchSettings, CropSettings, HeadSettings, TrainSettings
    from stages.train.sources import open_source

    settings = load_section(TrainSettings, "train")
    if arguments.preset != "sample":
        crop = CropSettings(**(NO_APPEARANCE if arguments.preset == PRESETS[1] else {}))
        settings = replace(settings, head=HeadSettings(), crop=crop, batch=BatchSettings())
    data = replace(settings.data, loader_threads=WORKERS, prefetch_batches=WORKERS)
    settings = replace(settings, data=data)
    stores = {name: Store.open(arguments.stores / f"{name}.zarr") for name in data.datasets}
    body = load_canonical_body(arguments.body)
    names = {name: store.attributes["joint_names"] for name, store in stores.items()}
    table = joint_table(body, names)
    sources = [
        open_source(name, s, split_name="train", table=table, body=body, batch=settings.batch)
        for name, s in stores.items()
    ]
    return settings, sources, ExampleReader(settings, Scenery(), n_slots=settings.batch.num_points)


def poseshard(arguments: argparse.Namespace) -> dict[str, float]:
    from stages.train.loader import training_stream

    settings, sources, reader = opened(arguments)
    stream = training_stream(
        sources,
        reader,
        batch=settings.batch,
        data=settings.data,
        seed=SEED,
        n_batches=arguments.batches + 1,
    )
    return measured(
        stream,
        batch_size=stream.batch_size,
        n_batches=arguments.batches,
        finish=stream.close,
    )


def limit(arguments: argparse.Namespace) -> dict[str, float]:
    """Rendering alone: everything else of all batches was done before the clock started."""
    from stages.train.loader import BatchMaker

    settings, sources, reader = opened(arguments)
    cv2.setNumThreads(1)
    maker = BatchMaker(sources, reader, batch=settings.batch, seed=SEED)
    prepared = []
    for number in range(arguments.batches + 1):
        which, positions = maker.examples(number)
        draws = reader.draw(sources, which, maker.generator(number))
        batch, pictures = reader.prepare(sources, which, positions, draws=draws)
        prepared.append((batch["image"].shape, pictures))

    def render(job: tuple[tuple[int, ...], Any]) -> Any:
        images = np.empty(job[0], np.uint8)
        for i, out in enumerate(images):
            job[1].render(i, out)
        return images

    pool = ThreadPoolExecutor(WORKERS)
    return measured(
        bounded(pool, render, prepared),
        batch_size=prepared[0][0][0],
        n_batches=arguments.batches,
        finish=pool.shutdown,
    )


def bounded(pool: ThreadPoolExecutor, work: Callable[[Any], Any], jobs: list[Any]) -> Iterator[Any]:
    """Results in order, as many jobs at a time as there are workers."""
    running = [pool.submit(work, job) for job in jobs[:WORKERS]]
    for job in [*jobs[WORKERS:], *[None] * WORKERS]:
        done = running.pop(0).result()
        if job is not None:
            running.append(pool.submit(work, job))
        yield done


# --- peers -----------------------------------------------------------------------------------


def decode_and_warp(record: bytes, side: int) -> np.ndarray:
    """What every peer calls on a record: decode and warp, as the loader does."""
    header = np.frombuffer(record, RECORD, 1)[0]
    image = cv2.imdecode(np.frombuffer(record, np.uint8, offset=RECORD.itemsize), header["flags"])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, header["back"], (side, side), flags=flags)


def decode_header_and_warp(record: bytes, side: int) -> tuple[np.ndarray, np.ndarray]:
    return decode_and_warp(record, side), np.frombuffer(record, RECORD, 1)["back"][0]


def records_of(arguments: argparse.Namespace) -> Iterator[bytes]:
    """The pictures of the measured batches, each after its crop."""
    from stages.train.augmentation import REDUCED_DECODING
    from stages.train.loader import BatchMaker

    settings, sources, reader = opened(arguments)
    maker = BatchMaker(sources, reader, batch=settings.batch, seed=SEED)
    for number in range(arguments.batches + 1):
        which, positions = maker.examples(number)
        draws = reader.draw(sources, which, maker.generator(number))
        _, pictures = reader.prepare(sources, which, positions, draws=draws)
        for encoded, factor, back in zip(
            pictures._encoded, pictures._factors, pictures._warps.back, strict=True
        ):
            yield np.array([(REDUCED_DECODING[factor], back)], RECORD).tobytes() + encoded


def write_tfrecord(arguments: argparse.Namespace) -> dict[str, float]:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(arguments.records / "records.tfrecord")) as writer:
        return {"records": sum(writer.write(record) or 1 for record in records_of(arguments))}


def write_mds(arguments: argparse.Namespace) -> dict[str, float]:
    from streaming import MDSWriter

    with MDSWriter(out=str(arguments.records / "mds"), columns={"record": "bytes"}) as writer:
        return {"records": sum(writer.write({"record": r}) or 1 for r in records_of(arguments))}


def write_array_record(arguments: argparse.Namespace) -> dict[str, float]:
    from array_record.python.array_record_module import ArrayRecordWriter

    path = str(arguments.records / "records.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")
    n = sum(bool(writer.write(record)) or 1 for record in records_of(arguments))
    writer.close()
    return {"records": n}


def shape_of(arguments: argparse.Namespace) -> tuple[int, int]:
    from stages.train.settings import BatchSettings, HeadSettings

    batch = BatchSettings()
    n = batch.batch_size_parametric + batch.batch_size
    return n + batch.batch_size_densepose + batch.batch_size_2d, HeadSettings().proc_side


def tf_data(arguments: argparse.Namespace) -> dict[str, float]:
    import tensorflow as tf

    cv2.setNumThreads(1)
    batch_size, side = shape_of(arguments)

    def change(record: Any) -> Any:
        image, back = tf.numpy_function(
            functools.partial(decode_header_and_warp, side=side), [record], (tf.uint8, tf.float64)
        )
        return tf.ensure_shape(image, (side, side, 3)), tf.ensure_shape(back, (3, 3))

    records = tf.data.TFRecordDataset(str(arguments.records / "records.tfrecord"))
    batches = (
        records.shuffle(2048, seed=SEED)
        .map(change, num_parallel_calls=WORKERS, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(WORKERS)
    )
    iterator = iter(batches.as_numpy_iterator())
    return measured(
        iterator, batch_size=batch_size, n_batches=arguments.batches, finish=lambda: None
    )


def mosaicml_streaming(arguments: argparse.Namespace) -> dict[str, float]:
    import torch
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    batch_size, side = shape_of(arguments)
    torch.set_num_threads(1)

    class Records(StreamingDataset):
        def __getitem__(self, at: int) -> Any:
            cv2.setNumThreads(1)
            return decode_header_and_warp(super().__getitem__(at)["record"], side)

    dataset = Records(
        local=str(arguments.records / "mds"), shuffle=True, shuffle_seed=SEED, batch_size=batch_size
    )
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=WORKERS, prefetch_factor=1)
    iterator = iter(loader)

    def finish() -> None:
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()

    # Its workers' time is known only when they have ended: all of it counts.
    return measured(iterator, batch_size=batch_size, n_batches=arguments.batches, finish=finish)


def grain_array_record(arguments: argparse.Namespace) -> dict[str, float]:
    import grain

    cv2.setNumThreads(1)
    batch_size, side = shape_of(arguments)
    records = grain.sources.ArrayRecordDataSource([str(arguments.records / "records.array_record")])
    examples = (
        grain.MapDataset.source(records)
        .shuffle(seed=SEED)
        .map(functools.partial(decode_header_and_warp, side=side))
    )
    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=WORKERS * batch_size)
    batches = iter(examples.to_iter_dataset(options).batch(batch_size, drop_remainder=True))
    return measured(
        batches, batch_size=batch_size, n_batches=arguments.batches, finish=batches.close
    )


# One process each: PyTorch and TensorFlow do not bear each other in one.
WRITERS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "write tfrecord": write_tfrecord,
    "write mds": write_mds,
    "write array_record": write_array_record,
}
CONTESTANTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "poseshard": poseshard,
    "limit": limit,
    **WRITERS,
    **dict(zip(PEERS, (tf_data, mosaicml_streaming, grain_array_record), strict=True)),
}

if __name__ == "__main__":
    main()
