"""The byte at which a pickle goes wrong is found exactly, whatever its protocol and size."""

from __future__ import annotations

import itertools
import mmap
import pickletools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from errors import SourceError
from pipeline.unpickling import load_annotations
from pipeline.unpickling.diagnosis import locate
from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS

BY_PROTOCOL = {era.protocol: era for era in ERAS if era.name == "posepile2025"}


@contextmanager
def mapped(data: bytes) -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, len(data)) as memory:
        memory[:] = data
        yield memory


def opcode_positions(data: bytes) -> list[int]:
    return [position for _, _, position in pickletools.genops(data) if position]


@pytest.mark.parametrize("protocol", BY_PROTOCOL)
def test_an_unknown_opcode_is_found_where_it_stands(protocol: int) -> None:
    data = genuine.pickled(genuine.dataset3d(BY_PROTOCOL[protocol]), BY_PROTOCOL[protocol])
    positions = opcode_positions(data)
    for position in positions[:: len(positions) // 12]:
        damaged = data[:position] + b"\xff" + data[position + 1 :]
        with mapped(damaged) as memory:
            offset, problem = locate(memory)
        assert offset == position
        assert problem is not None
        assert "garbled" in problem.reason


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_large_files_too(protocol: int) -> None:
    root = genuine.dataset3d(BY_PROTOCOL[protocol])
    for split in root.examples.values():
        for example in split:
            example.comment = [f"{example.image_path} {i}" * 80 for i in range(200)]
    data = genuine.pickled(root, BY_PROTOCOL[protocol])
    assert len(data) > 3 << 19
    positions = opcode_positions(data)
    for part in (0.1, 0.5, 0.99):
        position = positions[int(len(positions) * part)]
        with mapped(data[:position] + b"\xff" + data[position + 1 :]) as memory:
            assert locate(memory)[0] == position


def test_nothing_is_found_in_a_sound_file() -> None:
    data = genuine.pickled(genuine.dataset3d(BY_PROTOCOL[5]), BY_PROTOCOL[5])
    with mapped(data) as memory:
        assert locate(memory) == (len(data), None)


def test_the_error_says_what_where_why_and_what_next(tmp_path: Path) -> None:
    data = genuine.pickled(genuine.dataset3d(BY_PROTOCOL[5]), BY_PROTOCOL[5])
    path = tmp_path / "set.pkl"
    positions = opcode_positions(data)
    where = next(a for a, b in itertools.pairwise(positions) if a > 4000 and b - a > 10)
    path.write_bytes(data[: where + 5])
    with pytest.raises(SourceError) as caught:
        load_annotations(path)
    assert caught.value.what == "cannot read the annotations: the pickle is cut off"
    assert caught.value.where == f"{path}, byte {where} of {where + 5}"
    assert caught.value.cause is not None
    assert f"the file ends at byte {where + 5}" in caught.value.cause
    assert caught.value.next_command
