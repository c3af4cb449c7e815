"""Small data sets, written exactly as the classes of each era would write them.

The graph is built from stand-in classes of this module; a pickler that looks names up in a table
gives them the module and class names of the originals, and NumPy's functions those of its version.
"""

from __future__ import annotations

import io
import pickle
import struct
import types
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

JOINT_NAMES = ("pelv", "lhip", "rhip", "neck")
EDGES = ((0, 1), (0, 2), (0, 3))
MIRROR = (0, 2, 1, 3)
N_EXAMPLES = 7
COUNTS = b"04"  # 2×2 pixels: no background, four of foreground


@dataclass(frozen=True)
class Era:
    """Who wrote the file, with what."""

    name: str
    package: str
    camera_module: str
    dict_library: str
    numpy_major: int
    protocol: int
    python2: bool = False

    def __str__(self) -> str:
        suffix = "-python2" if self.python2 else ""
        return f"{self.name}-numpy{self.numpy_major}-protocol{self.protocol}{suffix}"


_GENERATIONS = (
    ("metrabs", "data", "cameralib", "attrdict"),
    ("posepile2023", "posepile", "cameralib.cameralib", "attrdict"),
    ("posepile2024", "posepile", "cameralib.cameralib", "addict"),
    ("posepile2025", "posepile", "cameravision.cameravision", "addict"),
    ("posepile-deltacamera", "posepile", "deltacamera", "addict"),
)
ERAS = [
    Era(*generation, numpy_major=numpy_major, protocol=protocol)
    for generation in _GENERATIONS
    for numpy_major in (1, 2)
    for protocol in (2, 3, 4, 5)
] + [Era(*_GENERATIONS[0], numpy_major=1, protocol=2, python2=True)]


class Pose3DDataset: ...


class Pose3DExample: ...


class Pose2DDataset: ...


class Pose2DExample: ...


class SparseCoords: ...


class JointInfo: ...


class Camera: ...


class BrownConradyEx: ...


class FisheyeKannalaBrandt: ...


class AddictDict(dict[str, int]):
    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self.items())

    def __getstate__(self) -> object:
        return self


class AttrDict(dict[str, int]):
    def __getstate__(self) -> object:
        return dict(self), tuple, False


class DeprecatingArray:
    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array

    def __reduce__(self) -> tuple[object, ...]:
        return reconstruct_array, (self.array.tobytes(), self.array.dtype.str, self.array.shape)


class RLEMask:
    def __init__(self, encoded: dict[str, Any]) -> None:
        self.encoded = encoded

    def __reduce__(self) -> tuple[object, ...]:
        return mask_from_dict, (self.encoded,)


def reconstruct_array(*arguments: object) -> None: ...


def mask_from_dict(encoded: object) -> None: ...


def make(kind: type, **attributes: object) -> Any:
    """An object without calling anything, as unpickling would make it."""
    made = kind()
    made.__dict__.update(attributes)
    return made


def joint_info(era: Era) -> Any:
    names = list(JOINT_NAMES)
    ids = {name: i for i, name in enumerate(names)}
    dict_class = AddictDict if era.dict_library == "addict" else AttrDict
    return make(
        JointInfo,
        ids=dict_class(ids),
        names=names,
        stick_figure_edges=[tuple(edge) for edge in EDGES],
        mirror_mapping=list(MIRROR),
    )


def world_coords(i: int) -> npt.NDArray[np.float32]:
    """What example i annotates, (4, 3) in millimetres; quarter millimetres survive float16."""
    coords = (np.arange(12, dtype=np.float32).reshape(4, 3) * 8.25 + i).astype(np.float32)
    if i % 2:
        coords[1] = np.nan
    return coords


def camera_parts(i: int) -> dict[str, npt.NDArray[np.float32]]:
    rotation = np.eye(3, dtype=np.float32)[[1, 2, 0]]
    return {
        "R": np.asfortranarray(rotation) if i == 3 else rotation,
        "t": np.array([100, 200, 300 + i], np.float32),
        "intrinsic_matrix": np.array([[1000 + i, 0, 500], [0, 1000, 400], [0, 0, 1]], np.float32),
        "world_up": np.array([0, -1, 0], np.float32),
    }


def distortion(i: int) -> npt.NDArray[np.float32] | None:
    """None, five or eight coefficients; four for the last example, whose camera is a fisheye."""
    if i == N_EXAMPLES - 1:
        return np.full(4, 0.01, np.float32)
    return None if i % 2 else np.arange(1, 6 if i else 9, dtype=np.float32) / 10


def mask(i: int, era: Era) -> Any:
    plain = {"size": [2, 2], "counts": COUNTS}
    kinds: dict[int, Any] = {
        0: plain,
        1: {"size": [2, 2], "zcounts": zlib.compress(COUNTS)},
        2: [plain],
        3: {"size": [2, 2], "ucounts": [0, 4]},
        4: np.ones((2, 2), bool),
        5: RLEMask(plain) if era.camera_module == "deltacamera" else plain,
    }
    return kinds.get(i)


