"""Everything the model says of one split, beside the truth."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.train.examples import ExampleReader
from stages.train.loader import Batch
from stages.train.metrics import expected_error_factor
from stages.train.model import LocalizerModel
from stages.train.sources import Source

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Truth:
    """The annotations of N examples in the frame of their crops.

    Attributes:
        rows: int64 (N,), rows of the split.
        intrinsics: (N, 3, 3), of the crops.
        coords3d: (N, P, 3), metres; zero for 2D kinds.
        coords2d: (N, P, 2), pixels of the crop; zero for 3D kinds.
        canonical: (N, P, 3), where surface points lie; zero for joints.
        validity: bool (N, P).
        root_index: int32 (N,).
    """

    rows: npt.NDArray[np.int64]
    intrinsics: Floats
    coords3d: Floats
    coords2d: Floats
    canonical: Floats
    validity: npt.NDArray[np.bool_]
    root_index: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the model says of them.

    Attributes:
        coords3d: (N, P, 3), metres, camera frame of the crop.
        coords2d: (N, P, 2), pixels of the crop, projected.
        uncert: (N, P), metres, the error to be expected.
    """

    coords3d: Floats
    coords2d: Floats
    uncert: Floats


def chosen_positions(source: Source, max_examples: int | None) -> list[int]:
    """All positions of the source, or so many of them, evenly spaced."""
    n = len(source)
    if max_examples is None or n <= max_examples:
        return list(range(n))
    return np.linspace(0, n - 1, max_examples).round().astype(int).tolist()


def read_truth(
    source: Source, positions: list[int], reader: ExampleReader, *, threads: int
) -> tuple[Truth, npt.NDArray[np.uint8]]:
    """Annotations and crops (N, S, S, 3), read by several threads.

    Without augmentation, unless `test_aug` asks for it; then always the same one.
    """
    everything = np.array(positions, np.int64)
    draws = None
    if reader.settings.crop.test_aug:
        rng = np.random.default_rng((reader.settings.optimisation.seed, *positions[:1]))
        draws = reader.draw([source], np.zeros(len(positions), np.int64), rng)

    def read(part: npt.NDArray[np.int64]) -> Batch:
        own = None if draws is None else draws[part]
        return reader.read([source], np.zeros(len(part), np.int64), everything[part], draws=own)

    parts = np.array_split(np.arange(len(positions)), min(threads, len(positions)))
    with ThreadPoolExecutor(threads) as pool:
        batches = list(pool.map(read, parts))
    stacked = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    truth = Truth(
        source.rows[positions],
        stacked["intrinsics"],
        stacked["coords3d"],
        stacked["coords2d"],
        stacked["canonical_points"],
        stacked["point_validity"],
        stacked["root_index"],
    )
    return truth, stacked["image"]


class Predictor:
    """The model, asked for any canonical points; compiled once for shared and for own ones."""

    def __init__(self, model: LocalizerModel) -> None:
        def call(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return model(inputs, training=False)

        self._uncert_factor = np.float32(expected_error_factor(model.settings.loss))
        # One function each: relaxed shapes that fit both have no rank, which no layer takes.
        self._calls = {
            n_axes: tf.function(call, reduce_retracing=True, autograph=False) for n_axes in (2, 3)
        }

    def __call__(
        self, images: npt.NDArray[np.uint8], intrinsics: Floats, canonical: Floats
    ) -> Predictions:
        """Predict points (P, 3), shared, or (N, P, 3), each example's own."""
        outputs = self._calls[canonical.ndim](
            {
                "image": tf.cast(images, tf.float32) / 255,
                "intrinsics": tf.constant(intrinsics),
                "canonical_points": tf.constant(canonical),
            }
        )
        coords3d = outputs["coords3d"].numpy()
        homogeneous = coords3d / np.maximum(coords3d[..., 2:], 1e-3)
        coords2d = homogeneous @ np.swapaxes(intrinsics[:, :2], 1, 2)
        uncert = outputs["uncert"].numpy() * self._uncert_factor
        return Predictions(coords3d, coords2d.astype(np.float32), uncert)


def concatenate(parts: list[Predictions]) -> Predictions:
    """The predictions of several batches as one."""
    return Predictions(
        np.concatenate([part.coords3d for part in parts]),
        np.concatenate([part.coords2d for part in parts]),
        np.concatenate([part.uncert for part in parts]),
    )
