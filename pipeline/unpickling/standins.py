"""What stands in for the classes and functions that a PosePile pickle names.

None of them does anything: objects keep the state they are given, arrays keep the pieces they
would be made from, to be decoded in bulk later (arrays.py). The common ones are made and filled
by C code alone, which is where the speed comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias, cast

import numpy as np


class Refusal(Exception):  # noqa: N818  # an answer, turned into a SourceError by loading.py
    """The file asks for something that no PosePile data set needs."""

    def __init__(self, asked_for: str, reason: str) -> None:
        super().__init__(asked_for, reason)
        self.asked_for = asked_for
        self.reason = reason


class _Sealed(type):
    """A class whose attributes nobody may set: BUILD applied to the class itself would."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__}.{name} cannot be set")


class Record(list[Any], metaclass=_Sealed):
    """An object of the data set; its only element is the dict of its attributes.

    A list, because `list.append` as `__setstate__` keeps the state dict as it is: neither Python
    code nor a copy into an instance dict per object.
    """

    __slots__ = ()
    __setstate__ = list.append


class Pose3DDataset(Record):
    __slots__ = ()


class Pose2DDataset(Record):
    __slots__ = ()


class Pose3DExample(Record):
    __slots__ = ()


class Pose2DExample(Record):
    __slots__ = ()


class SparseCoords(Record):
    __slots__ = ()


class JointInfo(Record):
    __slots__ = ()


class Camera(Record):
    __slots__ = ()


class BrownConradyEx(Record):
    __slots__ = ()


class FisheyeKannalaBrandt(Record):
    __slots__ = ()


class AttributeDict(dict[Any, Any], metaclass=_Sealed):
    """addict's Dict and attrdict's AttrDict: the items come one by one, the state repeats them."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignore it: addict gives the object itself, attrdict a copy and two settings."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayKind:
    """What arrays of one dtype, shape and order have in common; made once, compared by identity.

    Attributes:
        dtype: a plain numeric one.
        shape: of each array.
        order: of the elements in memory.
        n_bytes: of each array, as dtype and shape demand.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    n_bytes: int


class _KindsByShape(dict[object, ArrayKind]):
    """The array kinds of one dtype and order; an unknown shape is checked and added."""

    __slots__ = ("dtype", "order")

    def __init__(self, name: str, order: Literal["C", "F"]) -> None:
        self.dtype = np.dtype(name)
        self.order = order

    def __missing__(self, shape: object) -> ArrayKind:
        possible = type(shape) is tuple and len(shape) <= _MOST_DIMENSIONS
        sizes = cast(tuple[Any, ...], shape)
        if not possible or any(type(n) is not int or not 0 <= n < _LONGEST_SIDE for n in sizes):
            raise Refusal("numpy.ndarray", "of an impossible shape")
        n_bytes = self.dtype.itemsize * math.prod(sizes)
        kind = self[shape] = ArrayKind(self.dtype, sizes, self.order, n_bytes)
        return kind


_MOST_DIMENSIONS = 8
_LONGEST_SIDE = 1 << 40


class DType(metaclass=_Sealed):
    """A plain numeric `numpy.dtype`, with the kinds of its arrays that have occurred."""

    __slots__ = ("code", "kinds", "kinds_in_fortran_order")

    CODES: ClassVar = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
    BYTE_ORDERS: ClassVar = frozenset("<>|=")
    code: str
    kinds: _KindsByShape
    kinds_in_fortran_order: _KindsByShape

    def __new__(cls, code: object = None, align: object = False, copy: object = False) -> DType:
        if type(code) is not str or code not in cls.CODES:
            raise Refusal("numpy.dtype", f"dtype {_short(code)} is not a plain number")
        dtype = super().__new__(cls)
        dtype.code = code
        dtype._start(code)
        return dtype

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags)
        plain = type(state) is tuple and len(state) == 8 and state[0] in (3, 4)
        if not plain or cast(tuple[Any, ...], state)[2:] != (None, None, None, -1, -1, 0):
            raise Refusal("numpy.dtype", f"dtype state {_short(state)} is not that of a number")
        order = cast(tuple[Any, ...], state)[1]
        if type(order) is not str or order not in self.BYTE_ORDERS:
            raise Refusal("numpy.dtype", f"byte order {_short(order)} does not exist")
        self._start(order + self.code)

    def _start(self, name: str) -> None:
        self.kinds = _KindsByShape(name, "C")
        self.kinds_in_fortran_order = _KindsByShape(name, "F")


