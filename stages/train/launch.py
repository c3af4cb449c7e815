"""From settings to a running loop: open the stores, build the model, start the stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from cache.reader import Store
from stages.train.augmentation import open_scenery
from stages.train.body_models import installed_variants, load_bodies
from stages.train.body_parameters import Variant
from stages.train.body_supervision import BodyPoints, Fillers, QueryPoints
from stages.train.canonical_body import (
    CanonicalBody,
    JointTable,
    joint_table,
    load_canonical_body,
)
from stages.train.devices import choose_strategy
from stages.train.examples import ExampleReader
from stages.train.field_pretraining import canonical_eigenbasis, pretrain_field
from stages.train.initial_weights import take_initial_weights
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
    settings: TrainSettings,
    stores: Mapping[str, StoreReader],
    body: CanonicalBody,
    *,
    devices: Sequence[str] = (),
) -> Path:
    """`launch` with stores that are open already.

    Args:
        devices: share the work of a step among these; default: as the settings say.
    """
    # Several workers must find each other before TensorFlow does anything else.
    strategy = choose_strategy(settings.optimisation, devices=devices)
    prepare_tensorflow(settings)
    with strategy.scope():
        return _launch_in_scope(settings, stores, body)


def _launch_in_scope(
    settings: TrainSettings, stores: Mapping[str, StoreReader], body: CanonicalBody
) -> Path:
    names = {dataset: store.attributes["joint_names"] for dataset, store in stores.items()}
    table = joint_table(body, names)
    for dataset, lost in table.unlocated.items():
        tqdm.write(f"{dataset}: no canonical place for {', '.join(lost)}; not trained")
    variants = installed_variants(settings.data.body_models) if settings.data.body_models else ()
    sources = open_sources(settings, stores, table=table, body=body, variants=variants)
    for source in sources:
        tqdm.write(f"{source.name}: {len(source)} examples of kind {source.kind.value}")
    held_out: Sequence[Source] = ()
    if settings.optimisation.validate_period is not None:
        held_out = open_sources(settings, stores, table=table, body=body, splits=("valid",))
    scenery = open_scenery(settings.data.backgrounds, settings.data.occluders)
    stream = training_stream(
        sources,
        ExampleReader(settings, scenery, n_slots=settings.batch.num_points),
        batch=settings.batch,
        data=settings.data,
        seed=settings.optimisation.seed,
    )
    model = initial_model(settings, table=table, body=body)
    model.query_points = query_points(settings, sources, variants=variants, body=body)
    try:
        digest = data_digest(stores, body)
        out, strategy = settings.data.out, tf.distribute.get_strategy()
        return train(TrainingRun(settings, model, stream, sources, digest, out, held_out, strategy))
    finally:
        stream.close()


def initial_model(
    settings: TrainSettings, *, table: JointTable, body: CanonicalBody
) -> LocalizerModel:
    """The model as training finds it: with the weights that the settings give it to begin with.

    Raises:
        ConfigError: the canonical body encloses no volume, or initial weights do not fit.
    """
    field, seed, folder = settings.field, settings.optimisation.seed, settings.data.out
    basis, bounds = None, canonical_bounds(body)
    if field.field_type == "gps":
        basis = canonical_eigenbasis(body, field, folder=folder)
        bounds = np.stack([basis.mesh.nodes.min(axis=0), basis.mesh.nodes.max(axis=0)])
    model = LocalizerModel(
        settings,
        table=table,
        bounds=bounds,
        eigenvalues=None if basis is None else basis.eigenvalues,
    )
    if settings.backbone.init_path is not None:
        take_initial_weights(model, Path(settings.backbone.init_path))
    elif basis is not None and field.init_lbo:
        error = pretrain_field(model.field, basis, seed=seed, folder=folder)
        tqdm.write(f"field: {error:.2%} of the eigenfunctions' square is left unexplained")
    return model


def query_points(
    settings: TrainSettings,
    sources: Sequence[Source],
    *,
    variants: Sequence[Variant],
    body: CanonicalBody,
) -> QueryPoints:
    """What is asked for besides the annotated points: bodies to pose, and fillers.

    Args:
        variants: the installed body models; those that no example names are not loaded.

    Raises:
        ConfigError: a body model or the canonical body cannot be used, or slots do not suffice.
    """
    batch, bodies = settings.batch, None
    named = [s.body.variant for s in sources if s.body is not None]
    if named:
        places = [i for i in np.unique(np.concatenate(named)).tolist() if i >= 0]
        used = [variants[i] for i in places]
        tqdm.write(f"posing bodies of {', '.join(' '.join(variant) for variant in used)}")
        assert settings.data.body_models is not None
        loaded = load_bodies(
            settings.data.body_models,
            used,
            body=body,
            with_internal=batch.num_internal_points > 0,
        )
        bodies = BodyPoints(loaded, batch=batch, places=places)
    fillers = Fillers(body, batch=batch) if batch.unlabelled_fillers else None
    return QueryPoints(bodies, fillers)


def open_sources(
    settings: TrainSettings,
    stores: Mapping[str, StoreReader],
    *,
    table: JointTable,
    body: CanonicalBody,
    splits: Sequence[str] = (),
    variants: Sequence[Variant] = (),
) -> Sequence[Source]:
    """Every dataset's splits that are not empty: those to train from, or the given ones."""
    data = settings.data
    sources = []
    for dataset, store in stores.items():
        is_2d = store.attributes["kind"] == "kp2d"
        for split_name in splits or (data.splits_2d if is_2d else data.splits):
            source = open_source(
                dataset,
                store,
                split_name=split_name,
                table=table,
                body=body,
                batch=settings.batch,
                variants=variants,
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
