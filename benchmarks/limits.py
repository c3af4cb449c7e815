"""Our reader against what bounds it: zstd, checksums and memory; decoding the picture.

    python benchmarks/limits.py STORE ... [--real-counts FOLDER] [--rounds R]
        [--json FILE] [--plots FOLDER]

* *columns*: every column but the pictures, of every split, start to end, in microseconds per
  example. With --real-counts, of stores made from the five pickles in that folder, at the counts
  of a real installation; made first, if they are not there. The limits, in the same run and in one
  thread: decompressing the same frames into memory that is there already, the same bytes'
  checksums, and clearing as much fresh memory as the columns take. `asked_per_s` is three times
  the rate that a user reported for walking the loaded pickles.
* *random examples*: one random example, all columns and the picture's bytes, CRC checked, one after
  the other with its decoded neighbours at hand and with nothing at hand but open files, and in
  batches of 64. The limit, in the same run: decoding that picture with OpenCV.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import google_crc32c
import numpy as np
import zstandard

from benchmarks.measuring import add_outputs, present, spread
from benchmarks.preparing import make_real_counts
from cache.chunks import CRC_BYTES
from cache.reader import Split, Store
from pipeline.datasets import DATASETS
from stages.prepare.run import prepare
from stages.prepare.settings import DatasetFiles, PrepareSettings

# Examples per second that a user reported for walking the loaded pickles.
REPORTED = {
    "agora": 143_147,
    "behave": 76_670,
    "mads": 32_824,
    "coco": 150_038,
    "densepose_coco": 143_833,
}
N_RANDOM = 512
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real-counts", type=Path)
    add_outputs(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        paths = arguments.stores
        if arguments.real_counts:
            paths = list(prepared(arguments.real_counts, Path(folder)))
        whole = [row for path in paths for row in whole_columns(path, arguments.rounds)]
    present("columns", whole, arguments, bars=("wall_us", "cpu_us"))
    single = [row for path in arguments.stores for row in random_examples(path, arguments.rounds)]
    if single:
        present("random examples", single, arguments, bars=("cpu_us",))


def prepared(pickles: Path, place: Path) -> Iterator[Path]:
    """Stores without pictures of the five pickles."""
    if not all((pickles / d.file_name).exists() for d in DATASETS.values()):
        make_real_counts(pickles)
    settings = PrepareSettings(place, place / "blocks")
    for name, dataset in DATASETS.items():
        store, files = place / f"{name}.zarr", DatasetFiles(pickles / dataset.file_name, pickles)
        prepare(name, files, store=store, settings=settings, n_jobs=2, with_images=False)
        yield store


def whole_columns(path: Path, rounds: int) -> list[dict[str, object]]:
    store = Store.open(path)

    n_rows = sum(len(split) for split in store.splits.values())
    stored = {
        (split.name, name): stored_chunks(split, name)
        for split in store.splits.values()
        for name in split.columns
        if name != "image"
    }
    sizes = {key: store.splits[key[0]].columns[key[1]].chunk_bytes for key in stored}
    frames = {key: b"".join(chunk[:-CRC_BYTES] for chunk in found) for key, found in stored.items()}
    room = np.ones(max(len(stored[key]) * size for key, size in sizes.items()), np.uint8)
    decompressor = zstandard.ZstdDecompressor()

    def read() -> None:
        for split in store.splits.values():
            split.read()

    def decompress() -> None:
        for key, found in frames.items():
            if found:
                reader = decompressor.stream_reader(found, read_across_frames=True)
                size = len(stored[key]) * sizes[key]
                if reader.readinto(room[:size]) != size:
                    raise RuntimeError("a frame does not hold what it should")

    def check() -> None:
        for found in stored.values():
            for chunk in found:
                google_crc32c.value(chunk)

    def clear() -> None:
        for key, size in sizes.items():
            np.zeros(len(stored[key]) * size, np.uint8)[:: os.sysconf("SC_PAGE_SIZE")] = 1

    contestants = {
        "limit: zstd": decompress,
        "limit: CRC-32C": check,
        "limit: fresh memory": clear,
        "poseshard": read,
    }
    rows = in_turn(contestants, path.stem, n=n_rows, rounds=rounds)
    per_s = 1e6 / rows[-1]["wall_us"]["median"]
    asked = 3 * REPORTED.get(path.stem, 0)
    rows[-1] |= {"examples": n_rows, "per_s": per_s, "asked_per_s": asked}
    return rows


def in_turn(
    contestants: dict[str, Callable[[], None]], store: str, *, n: int, rounds: int
) -> list[dict[str, Any]]:
    """Microseconds of each example, wall and processor, in this process, whose caches are warm."""
    walls: dict[str, list[float]] = {name: [] for name in contestants}
    processors: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            contestant()
            walls[name].append((time.perf_counter() - wall) / n * 1e6)
            processors[name].append((time.process_time() - processor) / n * 1e6)
    return [
        {"what": n, "store": store, "wall_us": spread(walls[n]), "cpu_us": spread(processors[n])}
        for n in contestants
    ]


def stored_chunks(split: Split, name: str) -> list[bytes]:
    """The stored bytes of every chunk of a column that holds more than fill values."""
    found = []
    for row in range(0, len(split), split.columns[name].chunk_rows):
        place = split.where(name, row)
        if place is not None:
            path, offset, length = place
            with path.open("rb") as file:
                found.append(os.pread(file.fileno(), length, offset))
    return found


def random_examples(path: Path, rounds: int) -> list[dict[str, Any]]:
    store = Store.open(path)
    split = max(store.splits.values(), key=len)
    rows = np.random.default_rng(0).choice(split.usable_rows, N_RANDOM)
    if "image" not in split.columns or not any(split.blobs("image", rows[:8])):
        return []
    columns = [name for name in split.columns if name != "image"]

    def one_by_one(split: Split) -> Callable[[], None]:
        def read() -> None:
            for row in rows.tolist():
                split.example(row)

        return read

    def batched() -> None:
        for start in range(0, N_RANDOM, BATCH):
            split.gather(rows[start : start + BATCH], columns)
            split.blobs("image", rows[start : start + BATCH])

    pictures = [np.frombuffer(data, np.uint8) for data in split.blobs("image", rows)]

    def decode() -> None:
        for picture in pictures:
            cv2.imdecode(picture, cv2.IMREAD_COLOR)

    def cold() -> None:
        one_by_one(Store.open(path, decoded_bytes=0).splits[split.name])()

    warm = one_by_one(split)
    warm()
    contestants = {
        "limit: decoding": decode,
        "poseshard": warm,
        "poseshard, batches of 64": batched,
        "poseshard, nothing at hand": cold,
    }
    found = in_turn(contestants, path.stem, n=N_RANDOM, rounds=rounds)
    for row in found[1:]:
        row["of_decoding"] = row["cpu_us"]["median"] / found[0]["cpu_us"]["median"]
    return found


if __name__ == "__main__":
    main()
