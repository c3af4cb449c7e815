"""Peak memory of `prepare` with pictures and of a reader, against the number of examples.

    python benchmarks/memory.py [--counts 1000 10000 100000] [--million 13]
        [--picture-bytes 50000] [--json FILE] [--plots FOLDER]

* `prepare`: blocks of pictures of so many bytes, built in this process by two threads.
* `reader`: 2,000 random examples with their pictures, from stores of so many examples.
* the simulated large store: one block built for real, and a store whose manifest names it again and
  again, as many rows as asked for, every shard a link to the same file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from joblib import Parallel, delayed

from benchmarks.measuring import add_outputs, in_a_fork, peak_mib, present
from cache.blocks import Block, BlockCache, BlockSource
from cache.layout import ColumnLayout
from cache.publish import StoreContent, publish
from cache.reader import Store
from cache.source_files import FileColumn
from cache.stat_cache import StatCache

ROWS_PER_BLOCK, PICTURE_BYTES, ROW_BYTES = 2048, 50_000, 1 << 16
N_READ = 2_000


def layouts() -> list[ColumnLayout]:
    return [
        ColumnLayout("status", "uint8", (), 255, ROWS_PER_BLOCK, 32),
        ColumnLayout("coords3d", "float32", (66, 3), 0, ROWS_PER_BLOCK, 32),
        ColumnLayout("point_validity", "bool", (66,), False, ROWS_PER_BLOCK, 32),
        ColumnLayout("intrinsics", "float32", (3, 3), 0, ROWS_PER_BLOCK, 32),
        ColumnLayout("extrinsics", "float32", (3, 4), 0, ROWS_PER_BLOCK, 32),
        ColumnLayout("bbox", "float32", (4,), 0, ROWS_PER_BLOCK, 32),
        ColumnLayout("image", "uint8", (ROW_BYTES,), 0, ROWS_PER_BLOCK, 1),
        ColumnLayout("image_length", "int32", (), 0, ROWS_PER_BLOCK, 32),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--million", type=int, default=13)
    parser.add_argument("--picture-bytes", type=int, default=PICTURE_BYTES)
    add_outputs(parser)
    arguments = parser.parse_args()
    rows = []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
            home = Path(folder)
            make_pictures(home, arguments.picture_bytes)
            prepared = in_a_fork(lambda: build(home, count))  # noqa: B023
            read = in_a_fork(lambda: read_some(home / "s.zarr"))  # noqa: B023
            rows.append(
                {
                    "examples": count,
                    "picture_mb": count * arguments.picture_bytes / 1e6,
                    "prepare_peak_mib": prepared.counted,
                    "reader_peak_mib": read.counted,
                    "idle_mib": in_a_fork(peak_mib).counted,
                }
            )
    present("memory", rows, arguments, bars=("prepare_peak_mib", "reader_peak_mib"))
    large = simulate(arguments.million * 1_000_000)
    present("large store", [large], arguments)


def make_pictures(home: Path, n_bytes: int) -> None:
    """Files of random bytes, as many as a block has rows: none is stored twice in a shard."""
    (home / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(ROWS_PER_BLOCK):
        (home / "pictures" / f"{number}.jpg").write_bytes(rng.bytes(n_bytes))


def source(n_rows: int, seed: int, pictures: Path) -> BlockSource:
    rng = np.random.default_rng(seed)
    coords = rng.normal(size=(n_rows, 66, 3)).astype(np.float32)
    files = FileColumn("image", "image_length", pictures, 1 << 20, 4, 5, lambda data: (0, ""))
    return BlockSource(
        layouts=layouts(),
        arrays={
            "status": np.zeros(n_rows, np.uint8),
            "coords3d": coords,
            "point_validity": np.ones((n_rows, 66), bool),
            "intrinsics": np.tile(np.eye(3, dtype=np.float32), (n_rows, 1, 1)),
            "extrinsics": np.tile(np.eye(3, 4, dtype=np.float32), (n_rows, 1, 1)),
            "bbox": rng.normal(size=(n_rows, 4)).astype(np.float32),
        },
        sources=[f"{row % ROWS_PER_BLOCK}.jpg" for row in range(n_rows)],
        details={},
        file_column=files,
        identities=[None] * n_rows,
        parameters={},
    )


def build(home: Path, count: int) -> float:
    stats = StatCache(home / "stat")
    starts = range(0, count, ROWS_PER_BLOCK)
    with BlockCache(home / "blocks") as cache:

        def work(start: int) -> Block:
            rows = min(ROWS_PER_BLOCK, count - start)
            return cache.build(source(rows, start, home / "pictures"), stats)

        blocks = Parallel(n_jobs=2, prefer="threads")(delayed(work)(start) for start in starts)
        cache.flush()
    ranges = [range(start, min(start + ROWS_PER_BLOCK, count)) for start in starts]
    splits = {"train": list(zip(ranges, blocks, strict=True)), "valid": [], "test": []}
    content = StoreContent({"dataset": "made"}, layouts(), {0: "usable"}, splits)
    publish(content.files(content.manifest()), home / "s.zarr")
    return peak_mib()


def read_some(store: Path) -> float:
    split = Store.open(store, decoded_bytes=32 << 20).splits["train"]
    rng = np.random.default_rng(0)
    for row in rng.integers(0, len(split), N_READ).tolist():
        split.gather([row])
        split.blobs("image", [row])
    return peak_mib()


def simulate(n_rows: int) -> dict[str, object]:
    """Open a store of that many rows and read random examples of it."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        home = Path(folder)
        make_pictures(home, 5_000)
        build(home, ROWS_PER_BLOCK)
        small = Store.open(home / "s.zarr").splits["train"]
        # A tree of links would take minutes to make: links are made as rows are asked for.
        n_blocks = n_rows // ROWS_PER_BLOCK
        block = next(iter((home / "blocks" / "blocks").glob("??/*")))
        cached = BlockCache(home / "blocks").find(block.name)
        assert cached is not None
        splits = {
            "train": [
                (range(n * ROWS_PER_BLOCK, (n + 1) * ROWS_PER_BLOCK), cached)
                for n in range(n_blocks)
            ],
            "valid": [],
            "test": [],
        }
        content = StoreContent({"dataset": "large"}, layouts(), {0: "usable"}, splits)
        large = home / "large.zarr"
        manifest = content.manifest()
        for path, data in {**content.metadata(), "manifest.json": manifest.to_bytes()}.items():
            (large / path).parent.mkdir(parents=True, exist_ok=True)
            (large / path).write_bytes(data)
        rows = np.random.default_rng(1).integers(0, n_blocks * ROWS_PER_BLOCK, 300)
        for number in sorted(set((rows // ROWS_PER_BLOCK).tolist())):
            for layout in layouts():
                target = large / "train" / layout.shard_path(number)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(cached.directory / layout.name, target)
        expected = small.column("bbox")
        del content, splits, manifest

        def read() -> float:
            before = peak_mib()
            began = time.perf_counter()
            split = Store.open(large).splits["train"]
            opened = time.perf_counter() - began
            began = time.perf_counter()
            for row in rows.tolist():
                found = split.gather([row])["bbox"][0]
                assert (found == expected[row % ROWS_PER_BLOCK]).all()
                assert len(split.blobs("image", [row])[0]) == 5_000
            each = (time.perf_counter() - began) / len(rows)
            Path(home / "answer").write_text(f"{opened} {each} {peak_mib() - before}")
            return 0.0

        in_a_fork(read)
        opened, each, grown = map(float, (home / "answer").read_text().split())
        size = (large / "manifest.json").stat().st_size
        shutil.rmtree(large)
    return {
        "rows": n_rows,
        "manifest_mb": size / 1e6,
        "open_s": opened,
        "random_example_us": each * 1e6,
        "reader_mib": grown,
    }


if __name__ == "__main__":
    main()
