"""ArrayRecord, with groups of one record as Grain's guide says, read as Grain reads it."""

from __future__ import annotations

from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from benchmarks.containers import (
    Columns,
    Examples,
    load_specification,
    save_specification,
    stacked,
)
from benchmarks.containers.msgpack_records import pack, unpack

BATCH = 256


def write(path: Path, examples: Examples) -> None:
    save_specification(path, examples)
    writer = ArrayRecordWriter(str(path / "examples.array_record"), "group_size:1")
    for row in range(len(examples)):
        writer.write(pack(examples.example(row)))
    writer.close()


class Reader:
    CHECKED, IS_SEQUENTIAL = "every record, HighwayHash", False

    def __init__(self, path: Path) -> None:
        self._source = ArrayRecordDataSource([str(path / "examples.array_record")])
        self._specification = load_specification(path)

    def columns(self) -> Columns:
        n = self._specification.n_examples
        runs = (range(start, min(start + BATCH, n)) for start in range(0, n, BATCH))
        records = (record for run in runs for record in self._source.__getitems__(run))
        return stacked(map(unpack, records), self._specification)

    def example(self, row: int) -> Columns:
        return unpack(self._source[row])
