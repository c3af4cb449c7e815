"""Barecat with one msgpack document per example, as PosePile uses it."""

from __future__ import annotations

import functools
import math
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

from barecat import Barecat

from benchmarks.containers import (
    Columns,
    Examples,
    load_specification,
    save_specification,
    stacked,
)
from benchmarks.containers.msgpack_records import pack, unpack


class _WithPower(sqlite3.Connection):
    """Its index asks SQLite for power(), which not every build of SQLite has."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.create_function("power", 2, math.pow, deterministic=True)


def write(path: Path, examples: Examples) -> None:
    save_specification(path, examples)
    connect = functools.partial(sqlite3.connect, factory=_WithPower)
    with (
        mock.patch.object(sqlite3, "connect", connect),
        Barecat(str(path / "examples.barecat"), readonly=False) as archive,
    ):
        for row in range(len(examples)):
            archive[_key(row)] = pack(examples.example(row))


class Reader:
    CHECKED, IS_SEQUENTIAL = "every record, CRC-32C", False

    def __init__(self, path: Path) -> None:
        self._archive = Barecat(str(path / "examples.barecat"), readonly_is_immutable=True)
        self._specification = load_specification(path)

    def columns(self) -> Columns:
        records = (self._archive[_key(row)] for row in range(self._specification.n_examples))
        return stacked(map(unpack, records), self._specification)

    def example(self, row: int) -> Columns:
        return unpack(self._archive[_key(row)])


def _key(row: int) -> str:
    return f"{row:08d}.msgpack"
