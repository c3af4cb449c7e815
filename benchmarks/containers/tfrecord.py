"""TFRecord: one serialised feature map per example, parsed in batches by tf.data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.containers import (
    EXAMPLES_PER_SHARD,
    Columns,
    Examples,
    Specification,
    load_specification,
    save_specification,
)

BATCH = 256


def write(path: Path, examples: Examples, *, compression: str) -> None:
    save_specification(path, examples)
    for start in range(0, len(examples), EXAMPLES_PER_SHARD):
        name = path / f"{start // EXAMPLES_PER_SHARD:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(name), tf.io.TFRecordOptions(compression)) as writer:
            for row in range(start, min(start + EXAMPLES_PER_SHARD, len(examples))):
                writer.write(_serialised(examples, row))


def _serialised(examples: Examples, row: int) -> bytes:
    features = {name: _feature(values[row]) for name, values in examples.arrays.items()}
    for name, values in examples.blobs.items():
        data = tf.train.BytesList(value=[values[row]])
        features[name] = tf.train.Feature(bytes_list=data)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    serialised: bytes = example.SerializeToString()
    return serialised


def _feature(values: Any) -> Any:
    flat = np.asarray(values).reshape(-1)
    if flat.dtype == np.float64:  # their floats have 32 bits
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[flat.tobytes()]))
    if flat.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=flat))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64)))


def features_of(specification: Specification) -> dict[str, Any]:
    """What `tf.io.parse_single_example` has to know; of float64 it gives the bytes."""
    features: dict[str, Any] = {
        name: tf.io.FixedLenFeature(row, tf.float32 if dtype.kind == "f" else tf.int64)
        for name, (dtype, row) in specification.arrays.items()
        if dtype != np.float64
    }
    for name in {**specification.arrays, **dict.fromkeys(specification.blobs)}:
        features.setdefault(name, tf.io.FixedLenFeature((), tf.string))
    return features


class Reader:
    CHECKED, IS_SEQUENTIAL = "every record, CRC-32C", True

    def __init__(self, path: Path, *, compression: str) -> None:
        self._files = sorted(map(str, path.glob("*.tfrecord")))
        self._compression = compression
        self._specification = load_specification(path)
        self._features = features_of(self._specification)

    def columns(self) -> Columns:
        features = {name: kind for name, kind in self._features.items() if name != "image"}
        batches = (
            tf.data.TFRecordDataset(self._files, self._compression)
            .batch(BATCH)
            .map(
                lambda records: tf.io.parse_example(records, features),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .prefetch(tf.data.AUTOTUNE)
        )
        parts = list(batches.as_numpy_iterator())
        found: Columns = {name: np.concatenate([part[name] for part in parts]) for name in features}
        for name, (dtype, _) in self._specification.arrays.items():
            found[name] = found[name].astype(dtype, copy=False)
        return found

    def example(self, row: int) -> Columns:
        shard, place = divmod(row, EXAMPLES_PER_SHARD)
        records = tf.data.TFRecordDataset(self._files[shard], self._compression).skip(place).take(1)
        record = next(records.as_numpy_iterator())
        parsed = tf.io.parse_single_example(record, self._features)
        found: Columns = {name: value.numpy() for name, value in parsed.items()}
        for name, (dtype, _) in self._specification.arrays.items():
            found[name] = found[name].astype(dtype)
        return found
