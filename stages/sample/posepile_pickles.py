"""Writing datasets in the very form in which PosePile pickles them, without PosePile.

A pickle names classes by module and name. The stand-ins below carry the names of the originals and
hold the same attributes in the same order; while a file is written, the modules of those names are
these stand-ins', so that the standard pickler finds what it looks for.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import threading
import types
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.skeletons import Skeleton
from stages.sample.surface import Array


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """A camera as PosePile keeps it: millimetres, float32.

    Attributes:
        rotation: (3, 3), world to camera.
        position: (3,), optical centre in the world, mm.
        intrinsics: (3, 3), pixels.
        distortion: OpenCV coefficients or None.
        world_up: (3,), unit.
    """

    rotation: Array
    position: Array
    intrinsics: Array
    distortion: Array | None
    world_up: Array


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """One example on its way into a pickle.

    Attributes:
        split: 0 train, 1 valid, 2 test.
        image_path: relative to the data root.
        joints: float32 (J, 3) world mm, or (J, 2) pixels; NaN where missing.
        bbox: float32 (4,), x, y, width, height.
        camera: None for 2D examples.
        mask: compressed COCO run lengths with their (height, width), or None.
        mask_form: `counts`, `zcounts` or `list`.
        is_sparse: whether the joints and the box are stored in the compressed form.
        densepose: pixels (m, 2), vertex triplets (m, 3), barycentric weights (m, 3), or None.
        parameters: of a body model, or None.
    """

    split: int
    image_path: str
    joints: Array
    bbox: Array
    camera: CameraRecord | None = None
    mask: tuple[bytes, tuple[int, int]] | None = None
    mask_form: str = "counts"
    is_sparse: bool = False
    densepose: tuple[Array, Array, Array] | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PickleForm:
    """What differs between the files of one PosePile era.

    Attributes:
        dimensions: 3 or 2.
        camera_class: module of the class `Camera`.
    """

    dimensions: int
    camera_class: str = "cameravision.cameravision"


def write_pickle(
    path: Path, examples: Sequence[ExampleRecord], *, skeleton: Skeleton, form: PickleForm
) -> None:
    """Write one dataset's file whole or not at all.

    The bytes depend on the values only, not on which objects happen to be shared.
    """
    dataset = _dataset(examples, skeleton, form)
    buffer = io.BytesIO()
    with _genuine_names():
        _Pickler(buffer, protocol=5).dump(dataset)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stand_in(module: str, name: str, base: type = object) -> type:
    return type(name, (base,), {"__module__": module, "__qualname__": name})


class _Addict(dict[str, int]):
    """Pickles as addict.Dict does: its items as arguments, then as items, itself as state."""

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self.items())

    def __getstate__(self) -> Any:
        return self


def _frombuffer(*_: object) -> None:
    """Stands for NumPy's function that rebuilds an array from its bytes."""


_frombuffer.__module__ = "numpy.core.numeric"
_frombuffer.__qualname__ = "_frombuffer"


def _scalar(*_: object) -> None:
    """Stands for NumPy's function that rebuilds a scalar."""


_scalar.__module__ = "numpy.core.multiarray"
_scalar.__qualname__ = _scalar.__name__ = "scalar"

_Dataset3D = _stand_in("posepile.datasets3d", "Pose3DDataset")
_Example3D = _stand_in("posepile.datasets3d", "Pose3DExample")
_SparseCoords = _stand_in("posepile.datasets3d", "SparseCoords")
_Dataset2D = _stand_in("posepile.datasets2d", "Pose2DDataset")
_Example2D = _stand_in("posepile.datasets2d", "Pose2DExample")
_JointInfo = _stand_in("posepile.joint_info", "JointInfo")
_Dict = _stand_in("addict.addict", "Dict", _Addict)
_CAMERAS = {
    module: _stand_in(module, "Camera")
    for module in ("cameralib.cameralib", "cameravision.cameravision")
}
_GLOBALS: tuple[Any, ...] = (
    *(_Dataset3D, _Example3D, _SparseCoords, _Dataset2D, _Example2D, _JointInfo, _Dict),
    *_CAMERAS.values(),
    *(_frombuffer, _scalar),
)
_names_lock = threading.Lock()


@contextlib.contextmanager
def _genuine_names() -> Iterator[None]:
    """Let the originals' module names lead to the stand-ins, for this block only."""
    modules: dict[str, types.ModuleType] = {}
    for stand_in in _GLOBALS:
        module = modules.setdefault(stand_in.__module__, types.ModuleType(stand_in.__module__))
        setattr(module, stand_in.__qualname__, stand_in)
    for package in {name.partition(".")[0] for name in modules}:
        # The pickler imports the parents first; NumPy's is there already and stays.
        if package not in sys.modules:
            modules[package] = types.ModuleType(package)
    if "numpy.core" not in sys.modules:
        modules["numpy.core"] = types.ModuleType("numpy.core")
    with _names_lock:
        hidden = {name: sys.modules[name] for name in modules if name in sys.modules}
        sys.modules.update(modules)
        try:
            yield
        finally:
            for name in modules:
                del sys.modules[name]
            sys.modules.update(hidden)


class _Pickler(pickle.Pickler):
    """Writes arrays as NumPy 1 does, each dtype and string once however they were made."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            reduced: Any = np.ascontiguousarray(obj).__reduce_ex__(5)
            buffer, dtype, shape, order = reduced[1]
            return _frombuffer, (buffer, _the_dtype(dtype), shape, order)
        if isinstance(obj, np.generic):
            return _scalar, (_the_dtype(obj.dtype), obj.tobytes())
        return NotImplemented


def _the_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The one instance of a plain dtype; copies that came from another process are others."""
    return np.dtype(dtype.str)


def _dataset(examples: Sequence[ExampleRecord], skeleton: Skeleton, form: PickleForm) -> Any:
    build = _example_3d if form.dimensions == 3 else _example_2d
    by_split: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for example in examples:
        by_split[example.split].append(build(example, form))
    names = list(skeleton.joint_names)
    joint_info = _filled(
        _JointInfo,
        ids=_Dict((name, i) for i, name in enumerate(names)),
        names=names,
        mirror_mapping=list(skeleton.mirror),
        stick_figure_edges=list(skeleton.edges),
    )
    if form.dimensions == 2:
        return _filled(_Dataset2D, joint_info=joint_info, examples=by_split)
    dataset = _filled(_Dataset3D, joint_info=joint_info, examples=by_split)
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
        _Example3D,
        image_path=example.image_path,
        world_coords=_sparse(coords) if example.is_sparse else coords,
        univ_coords=None,
        bbox=bbox.astype(np.float16) if example.is_sparse and _fits_half(bbox, 3.0) else bbox,
        camera=_filled(
            _CAMERAS[form.camera_class],
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
        _Example2D,
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
        _SparseCoords,
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
