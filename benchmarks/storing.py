"""Bytes on disk per example, in every container that holds the same arrays and pictures.

    make setup-bench && .venv-bench/bin/python benchmarks/storing.py STORE ...
        [--only NAME ...] [--json FILE] [--plots FOLDER]

The largest split of each store, written by every container with its best documented settings.
`bytes_each` is everything on the disk. `beyond_pictures` is that without the encoded pictures,
which nobody can make smaller without changing them, every distinct one counted once. The limit's
row is what the arrays and byte strings take by themselves.

Ours stores a picture that several people share once per shard; records repeat it. Where ours is not
the smallest, the smaller one compresses a shard (MDS with zstd) or stream (gzipped TFRecord) of
many examples as one, pictures included: what pictures have in common, such as the tables in their
headers, is then stored once as well, some 400 bytes each here. Its price is in `reading`: such a
TFRecord reaches an example through all those before it, such an MDS is unpacked to the disk, in
full, before it is read.
"""

from __future__ import annotations

import argparse
import hashlib
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
    present("bytes per example", rows, arguments, bars=("bytes_each", "beyond_pictures"))


def measure(store: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    split = max(Store.open(store).splits.values(), key=len)
    pictures: dict[bytes, int] = {}
    for row in range(len(split)):
        (data,) = split.blobs("image", [row])
        pictures[hashlib.sha256(data).digest()] = len(data)
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
                    "bytes_each": n_bytes / len(split),
                    "beyond_pictures": (n_bytes - sum(pictures.values())) / len(split),
                }
            )
    return rows


if __name__ == "__main__":
    main()
