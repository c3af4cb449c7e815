"""The streams of examples that training mixes: one per dataset and split.

Annotations are small, so a source holds them in memory; pictures and masks are read row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from errors import ConfigError, StoreError
from pipeline.schema import Kind
from stages.train.body_parameters import BodyParameters, Variant, read_body_parameters
from stages.train.canonical_body import CanonicalBody, JointTable, surface_points
from stages.train.settings import BatchSettings

Floats = npt.NDArray[np.float32]
KINDS = (Kind.PARAM, Kind.KP3D, Kind.DENSE, Kind.KP2D)  # the order of a batch


class SplitReader(Protocol):
    """What the loader needs of a store's split; `cache.reader` has it."""

    @property
    def usable_rows(self) -> npt.NDArray[np.int64]: ...
    def column(self, name: str) -> npt.NDArray[Any]: ...
    def blobs(self, name: str, rows: npt.NDArray[np.int64]) -> list[bytes]: ...


class StoreReader(Protocol):
    """What the loader needs of a store."""

    @property
    def attributes(self) -> Mapping[str, Any]: ...
    @property
    def splits(self) -> Mapping[str, SplitReader]: ...


@dataclass(frozen=True, slots=True)
class Source:
    """The usable examples of one dataset's split, R of them, with P annotated points each.

    Attributes:
        dataset: name of the dataset.
        split_name: train, valid or test.
        kind: the part of the batch it feeds.
        split: reads pictures and masks.
        rows: int64 (R,), rows of the split.
        intrinsics: float32 (R, 3, 3); all zero where there is no camera.
        distortion: float32 (R, 14), OpenCV order.
        up: float32 (R, 3), upwards in the camera frame, zero where unknown.
        bbox: float32 (R, 4), x, y, width, height.
        coords3d: float32 (R, P, 3), camera frame, metres; None where 2D is the truth.
        coords2d: float32 (R, P, 2), pixels; None where 3D is the truth.
        validity: bool (R, P): annotated, and its canonical place is known.
        root_index: int32 (R,), -1 where there is none.
        joint_ids: int32 (P,), places in the joint table; None for surface points.
        surface: float32 (R, P, 3), canonical places of surface points; None for joints.
        mirror: int64 (P,), the twin of each point; None for surface points.
        mask_size: int32 (R, 2), height and width, zero where there is no mask; None: no masks.
        body: body-model parameters; None: there are none, or no model to pose them.
    """

    dataset: str
    split_name: str
    kind: Kind
    split: SplitReader
    rows: npt.NDArray[np.int64]
    intrinsics: Floats
    distortion: Floats
    up: Floats
    bbox: Floats
    coords3d: Floats | None
    coords2d: Floats | None
    validity: npt.NDArray[np.bool_]
    root_index: npt.NDArray[np.int32]
    joint_ids: npt.NDArray[np.int32] | None
    surface: Floats | None
    mirror: npt.NDArray[np.int64] | None
    mask_size: npt.NDArray[np.int32] | None = None
    body: BodyParameters | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.split_name}"


