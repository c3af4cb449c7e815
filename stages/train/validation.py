"""Metrics on held-out examples while training goes on.

As in training but without augmentation: the same reconstruction, with the mean of both estimates.
Only examples with 3D truth of the parametric part are measured, as published; where there are
none, 3D keypoints.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from errors import ConfigError
from pipeline.schema import Kind
from stages.train.augmentation import Scenery
from stages.train.examples import ExampleReader
from stages.train.loader import Batch
from stages.train.metrics import Metrics3D, metrics_3d
from stages.train.model import LocalizerModel
from stages.train.settings import TrainSettings
from stages.train.sources import KINDS, Source
from stages.train.supervision import DEVICE_ARRAYS, WITH_3D_TRUTH, predict_absolute


class Validation:
    """Measures the model as it stands.

    Args:
        sources: of the valid splits.

    Raises:
        ConfigError: none of them has 3D truth.
    """

    def __init__(
        self, model: LocalizerModel, sources: Sequence[Source], *, settings: TrainSettings
    ) -> None:
        present = {source.kind for source in sources if len(source)}
        kind = next((kind for kind in WITH_3D_TRUTH if kind in present), None)
        if kind is None:
            raise ConfigError(
                "there is nothing to validate on",
                where="params.yaml: train.optimisation.validate_period",
                cause="no store has usable examples with 3D truth in its valid split",
                next_command="set validate_period to null",
            )
        self._sources = [source for source in sources if source.kind is kind and len(source)]
        self._model, self._settings = model, settings
        n_examples = sum(len(source) for source in self._sources)
        self._batch_size = min(settings.batch.batch_size_test, n_examples)
        self._compiled = tf.function(self._measure, autograph=False)

    def __call__(self, step: int) -> dict[str, float]:
        """Means over all valid points, by name: `valid_mean_error_mm` and the like."""
        sums: dict[str, float] = dict.fromkeys(Metrics3D._fields, 0.0)
        n_points = 0
        for batch in self._batches():
            found = self._compiled(
                {name: tf.convert_to_tensor(batch[name]) for name in DEVICE_ARRAYS},
                tf.constant(step, tf.int64),
            )
            weight = int(batch["point_validity"].sum())
            n_points += weight
            for name, value in zip(Metrics3D._fields, found, strict=True):
                sums[name] += weight * float(value)
        return {_NAMES[name]: total / max(n_points, 1) for name, total in sums.items()}

    def _measure(self, batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> Metrics3D:
        everything = slice(0, self._batch_size)
        nothing = slice(self._batch_size, self._batch_size)
        kinds = {kind: everything if kind is Kind.PARAM else nothing for kind in KINDS}
        coords3d, _ = predict_absolute(
            self._model,
            batch,
            kinds=kinds,
            step=step,
            optimizer_step=step,
            seed=self._settings.optimisation.seed,
            training=False,
        )
        return metrics_3d(
            batch["coords3d"],
            coords3d,
            intrinsics=batch["intrinsics"],
            validity=batch["point_validity"],
            head=self._settings.head,
        )

    def _batches(self):  # type: ignore[no-untyped-def]
        """All examples; the last batch is filled up with ones whose points do not count."""
        reader = ExampleReader(self._settings, Scenery(), n_slots=self._settings.batch.num_points)
        places = [(source, i) for source in self._sources for i in range(len(source))]
        size = self._batch_size
        with ThreadPoolExecutor(self._settings.data.loader_threads) as pool:
            for start in range(0, len(places), size):
                part = places[start : start + size]
                examples: list[Batch] = list(
                    pool.map(lambda p: reader(p[0], p[1], self._rng(p[0], p[1])), part)
                )
                examples += examples[:1] * (size - len(part))
                batch = {name: np.stack([e[name] for e in examples]) for name in DEVICE_ARRAYS}
                batch["point_validity"][len(part) :] = False
                yield batch

    def _rng(self, source: Source, position: int) -> np.random.Generator | None:
        """With `test_aug` pictures are augmented as in training, every time alike."""
        if not self._settings.crop.test_aug:
            return None
        seed = self._settings.optimisation.seed
        return np.random.default_rng([seed, zlib.crc32(source.name.encode()), position])


_NAMES = {
    "mean_error_abs": "valid_absolute_error_mm",
    "mean_error": "valid_mean_error_mm",
    "auc": "valid_auc_percent",
    "pck": "valid_pck_percent",
    "mean_error_procrustes": "valid_procrustes_error_mm",
    "mean_error_px": "valid_error_px",
}
