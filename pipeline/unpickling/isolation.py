"""Read a pickle in a child process that may crash, hang or run out of memory harmlessly.

The child unpickles, applies the caller's function to the data set and writes the arrays that
this returns into an anonymous file; their names, dtypes and shapes follow as JSON through a pipe.
The parent maps the file. It never unpickles anything, least of all from the child, and the
object graph is never taken apart: the child simply ends.
"""

from __future__ import annotations

import functools
import json
import mmap
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from errors import SourceError
from pipeline.unpickling.annotations import PickledDataset, dataset_from_pickle
from pipeline.unpickling.diagnosis import source_error
from pipeline.unpickling.guard import Death, GuardedChild, Limits, limit_cpu
from pipeline.unpickling.source_file import map_source
from pipeline.unpickling.unpickler import Unreadable, printable, unpickle

_ALIGNMENT = 64
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Extract:
    """What comes home from the child: numeric arrays by name, and facts that JSON can hold.

    The arrays are writable and private to the receiver. Ragged bytes travel as one uint8 array
    and an array of lengths.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_isolated(path: Path, extract: Callable[[PickledDataset], Extract]) -> Extract:
    """Read `path` in a guarded child, apply `extract` there and bring its arrays home.

    Raises:
        SourceError: the file cannot be read; no part of it is returned.
    """
    return begin_read(path, extract).result()


def begin_read(path: Path, *extracts: Callable[[PickledDataset], Extract]) -> PendingRead:
    """Start reading, so that the parent can import or prepare something meanwhile.

    Args:
        extracts: applied to the data set, which is unpickled once, each in a process of its own.
            Their arrays, and the facts in which they differ, need names of their own.

    Raises:
        SourceError: the file cannot even be opened.
    """
    data = map_source(path)
    columns = [os.memfd_create("poseshard-columns") for _ in extracts]
    kept: list[object] = []  # so that the child ends without taking the object graph apart
    child = GuardedChild(lambda: _read(path, data, extracts, columns, kept), _limits(len(data)))
    return PendingRead(path, data, columns, child)


class PendingRead:
    """A read under way in a child process; `result()` waits for it, once."""

    def __init__(
        self, path: Path, data: mmap.mmap, columns: Sequence[int], child: GuardedChild
    ) -> None:
        self._path = path
        self._data = data
        self._columns = columns
        self._child = child

    def result(self) -> Extract:
        """What the extracts returned, all together.

        Raises:
            SourceError: the file cannot be read; no part of it is returned.
        """
        try:
            answer = self._child.answer()
            if isinstance(answer, Death):
                raise source_error(self._path, self._data, Unreadable(answer.reason, died=True))
            message: dict[str, Any] = json.loads(answer)
            if "unreadable" in message:
                raise source_error(self._path, self._data, Unreadable(**message["unreadable"]))
            if "error" in message:
                error = SourceError(**message["error"])
                for note in message.get("notes", ()):
                    error.add_note(note)
                raise error
            arrays: dict[str, npt.NDArray[Any]] = {}
            facts: dict[str, Any] = {}
            for columns, part in zip(self._columns, message["parts"], strict=True):
                arrays |= _map_arrays(columns, part["arrays"])
                facts |= part["facts"]
            return Extract(arrays, facts)
        finally:
            for columns in self._columns:
                os.close(columns)


def _limits(size: int) -> Limits:
    """Several times what the greediest genuine file needs, and harmless."""
    return Limits(memory_bytes=256 * _MIB + 24 * size, cpu_seconds=0.4 + size / 5e6)


def _read(
    path: Path,
    data: mmap.mmap,
    extracts: Sequence[Callable[[PickledDataset], Extract]],
    columns: Sequence[int],
    kept: list[object],
) -> bytes:
    """The child's part: the answer as JSON, the arrays in the files `columns`."""

    def read() -> dict[str, Any]:
        unpickled = unpickle(data)
        kept.append(unpickled)
        limit_cpu(_cpu_to_extract(len(data)))
        dataset = dataset_from_pickle(unpickled, path)

        def extract(part: int) -> dict[str, Any]:
            extracted = extracts[part](dataset)
            arrays = _write_arrays(extracted.arrays, columns[part])
            return {"facts": dict(extracted.facts), "arrays": arrays}

        # The others share the objects with this process until one of the two touches them.
        others = [
            GuardedChild(
                functools.partial(_answer, path, data, functools.partial(extract, part)),
                Limits(_limits(len(data)).memory_bytes, _cpu_to_extract(len(data))),
            )
            for part in range(1, len(extracts))
        ]
        parts = [extract(0)]
        for other in others:
            answer = other.answer()
            if isinstance(answer, Death):
                raise Unreadable(answer.reason, died=True)
            message: dict[str, Any] = json.loads(answer)
            if "arrays" not in message:
                return message
            parts.append(message)
        return {"parts": parts}

    return _answer(path, data, read)


def _cpu_to_extract(size: int) -> float:
    """Seconds of processor time after unpickling, many times what a genuine file needs."""
    return 1.0 + size / 1e6


def _answer(path: Path, data: mmap.mmap, work: Callable[[], dict[str, Any]]) -> bytes:
    """What `work` returns, or why it did not, as JSON."""
    message: dict[str, Any]
    try:
        message = work()
    except Unreadable as problem:
        message = {
            "unreadable": {
                "reason": problem.reason,
                "asked_for": problem.asked_for,
                "offset": problem.offset,
                "died": problem.died,
            }
        }
    except SourceError as error:
        message = {
            "error": {
                "what": error.what,
                "where": error.where,
                "cause": error.cause,
                "next_command": error.next_command,
            }
        }
    except MemoryError:
        message = {
            "error": {
                "what": "the annotations take more memory than a data set of their size can need",
                "where": f"{path}, byte {len(data)}: after the whole file was read",
                "cause": "not a PosePile data set, or one that repeats itself by reference",
            }
        }
    except Exception as error:  # noqa: BLE001  # the worker's edge
        message = {
            "error": {
                "what": "cannot convert the annotations",
                "where": str(path),
                "cause": f"{type(error).__name__}: {printable(str(error))}",
                "next_command": "--debug shows the place in the program",
            },
            "notes": [traceback.format_exc()],
        }
    return json.dumps(message).encode()


def _write_arrays(arrays: Mapping[str, npt.NDArray[Any]], columns: int) -> list[dict[str, Any]]:
    described = []
    offset = 0
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name}: only numbers can leave the child, not {array.dtype}")
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        described.append(
            {"name": name, "dtype": array.dtype.str, "shape": array.shape, "offset": offset}
        )
        written = 0
        while written < len(raw):
            written += os.pwrite(columns, raw[written:], offset + written)
        offset += -(-len(raw) // _ALIGNMENT) * _ALIGNMENT
    os.ftruncate(columns, offset)
    return described


def _map_arrays(columns: int, described: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    size = os.fstat(columns).st_size
    buffer = mmap.mmap(columns, size) if size else bytearray()
    return {
        entry["name"]: np.ndarray(
            tuple(entry["shape"]),
            np.dtype(entry["dtype"]),
            buffer,
            entry["offset"] if np.prod(entry["shape"]) else 0,
        )
        for entry in described
    }
