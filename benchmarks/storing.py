"""Bytes on disk per example, against other containers that hold the same arrays.

    python benchmarks/storing.py STORE ... [--examples N] [--json FILE]

The first N rows of each store's largest split are written again as HDF5 (gzip level 4 and lzf, in
chunks of as many rows as ours; pictures and masks as variable-length bytes, uncompressed), and as
TFRecord (one serialised feature map per example, uncompressed and gzip). Where the packages are
installed (requirements-bench.in), also as Barecat (one msgpack document with numpy arrays per
example, as PosePile writes it) and as MosaicML's MDS (one column per array, uncompressed and zstd).
Ours is the share of the shards that those rows need, pictures included if the store has them.

All but ours and HDF5 compress, if at all, a stream or shard of many examples as one, pictures
included: what pictures have in common, such as their JPEG tables, is then stored once, and reading
one example means decompressing those before it.
"""

from __future__ import annotations

import argparse
import functools
import math
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import h5py
import numpy as np

from benchmarks.measuring import in_a_fork, print_table, save_json
from cache.reader import Split, Store

PADDED = ("image", "mask", "image_path")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--examples", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(path, arguments.examples) for path in arguments.stores]
    print_table("bytes per example", rows)
    save_json(arguments.json, "bytes per example", rows)


def measure(path: Path, n_examples: int) -> dict[str, object]:
    split = max(Store.open(path).splits.values(), key=len)
    n = min(n_examples, len(split))
    arrays = {name: split.column(name, 0, n) for name in split.columns if name not in PADDED}
    blobs = {name: split.blobs(name, range(n)) for name in PADDED}
    with tempfile.TemporaryDirectory() as folder:
        sizes = {
            "poseshard": ours(split, n),
            "hdf5_gzip": hdf5(Path(folder, "a.h5"), arrays, blobs, compression="gzip"),
            "hdf5_lzf": hdf5(Path(folder, "b.h5"), arrays, blobs, compression="lzf"),
            "tfrecord": apart(
                lambda: tfrecord(Path(folder, "c.tfrecord"), arrays, blobs, n, compression="")
            ),
            "tfrecord_gzip": apart(
                lambda: tfrecord(Path(folder, "d.tfrecord"), arrays, blobs, n, compression="GZIP")
            ),
        }
        sizes |= peers(Path(folder), arrays, blobs, n)
    payload = sum(a.nbytes for a in arrays.values()) + sum(
        len(b) for v in blobs.values() for b in v
    )
    return {"store": path.stem, "examples": n, "payload": payload / n} | {
        name: size / n for name, size in sizes.items()
    }


def ours(split: Split, n: int) -> float:
    """Bytes of the chunks that the rows need, and of their share of each shard's end."""
    total = 0.0
    for name, layout in split.columns.items():
        for row in range(0, n, layout.chunk_rows):
            place = split.where(name, row)
            total += (place[2] if place else 0) + 16
    return total


def hdf5(
    path: Path,
    arrays: dict[str, np.ndarray],
    blobs: dict[str, list[bytes]],
    *,
    compression: str,
) -> int:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            chunks = (32, *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunks, compression=compression)
        for name, values in blobs.items():
            kind = h5py.vlen_dtype(np.uint8)
            dataset = file.create_dataset(name, (len(values),), dtype=kind)
            for row, data in enumerate(values):
                dataset[row] = np.frombuffer(data, np.uint8)
    return path.stat().st_size


def tfrecord(
    path: Path,
    arrays: dict[str, np.ndarray],
    blobs: dict[str, list[bytes]],
    n: int,
    *,
    compression: str,
) -> int:
    import tensorflow as tf

    def feature(values: np.ndarray) -> tf.train.Feature:
        flat = values.reshape(-1)
        if flat.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=flat))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64)))

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression)) as writer:
        for row in range(n):
            features = {name: feature(values[row]) for name, values in arrays.items()}
            for name, values in blobs.items():
                data = tf.train.BytesList(value=[values[row]])
                features[name] = tf.train.Feature(bytes_list=data)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path.stat().st_size


def peers(
    folder: Path, arrays: dict[str, np.ndarray], blobs: dict[str, list[bytes]], n: int
) -> dict[str, int]:
    """Sizes in the formats whose packages are installed."""
    sizes = {}
    if find_spec("barecat"):
        sizes["barecat"] = apart(lambda: barecat(folder / "e.barecat", arrays, blobs, n))
    if find_spec("streaming"):
        sizes["mds"] = apart(lambda: mds(folder / "f", arrays, blobs, n, compression=None))
        sizes["mds_zstd"] = apart(lambda: mds(folder / "g", arrays, blobs, n, compression="zstd"))
    return sizes


def apart(work: Callable[[], float]) -> int:
    """In a process of its own: TensorFlow and what MDS needs (PyTorch) do not share one."""
    return int(in_a_fork(work).counted)


class _WithPower(sqlite3.Connection):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.create_function("power", 2, math.pow, deterministic=True)


def barecat(
    path: Path, arrays: dict[str, np.ndarray], blobs: dict[str, list[bytes]], n: int
) -> int:
    import msgpack
    import msgpack_numpy
    from barecat import Barecat

    # Its index asks SQLite for power(), which not every build of SQLite has.
    connect = functools.partial(sqlite3.connect, factory=_WithPower)
    with (
        mock.patch.object(sqlite3, "connect", connect),
        Barecat(str(path), readonly=False) as archive,
    ):
        for row in range(n):
            example: dict[str, object] = {name: values[row] for name, values in arrays.items()}
            example |= {name: values[row] for name, values in blobs.items()}
            archive[f"{row:08d}.msgpack"] = msgpack.packb(example, default=msgpack_numpy.encode)
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))


def mds(
    folder: Path,
    arrays: dict[str, np.ndarray],
    blobs: dict[str, list[bytes]],
    n: int,
    *,
    compression: str | None,
) -> int:
    from streaming import MDSWriter

    columns = dict.fromkeys(blobs, "bytes")
    for name, values in arrays.items():
        dtype = "uint8" if values.dtype == bool else values.dtype.name
        shape = ",".join(map(str, values.shape[1:]))
        columns[name] = f"ndarray:{dtype}:{shape}" if shape else dtype
    with MDSWriter(out=str(folder), columns=columns, compression=compression) as writer:
        for row in range(n):
            example: dict[str, object] = {
                name: values[row].view(np.uint8) if values.dtype == bool else values[row]
                for name, values in arrays.items()
            }
            writer.write(example | {name: values[row] for name, values in blobs.items()})
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


if __name__ == "__main__":
    main()
