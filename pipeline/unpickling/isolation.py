"""Read a pickle in a child process that may crash, hang or run out of memory harmlessly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.unpickling.annotations import PickledDataset


@dataclass(frozen=True, slots=True)
class Extract:
    """What comes home from the child: numeric arrays by name, and facts that JSON can hold.

    The arrays are writable and private to the receiver. Ragged bytes travel as one uint8 array
    and an array of lengths.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class PendingRead:
    """A read under way in a child process; `result()` waits for it, once."""

    def result(self) -> Extract:
        """Raises:
        SourceError: the file cannot be read; no part of it is returned.
        """
        raise NotImplementedError


def begin_read(path: Path, extract: Callable[[PickledDataset], Extract]) -> PendingRead:
    """Start reading, so that the parent can import or prepare something meanwhile."""
    raise NotImplementedError


def read_isolated(path: Path, extract: Callable[[PickledDataset], Extract]) -> Extract:
    """Read `path` in a guarded child, apply `extract` there and bring its arrays home.

    Raises:
        SourceError: the file cannot be read; no part of it is returned.
    """
    return begin_read(path, extract).result()