def open_source(
    dataset: str,
    store: StoreReader,
    *,
    split_name: str,
    table: JointTable,
    body: CanonicalBody,
    batch: BatchSettings,
    variants: Sequence[Variant] = (),
) -> Source:
    """Read the annotations of a split's usable rows.

    Args:
        variants: body models that can be posed.

    Raises:
        StoreError: the split is damaged.
        ConfigError: a dense dataset refers to another body mesh.
    """
    split = store.splits[split_name]
    usable = np.asarray(split.usable_rows, dtype=np.int64)
    stored_kind = Kind(store.attributes["kind"])
    columns = {
        name: split.column(name)[usable]
        for name in (
            "intrinsics",
            "extrinsics",
            "distortion",
            "world_up",
            "bbox",
            "root_index",
            "point_validity",
            "mask_length",
            "mask_size",
        )
    }
    is_2d = stored_kind in (Kind.KP2D, Kind.DENSE)
    coords = split.column("coords2d" if is_2d else "coords3d")[usable]
    validity = columns["point_validity"]
    joint_ids = surface = mirror = None
    if stored_kind is Kind.DENSE:
        vertices = split.column("surface_vertices")[usable]
        surface = surface_points(body, vertices, split.column("surface_weights")[usable])
    else:
        joint_ids = table.ids(dataset)
        mirror = np.asarray(store.attributes["mirror"], dtype=np.int64)
        if len(joint_ids) != validity.shape[1] or len(mirror) != validity.shape[1]:
            raise StoreError(f"{dataset}: joint names and joint columns differ in number")
        validity = validity & (joint_ids >= 0)
    rotation = columns["extrinsics"][:, :, :3]
    keep = np.flatnonzero(validity.any(axis=1))
    body_parameters = None
    if stored_kind is Kind.PARAM and variants:
        rows = usable[keep]
        body_parameters = read_body_parameters(split, rows, dataset=dataset, variants=variants)
    return Source(
        dataset=dataset,
        split_name=split_name,
        kind=batch_kind(dataset, stored_kind, batch),
        split=split,
        rows=usable[keep],
        intrinsics=columns["intrinsics"][keep],
        distortion=columns["distortion"][keep],
        up=np.einsum("nij,nj->ni", rotation, columns["world_up"])[keep],
        bbox=columns["bbox"][keep],
        coords3d=None if is_2d else coords[keep],
        coords2d=coords[keep] if is_2d else None,
        validity=validity[keep],
        root_index=columns["root_index"][keep],
        joint_ids=joint_ids,
        surface=None if surface is None else surface[keep],
        mirror=mirror,
        mask_size=(columns["mask_size"] * (columns["mask_length"] > 0)[:, np.newaxis])[keep],
        body=body_parameters,
    )


def batch_kind(dataset: str, stored_kind: Kind, batch: BatchSettings) -> Kind:
    """The part of the batch a dataset feeds.

    A 3D dataset that the settings count among the parametric ones takes their share even where
    only its joints can be used: without a body model they stand for the body.
    """
    if stored_kind is Kind.KP3D and _find_weight(dataset, batch.weights_param) is not None:
        return Kind.PARAM
    return stored_kind


def source_weight(dataset: str, kind: Kind, batch: BatchSettings) -> float:
    """How often a dataset is drawn from, relative to the others of its kind; 1 if not listed."""
    weights = {
        Kind.PARAM: batch.weights_param,
        Kind.KP3D: batch.weights_kp3d,
        Kind.DENSE: batch.weights_dense,
        Kind.KP2D: batch.weights_2d,
    }[kind]
    weight = _find_weight(dataset, weights)
    return 1.0 if weight is None else weight


def kind_counts(batch: BatchSettings, sources: Sequence[Source]) -> Mapping[Kind, int]:
    """Examples of each kind in a batch; a kind without any source has none.

    Raises:
        ConfigError: nothing is left.
    """
    wanted = {
        Kind.PARAM: batch.batch_size_parametric,
        Kind.KP3D: batch.batch_size,
        Kind.DENSE: batch.batch_size_densepose,
        Kind.KP2D: batch.batch_size_2d,
    }
    present = {source.kind for source in sources if len(source)}
    counts = {kind: wanted[kind] if kind in present else 0 for kind in KINDS}
    if not sum(counts.values()):
        raise ConfigError(
            "there is nothing to train from",
            cause="no dataset has a usable training example of a kind with a batch size",
            next_command="cli.py inspect DATASET",
        )
    return counts


def _find_weight(dataset: str, weights: Mapping[str, float]) -> float | None:
    """Keys are beginnings of picture paths: `coco_` and `mads_down` mean `coco` and `mads`."""
    for key, weight in weights.items():
        prefix = key.rstrip("_")
        if prefix == dataset or prefix.startswith(dataset + "_"):
            return weight
    return None
