"""Examples as the model sees them: cropped and augmented by the very code that feeds training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache.reader import Store
from pipeline.schema import Kind
from stages.train.augmentation import open_scenery
from stages.train.canonical_body import CanonicalBody, joint_table
from stages.train.examples import ExampleReader
from stages.train.settings import TrainSettings
from stages.train.sources import Source, open_source
from stages.view.examples import ViewedExample, read_examples
from stages.view.projection import project
from stages.view.surface import BodyMesh, Surface

UNUSED = "not_trained"


def read_augmented(
    store: Store,
    split_name: str,
    rows: Sequence[int],
    *,
    settings: TrainSettings,
    body: CanonicalBody,
    seed: int,
) -> list[ViewedExample]:
    """The given rows of a split after `stages.train.examples.ExampleReader`.

    Points are those that the example asks the model for, packed into the batch's slots and sorted
    back to the joints they are. An example that training leaves out is shown as rejected.

    Args:
        seed: the same seed and row give the same augmentation.

    Raises:
        StoreError: a shard is missing, cut or altered, or a picture is not stored.
        ConfigError: the dataset refers to another body mesh, or a scenery folder is empty.
    """
    dataset = str(store.attributes["dataset"])
    names = tuple(store.attributes["joint_names"])
    source = open_source(
        dataset,
        store,
        split_name=split_name,
        table=joint_table(body, {dataset: names}),
        body=body,
        batch=settings.batch,
    )
    scenery = open_scenery(settings.data.backgrounds, settings.data.occluders)
    reader = ExampleReader(settings, scenery, n_slots=settings.batch.num_points)
    mesh = BodyMesh(body.vertices, body.faces)
    positions = {int(row): position for position, row in enumerate(source.rows)}
    examples = []
    for row in rows:
        if row in positions:
            rng = np.random.default_rng((seed, row))
            example = _read(source, positions[row], reader, rng, n_joints=len(names), mesh=mesh)
        else:
            (example,) = read_examples(store.splits[split_name], [row], attributes=store.attributes)
            if example.is_usable:
                example = example.rejected(UNUSED, "no point has a place on the canonical body")
        examples.append(example)
    return examples


def _read(
    source: Source,
    position: int,
    reader: ExampleReader,
    rng: np.random.Generator,
    *,
    n_joints: int,
    mesh: BodyMesh,
) -> ViewedExample:
    batch = reader(source, position, rng)
    valid, joint_ids = batch["point_validity"], batch["joint_ids"]
    row = int(source.rows[position])
    slots = np.flatnonzero(valid & (joint_ids >= 0))
    joints = joint_ids[slots]
    joints3d = None
    joints2d, validity = np.zeros((n_joints, 2)), np.zeros(n_joints, dtype=bool)
    is_ahead = np.ones(n_joints, dtype=bool)
    validity[joints] = True
    if source.coords3d is not None:
        joints3d = np.zeros((n_joints, 3), np.float32)
        joints3d[joints] = batch["coords3d"][slots]
        projection = project(
            batch["coords3d"][slots], intrinsics=batch["intrinsics"], distortion=np.zeros(14)
        )
        joints2d[joints], is_ahead[joints] = projection.pixels, projection.is_ahead
    else:
        joints2d[joints] = batch["coords2d"][slots]
    surface = None
    if source.kind is Kind.DENSE:
        pixels, places = batch["coords2d"][valid], batch["canonical_points"][valid]
        surface = Surface(pixels, mesh.colours(places))
    root_slot = int(batch["root_index"])
    return ViewedExample(
        split=source.split_name,
        row=row,
        source=source.split.blobs("image_path", np.array([row]))[0].decode("utf-8", "replace"),
        status="usable",
        detail="",
        picture=batch["image"],
        picture_fault="",
        box=None,
        mask=None,
        joints2d=joints2d,
        joints3d=joints3d,
        validity=validity,
        is_ahead=is_ahead,
        root_index=int(joint_ids[root_slot]) if root_slot >= 0 else -1,
        surface=surface,
        remarks=(_intrinsics_text(batch["intrinsics"]), f"{int(valid.sum())}/{len(valid)} slots"),
    )


def _intrinsics_text(intrinsics: np.ndarray) -> str:
    fx, fy, cx, cy = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    focal = f"f {fx:.0f}" if abs(fx - fy) < 0.5 else f"f {fx:.0f}, {fy:.0f}"
    return f"{focal} c {cx:.0f}, {cy:.0f}"
