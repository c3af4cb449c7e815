"""tf.data over TFRecord: shards in a random order, a shuffle buffer, parallel map, prefetch."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import tensorflow as tf

from benchmarks.containers import load_specification
from benchmarks.containers.tfrecord import features_of
from benchmarks.loaders import SEED, SHUFFLED, WORKERS, Images, Task
from benchmarks.loaders.decoding import decode_and_warp


def batches(task: Task, path: Path) -> Generator[Images]:
    cv2.setNumThreads(1)
    features, side = features_of(load_specification(path)), task.side

    def decode(encoded: bytes, flags: Any, back: Any) -> Images:
        return decode_and_warp(encoded, flags, back, side=side)

    def change(record: Any) -> Any:
        example = tf.io.parse_single_example(record, features)
        back = tf.reshape(tf.io.decode_raw(example["back"], tf.float64), (3, 3))
        image = tf.numpy_function(decode, [example["image"], example["flags"], back], tf.uint8)
        return tf.ensure_shape(image, (side, side, 3)), back

    files = sorted(map(str, path.glob("*.tfrecord")))
    examples = (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files), seed=SEED)
        .interleave(tf.data.TFRecordDataset, num_parallel_calls=WORKERS, deterministic=False)
        .shuffle(SHUFFLED, seed=SEED)
        .map(change, num_parallel_calls=WORKERS, deterministic=False)
        .batch(task.batch_size, drop_remainder=True)
        .prefetch(WORKERS)
    )
    for images, _ in examples.as_numpy_iterator():
        yield images
