"""From settings to a running loop: open the stores, build the model, start the stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cache.reader import Store
from stages.train.augmentation import open_scenery
from stages.train.canonical_body import (
    CanonicalBody,
    JointTable,
    joint_table,
    load_canonical_body,
)
from stages.train.examples import ExampleReader
from stages.train.loader import training_stream
from stages.train.loop import TrainingRun, prepare_tensorflow, train
from stages.train.model import LocalizerModel
from stages.train.settings import TrainSettings
from stages.train.sources import Source, StoreReader, open_source

_FLESH_M = 0.1  # canonical joints may move, and fingers may be missing from the mesh


def launch(settings: TrainSettings) -> Path:
    """Train a localizer from the stores that the settings name; resumes by itself.

    Returns:
        The model file.

    Raises:
        StoreError: a store is missing or damaged.
        ConfigError: a setting does not fit the data, or the checkpoints are another run's.
        SourceError: a loss is not finite.
    """
    data = settings.data
    stores = {name: Store.open(data.stores / f"{name}.zarr") for name in data.datasets}
    return launch_on(settings, stores, load_canonical_body(data.body))


def launch_on_paths(settings: TrainSettings, paths: Sequence[Path]) -> Path:
    """`launch` with stores anywhere, known by the dataset that each says it holds."""
    stores: dict[str, StoreReader] = {}
    for path in paths:
        store = Store.open(path)
        stores[str(store.attributes["dataset"])] = store
    return launch_on(settings, stores, load_canonical_body(settings.data.body))


def launch_on(
    settings: TrainSettings, stores: Mapping[str, StoreReader], body: CanonicalBody
) -> Path:
    """`launch` with stores that are open already."""
    prepare_tensorflow(settings)
    names = {dataset: store.attributes["joint_names"] for dataset, store in stores.items()}
    table = joint_table(body, names)
    for dataset, lost in table.unlocated.items():
        tqdm.write(f"{dataset}: no canonical place for {', '.join(lost)}; not trained")
    sources = open_sources(settings, stores, table=table, body=body)
    for source in sources:
        tqdm.write(f"{source.name}: {len(source)} examples of kind {source.kind.value}")
    scenery = open_scenery(settings.data.backgrounds, settings.data.occluders)
    stream = training_stream(
        sources,
        ExampleReader(settings, scenery, n_slots=settings.batch.num_points),
        batch=settings.batch,
        data=settings.data,
        seed=settings.optimisation.seed,
    )
    model = LocalizerModel(settings, table=table, bounds=canonical_bounds(body))
    try:
        digest = data_digest(stores, body)
        return train(TrainingRun(settings, model, stream, sources, digest, settings.data.out))
    finally:
        stream.close()


def open_sources(
    settings: TrainSettings,
    stores: Mapping[str, StoreReader],
    *,
    table: JointTable,
    body: CanonicalBody,
) -> Sequence[Source]:
    """Every dataset's training splits that are not empty."""
    data = settings.data
    sources = []
    for dataset, store in stores.items():
        is_2d = store.attributes["kind"] == "kp2d"
        for split_name in data.splits_2d if is_2d else data.splits:
            source = open_source(
                dataset, store, split_name=split_name, table=table, body=body, batch=settings.batch
            )
            if len(source):
                sources.append(source)
    return sources


def data_digest(stores: Mapping[str, StoreReader], body: CanonicalBody) -> str:
    """Tells other data apart: the stores' attributes (with the digest of their source), usable
    rows, and the body's places.
    """
    digest = hashlib.sha256()
    for dataset, store in stores.items():
        digest.update(json.dumps([dataset, dict(store.attributes)], sort_keys=True).encode())
        for split in store.splits.values():
            digest.update(np.asarray(split.usable_rows, np.int64).tobytes())
    digest.update(body.vertices.tobytes())
    for name, place in sorted(body.joints.items()):
        digest.update(name.encode() + place.tobytes())
    return digest.hexdigest()


def canonical_bounds(body: CanonicalBody) -> npt.NDArray[np.float32]:
    """(2, 3): least and greatest coordinates of the mesh and the joints, with some room."""
    points = np.concatenate([body.vertices, np.stack(list(body.joints.values()))])
    return np.stack([points.min(axis=0) - _FLESH_M, points.max(axis=0) + _FLESH_M])
