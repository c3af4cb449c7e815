"""PosePile's classes by name only: stand-ins, and a pickler that writes them as the originals.

A pickle names classes by module and name. The stand-ins carry the names of the originals; while a
file is written, the modules of those names are these stand-ins', so that the standard pickler finds
what it looks for.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np


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

Dataset3D = _stand_in("posepile.datasets3d", "Pose3DDataset")
Example3D = _stand_in("posepile.datasets3d", "Pose3DExample")
SparseCoords = _stand_in("posepile.datasets3d", "SparseCoords")
Dataset2D = _stand_in("posepile.datasets2d", "Pose2DDataset")
Example2D = _stand_in("posepile.datasets2d", "Pose2DExample")
JointInfo = _stand_in("posepile.joint_info", "JointInfo")
Dict = _stand_in("addict.addict", "Dict", _Addict)
CAMERAS = {
    module: _stand_in(module, "Camera")
    for module in ("cameralib.cameralib", "cameravision.cameravision")
}
_GLOBALS: tuple[Any, ...] = (
    *(Dataset3D, Example3D, SparseCoords, Dataset2D, Example2D, JointInfo, Dict),
    *CAMERAS.values(),
    *(_frombuffer, _scalar),
)
_names_lock = threading.Lock()


@contextlib.contextmanager
def genuine_names() -> Iterator[None]:
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


class GenuinePickler(pickle.Pickler):
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