PickledArray: TypeAlias = tuple[bytes | bytearray, ArrayKind]
"""An array whose bytes agree with its kind, not yet decoded."""


def array_from_buffer(raw: Any, dtype: Any, shape: object, order: object) -> PickledArray:
    """`numpy.core.numeric._frombuffer`.

    The pieces are checked here, while they are in the processor's cache: going through hundreds
    of thousands of small objects again afterwards takes several times longer.
    """
    kind = (dtype.kinds if order == "C" else dtype.kinds_in_fortran_order)[shape]
    if len(raw) != kind.n_bytes or order not in ("C", "F"):
        if order not in ("C", "F"):
            raise Refusal("numpy.ndarray", f"of element order {_short(order)}")
        raise Refusal(
            "numpy.ndarray",
            f"of {kind.n_bytes} bytes by its shape and dtype, but of {len(raw)} in fact",
        )
    return raw, kind


class ReconstructedArray(list[Any], metaclass=_Sealed):
    """An array of protocol 4 and earlier: empty at first, then [raw bytes, kind]."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise Refusal("numpy.ndarray", "with a state that is not an array's")
        _, shape, dtype, is_fortran, raw = state
        order = "F" if is_fortran is True else "C"
        self[:] = array_from_buffer(_bytes_of(raw), dtype, shape, order)


def array_to_be_filled(subtype: object, shape: object, typecode: object) -> ReconstructedArray:
    """`numpy.core.multiarray._reconstruct`."""
    if subtype is not NDARRAY:
        raise Refusal("numpy.core.multiarray._reconstruct", f"of {_short(subtype)}, not ndarray")
    return ReconstructedArray()


def numpy_scalar(dtype: object, raw: object = b"") -> PickledArray:
    """`numpy.core.multiarray.scalar`."""
    return array_from_buffer(_bytes_of(raw), dtype, (), "C")


def deltacamera_array(raw: object, dtype: object, shape: object) -> PickledArray:
    """`deltacamera.decorators._reconstruct_array`."""
    return array_from_buffer(raw, _dtype_of_name(dtype), shape, "C")


@lru_cache(maxsize=64)  # for there are about 40
def _dtype_of_name(name: object) -> DType:
    if type(name) is not str or name[:1] not in DType.BYTE_ORDERS:
        raise Refusal("deltacamera.decorators._reconstruct_array", f"of dtype {_short(name)}")
    dtype = DType(name[1:])
    dtype.__setstate__((3, name[:1], None, None, None, -1, -1, 0))
    return dtype


def _bytes_of(raw: object) -> object:
    """Python 2's bytes arrive as latin-1 text."""
    return raw.encode("latin1") if type(raw) is str else raw


class Inert:
    """A class that occurs as a mere value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return Inert, (self.name,)


NDARRAY = Inert("numpy.ndarray")
TUPLE = Inert("builtins.tuple")
RLE_MASK = Inert("rlemasklib.RLEMask")


def latin1_bytes(text: object, encoding: object = "latin1") -> bytes:
    """`_codecs.encode`, by which protocol 2 spells bytes; other codecs would be looked up."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal("_codecs.encode", f"with codec {_short(encoding)}")
    return text.encode("latin1")


def empty_bytes(*arguments: object) -> bytes:
    """`bytes`, by which protocol 2 spells empty ones."""
    if arguments:
        raise Refusal("builtins.bytes", "with arguments")
    return b""


def rle_mask(encoded: object) -> object:
    """`rlemasklib.RLEMask.from_dict`: the dict says it all."""
    return encoded


def rle_mask_constructor(owner: object, name: object) -> object:
    """`getattr`, by which protocol 3 and earlier spell `RLEMask.from_dict`, and only that."""
    if owner is not RLE_MASK or name != "from_dict":
        raise Refusal("builtins.getattr", f"of {_short(owner)} and {_short(name)}")
    return rle_mask


def _short(value: object) -> str:
    """A hostile value in a message: never long, never deep."""
    if isinstance(value, Inert):
        return value.name
    if isinstance(value, str | bytes):
        return repr(value[:40])
    if value is None or isinstance(value, bool | float):
        return repr(value)
    return f"a {type(value).__name__}"