def dataset3d(era: Era) -> Any:
    """Seven examples, three to train, none to validate, four to test."""
    splits: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for i in range(N_EXAMPLES):
        coords: Any = world_coords(i)
        box = np.array([1, 2, 3, 4 + i], [np.float32, np.float64, np.float16][i % 3])
        if i == 4:
            joints = np.array([0, 2, 3], np.uint16)
            coords = make(
                SparseCoords,
                shape=(4, 3),
                i_valid_joints=joints,
                valid_coords=coords[joints].astype(np.float16),
            )
        elif i == 5:
            coords = np.repeat(coords, 2, axis=0)[::2]  # not contiguous
        example = make(
            Pose3DExample,
            image_path=f"images/{i}.jpg",
            world_coords=coords,
            univ_coords=None,
            bbox=box,
            camera=_camera(i, era),
            activity_name="unknown",
            scene_name="unknown",
            mask=mask(i, era),
        )
        if era.dict_library == "addict" and i % 2 == 0:
            example.parameters = {
                "type": "smpl",
                "gender": "neutral",
                "pose": np.full(72, 0.5, np.float32),
                "shape": np.full(10, 0.25, np.float32),
                "trans": np.array([1, 2, 3], np.float32),
                "kid_factor": np.float32(0.5),
            }
        splits[0 if i < 3 else 2].append(example)
    bones = [np.float32(n) for n in (1.5, 2, 2.5)]
    return make(
        Pose3DDataset,
        joint_info=joint_info(era),
        examples=splits,
        train_bones=bones if era.package == "data" else np.array(bones),
    )


def dataset2d(era: Era) -> Any:
    """Four examples to train: surface points, none, unfinished ones and too large vertex ids."""
    dense: list[Any] = [
        (
            np.array([[1, 2], [3, 4]], np.float32),
            np.array([[0, 1, 2], [6889, 3, 4]], np.int64),
            np.array([[0.5, 0.25, 0.25], [1, 0, 0]], np.float32),
        ),
        None,
        (np.zeros((1, 2), np.float32), (np.zeros(1), np.zeros(1), np.zeros(1))),
        (
            np.zeros((1, 2), np.float32),
            np.array([[0, 1, 6890]], np.int32),
            np.array([[1, 0, 0]], np.float32),
        ),
    ]
    examples = [
        make(
            Pose2DExample,
            image_path=f"images/{i}.jpg",
            coords=np.full((4, 2), i, np.float32),
            bbox=np.zeros(4, np.float32),
            densepose=points,
        )
        for i, points in enumerate(dense)
    ]
    splits: dict[int, list[Any]] = {0: examples, 1: [], 2: []}
    return make(Pose2DDataset, joint_info=joint_info(era), examples=splits)


def _camera(i: int, era: Era) -> Any:
    parts: dict[str, Any] = dict(camera_parts(i))
    coefficients = distortion(i)
    if era.camera_module != "deltacamera":
        return make(Camera, **parts, distortion_coeffs=coefficients)
    model: Any = None
    if coefficients is not None:
        kind = FisheyeKannalaBrandt if len(coefficients) == 4 else BrownConradyEx
        model = make(kind, coeffs=coefficients)
    parts = {name: DeprecatingArray(part) for name, part in parts.items()}
    return make(Camera, **parts, _distortion_model=model, _image_shape=(480, 640))


def pickled(root: object, era: Era) -> bytes:
    """The bytes of the file."""
    file = io.BytesIO()
    _EraPickler(file, era).dump(root)
    return file.getvalue()


class _EraPickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Gives every global the name that it had in the era."""

    dispatch: Mapping[type, Callable[..., None]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: io.BytesIO, era: Era) -> None:
        super().__init__(file, era.protocol)
        self.era = era
        self.names = _names(era)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is mask_from_dict and self.proto < 4:
            self.save_reduce(getattr, (RLEMask, "from_dict"), obj=obj)
            return
        module, qualified_name = self.names.get(obj) or (obj.__module__, name or obj.__qualname__)
        if module == "builtins" and self.proto < 3:
            module = "__builtin__"
        if self.proto >= 4:
            self.save(module)
            self.save(qualified_name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{qualified_name}\n".encode())
        self.memoize(obj)

    def save_text(self, obj: str) -> None:
        if self.era.python2:
            self.save_raw(obj.encode("latin1"), obj)
        else:
            pickle._Pickler.save_str(self, obj)  # type: ignore[attr-defined]

    def save_raw(self, raw: bytes, obj: object = None) -> None:
        if self.era.python2:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
            self.memoize(raw if obj is None else obj)
        else:
            pickle._Pickler.save_bytes(self, raw)  # type: ignore[attr-defined]

    dispatch[types.FunctionType] = save_global  # type: ignore[index]
    dispatch[str] = save_text  # type: ignore[index]
    dispatch[bytes] = save_raw  # type: ignore[index]


def _names(era: Era) -> dict[object, tuple[str, str]]:
    core = "numpy.core" if era.numpy_major == 1 else "numpy._core"
    frombuffer = np.zeros(1).__reduce_ex__(5)[0]
    reconstruct = np.zeros(1).__reduce_ex__(2)[0]
    scalar = np.float32(1).__reduce__()[0]
    names: dict[object, tuple[str, str]] = {
        frombuffer: (f"{core}.numeric", "_frombuffer"),
        reconstruct: (f"{core}.multiarray", "_reconstruct"),
        scalar: (f"{core}.multiarray", "scalar"),
        AddictDict: ("addict.addict", "Dict"),
        AttrDict: ("attrdict.dictionary", "AttrDict"),
        Camera: (era.camera_module, "Camera"),
        JointInfo: (f"{era.package}.joint_info", "JointInfo"),
        reconstruct_array: ("deltacamera.decorators", "_reconstruct_array"),
        RLEMask: ("rlemasklib", "RLEMask"),
        mask_from_dict: ("rlemasklib.oop", "RLEMask.from_dict"),
    }
    for kind in (Pose3DDataset, Pose3DExample, SparseCoords):
        names[kind] = (f"{era.package}.datasets3d", kind.__name__)
    for kind in (Pose2DDataset, Pose2DExample):
        names[kind] = (f"{era.package}.datasets2d", kind.__name__)
    for kind in (BrownConradyEx, FisheyeKannalaBrandt):
        names[kind] = ("deltacamera", kind.__name__)
    return names
