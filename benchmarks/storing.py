"""Bytes on disk per example, in every container that holds the same arrays and pictures.

    make setup-bench && .venv-bench/bin/python benchmarks/storing.py STORE ...
        [--only NAME ...] [--json FILE] [--plots FOLDER]

The largest split of each store, written by every container with its best documented settings.
`bytes_each` is everything on the disk, `annotations_each` that without the encoded pictures, which
nobody can make smaller without changing them. The limit's row is what the arrays and byte strings
take by themselves.

All but ours and HDF5 compress, if at all, a stream or shard of many examples as one, pictures
included: what pictures have in common, such as their JPEG tables, is then stored once, and reading
one example means decompressing those before it. Barecat, ArrayRecord, MDS and WebDataset keep the
annotations of an example together, as records; a column of many examples compresses better.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.containers import CONTAINERS
from benchmarks.measuring import add_outputs, present
from benchmarks.reading import written
from cache.reader import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", nargs="+", type=Path)
    writing = [n for n, c in CONTAINERS.items() if n == "poseshard" or not c.reads_our_store]
    parser.add_argument("--only", nargs="*", default=writing, choices=writing)
    add_outputs(parser)
    arguments = parser.parse_args()
    rows = [row for store in arguments.stores for row in measure(store, arguments.only)]
    present("bytes per example", rows, arguments, bars=("annotations_each", "bytes_each"))


def measure(store: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    split = max(Store.open(store).splits.values(), key=len)
    n_pictures = sum(len(data) for row in range(len(split)) for data in split.blobs("image", [row]))
    rows = []
    with written(store / split.name, names) as paths:
        for name, path in paths.items():
            n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if CONTAINERS[name].reads_our_store:
                n_bytes += sum(file.stat().st_size for file in store.glob("*.json"))
            rows.append(
                {
                    "container": name,
                    "store": store.stem,
                    "examples": len(split),
                    "annotations_each": (n_bytes - n_pictures) / len(split),
                    "bytes_each": n_bytes / len(split),
                }
            )
    return rows


if __name__ == "__main__":
    main()
