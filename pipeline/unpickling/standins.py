"""What stands in for the classes and functions that a PosePile pickle names.

None of them does anything: objects keep the state they are given, arrays keep the pieces they
would be made from, to be decoded in bulk later (arrays.py). The common ones are made and filled
by C code alone, which is where the speed comes from.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias, cast


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


class DType(metaclass=_Sealed):
    """A plain numeric `numpy.dtype`; `name` is what numpy makes the same dtype from."""

    __slots__ = ("code", "name")

    PLAIN: ClassVar = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())

    code: str
    name: str

    def __new__(cls, code: object = None, align: object = False, copy: object = False) -> DType:
        if type(code) is not str or code not in cls.PLAIN:
            raise Refusal("numpy.dtype", f"dtype {_short(code)} is not a plain number")
        dtype = super().__new__(cls)
        dtype.code = dtype.name = code
        return dtype

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags)
        plain = type(state) is tuple and len(state) == 8 and state[0] in (3, 4)
        if not plain or cast(tuple[Any, ...], state)[2:] != (None, None, None, -1, -1, 0):
            raise Refusal("numpy.dtype", f"dtype state {_short(state)} is not that of a number")
        order = cast(tuple[Any, ...], state)[1]
        if type(order) is not str or order not in ("<", ">", "|", "="):
            raise Refusal("numpy.dtype", f"byte order {_short(order)} does not exist")
        self.name = order + self.code


ArrayPieces: TypeAlias = tuple[Any, Any, Any, Any]
"""An array not yet decoded: (raw bytes, DType or dtype string, shape, "C" or "F")."""


class ReconstructedArray(list[Any], metaclass=_Sealed):
    """An array of protocol 4 and earlier: [version, shape, DType, is Fortran order, raw bytes]."""

    __slots__ = ()
    __setstate__ = list.extend


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


def array_from_buffer(raw: object, dtype: object, shape: object, order: object) -> ArrayPieces:
    """`numpy.core.numeric._frombuffer`."""
    return raw, dtype, shape, order


def array_to_be_filled(subtype: object, shape: object, typecode: object) -> ReconstructedArray:
    """`numpy.core.multiarray._reconstruct`."""
    if subtype is not NDARRAY:
        raise Refusal("numpy.core.multiarray._reconstruct", f"of {_short(subtype)}, not ndarray")
    return ReconstructedArray()


def numpy_scalar(dtype: object, raw: object = b"") -> ArrayPieces:
    """`numpy.core.multiarray.scalar`."""
    return raw, dtype, (), "C"


def deltacamera_array(raw: object, dtype: object, shape: object) -> ArrayPieces:
    """`deltacamera.decorators._reconstruct_array`."""
    return raw, dtype, shape, "C"


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
