"""Writing datasets in the very form in which PosePile pickles them, without PosePile."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.skeletons import Skeleton
from stages.sample.genuine_names import (
    CAMERAS,
    Dataset2D,
    Dataset3D,
    Dict,
    Example2D,
    Example3D,
    GenuinePickler,
    JointInfo,
    SparseCoords,
    genuine_names,
)
from stages.sample.records import ExampleRecord, PickleForm
from stages.sample.surface import Array


def write_pickle(
    path: Path, examples: Sequence[ExampleRecord], *, skeleton: Skeleton, form: PickleForm
) -> None:
    """Write one dataset's file whole or not at all.

    The bytes depend on the values only, not on which objects happen to be shared.
    """
    dataset = _dataset(examples, skeleton, form)
    buffer = io.BytesIO()
    with genuine_names():
        GenuinePickler(buffer, protocol=5).dump(dataset)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _dataset(examples: Sequence[ExampleRecord], skeleton: Skeleton, form: PickleForm) -> Any:
    build = _example_3d if form.dimensions == 3 else _example_2d
    by_split: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for example in examples:
        by_split[example.split].append(build(example, form))
    names = list(skeleton.joint_names)
    joint_info = _filled(
        JointInfo,
        ids=Dict((name, i) for i, name in enumerate(names)),
        names=names,
        mirror_mapping=list(skeleton.mirror),
        stick_figure_edges=list(skeleton.edges),
    )
    if form.dimensions == 2:
        return _filled(Dataset2D, joint_info=joint_info, examples=by_split)
    dataset = _filled(Dataset3D, joint_info=joint_info, examples=by_split)
    trainval = [e.joints for e in examples if e.split in (0, 1)]
    train = [e.joints for e in examples if e.split == 0]
    if train:
        dataset.trainval_bones = _mean_bone_lengths(trainval, skeleton)
        dataset.train_bones = _mean_bone_lengths(train, skeleton)
    return dataset


def _example_3d(example: ExampleRecord, form: PickleForm) -> Any:
    camera = example.camera
    if camera is None:
        raise ValueError(f"a 3D example needs a camera: {example.image_path}")
    bbox, coords = example.bbox, example.joints
    return _filled(
        Example3D,
        image_path=example.image_path,
        world_coords=_sparse(coords) if example.is_sparse else coords,
        univ_coords=None,
        bbox=bbox.astype(np.float16) if example.is_sparse and _fits_half(bbox, 3.0) else bbox,
        camera=_filled(
            CAMERAS[form.camera_class],
            R=camera.rotation,
            t=camera.position,
            intrinsic_matrix=camera.intrinsics,
            distortion_coeffs=camera.distortion,
            world_up=camera.world_up,
        ),
        activity_name="unknown",
        scene_name="unknown",
        mask=_mask(example),
        instance_mask=None,
        custom=None,
        image=None,
        parameters=example.parameters,
    )


def _example_2d(example: ExampleRecord, form: PickleForm) -> Any:
    del form
    return _filled(
        Example2D,
        image_path=example.image_path,
        coords=example.joints,
        bbox=example.bbox,
        mask=_mask(example),
        camera=None,
        densepose=example.densepose,
        image=None,
    )


def _filled(cls: type, **attributes: Any) -> Any:
    instance: Any = object.__new__(cls)
    instance.__dict__.update((name, _unshared(value)) for name, value in attributes.items())
    return instance


def _unshared(value: Any) -> Any:
    """The value with arrays of its own and with the one string of each spelling.

    A pickle refers back to objects that it has seen; who shares what depends on the processes
    that the records came through, and must not show.
    """
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, str):
        return sys.intern(value)
    if type(value) is tuple:
        return tuple(_unshared(item) for item in value)
    if type(value) is dict:
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    return value


def _mask(example: ExampleRecord) -> Any:
    if example.mask is None:
        return None
    counts, (height, width) = example.mask
    if example.mask_form == "zcounts":
        return {"size": [height, width], "zcounts": zlib.compress(counts)}
    mask = {"size": [height, width], "counts": counts}
    return [mask] if example.mask_form == "list" else mask


def _sparse(coords: Array) -> Any:
    valid = np.flatnonzero(np.isfinite(coords).all(-1)).astype(np.uint16)
    kept = coords[valid]
    return _filled(
        SparseCoords,
        shape=coords.shape,
        i_valid_joints=valid,
        valid_coords=kept.astype(np.float16) if _fits_half(kept, 1.0) else kept,
    )


def _fits_half(values: Array, tolerance: float) -> bool:
    if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        return False
    loss = np.abs(values.astype(np.float16).astype(np.float32) - values)
    return bool(loss.max(initial=0.0) < tolerance)


def _mean_bone_lengths(joints: Sequence[Array], skeleton: Skeleton) -> Array:
    """Mean length of every edge over the examples that have both ends, float32, mm."""
    stacked = np.stack(joints).astype(np.float64)
    start, end = (list(ends) for ends in zip(*skeleton.edges, strict=True))
    lengths = np.linalg.norm(stacked[:, start] - stacked[:, end], axis=-1)
    known = np.isfinite(lengths)
    total = np.where(known, lengths, 0.0).sum(0)
    mean: Array = (total / np.maximum(known.sum(0), 1)).astype(np.float32)
    return mean
