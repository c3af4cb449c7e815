"""One msgpack document with NumPy arrays per example, as PosePile packs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import msgpack_numpy


def pack(example: Mapping[str, Any]) -> bytes:
    data: bytes = msgpack.packb(dict(example), default=msgpack_numpy.encode)
    return data


def unpack(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(data, object_hook=msgpack_numpy.decode)
    return found
