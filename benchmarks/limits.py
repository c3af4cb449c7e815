"""Reading a store: whole annotation columns, and random examples with their pictures.

    python benchmarks/reading.py STORE ... [--rounds R] [--json FILE]

* `columns`: every column but the pictures, of every split, start to end, examples per second. The
  limits, in the same run, in microseconds of processor per example: decompressing the same frames
  into memory that is there already (`zstd`), the same bytes' checksums (`crc`), and clearing as
  much fresh memory as the columns take (`fresh`); `limit_per_s` is what the three together would
  allow, without reading a file, on as many cores as there are.
* `one`: one random example, all columns and the picture's bytes, CRC checked, in microseconds, with
  its decoded neighbours at hand (`warm`) and with nothing at hand but open files (`cold`);
  `batch` is the same per example in batches of 64. The limit, in the same run: decoding that
  picture with OpenCV.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import google_crc32c
import numpy as np
import zstandard

from benchmarks.measuring import print_table, save_json
from cache.chunks import CRC_BYTES
from cache.reader import Split, Store

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
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    whole = [whole_columns(path, arguments.rounds) for path in arguments.stores]
    print_table("all annotation columns, start to end", whole)
    save_json(arguments.json, "columns", whole)
    single = [r for path in arguments.stores if (r := random_examples(path, arguments.rounds))]
    if single:
        print_table("random examples, microseconds each", single)
        save_json(arguments.json, "random examples", single)


def whole_columns(path: Path, rounds: int) -> dict[str, object]:
    store = Store.open(path)

    n_rows = sum(len(split) for split in store.splits.values())
    n_bytes = sum(
        len(split) * layout.row_bytes
        for split in store.splits.values()
        for name, layout in split.columns.items()
        if name != "image"
    )
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

    contestants = {"read": read, "zstd": decompress, "crc": check, "fresh": clear}
    walls: dict[str, list[float]] = {name: [] for name in contestants}
    processors: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            contestant()
            walls[name].append(time.perf_counter() - wall)
            processors[name].append(time.process_time() - processor)
    each = {name: statistics.median(found) / n_rows for name, found in processors.items()}
    limit = sum(each[name] for name in ("zstd", "crc", "fresh"))
    return {
        "store": path.stem,
        "examples": n_rows,
        "bytes_each": n_bytes // n_rows,
        "reported_per_s": REPORTED.get(path.stem, 0),
        "per_s": n_rows / statistics.median(walls["read"]),
        "best_per_s": n_rows / min(walls["read"]),
        "per_processor_s": 1 / each["read"],
        "limit_per_s": len(os.sched_getaffinity(0)) / limit,
        "read_us": each["read"] * 1e6,
        "zstd_us": each["zstd"] * 1e6,
        "crc_us": each["crc"] * 1e6,
        "fresh_us": each["fresh"] * 1e6,
    }


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


def random_examples(path: Path, rounds: int) -> dict[str, object] | None:
    store = Store.open(path)
    split = max(store.splits.values(), key=len)
    rows = np.random.default_rng(0).choice(split.usable_rows, N_RANDOM)
    if "image" not in split.columns or not any(split.blobs("image", rows[:8])):
        return None
    columns = [name for name in split.columns if name != "image"]

    def one_by_one(split: Split) -> Callable[[], None]:
        def read() -> None:
            for row in rows.tolist():
                split.gather([row], columns)
                split.blobs("image", [row])

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
    contestants = {"decode": decode, "warm": warm, "batch": batched, "cold": cold}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            began = time.process_time()
            contestant()
            times[name].append((time.process_time() - began) / N_RANDOM * 1e6)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "store": path.stem,
        "picture_kb": float(np.mean([len(picture) for picture in pictures])) / 1e3,
        **medians,
        "warm_of_decode": medians["warm"] / medians["decode"],
        "batch_of_decode": medians["batch"] / medians["decode"],
        "cold_of_decode": medians["cold"] / medians["decode"],
    }


if __name__ == "__main__":
    main()
