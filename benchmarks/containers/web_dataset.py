"""WebDataset: tar files with the picture as a member and the annotations as another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import webdataset

from benchmarks.containers import (
    EXAMPLES_PER_SHARD,
    Columns,
    Examples,
    load_specification,
    save_specification,
    stacked,
)
from benchmarks.containers.msgpack_records import pack, unpack


def write(path: Path, examples: Examples, *, examples_per_shard: int = EXAMPLES_PER_SHARD) -> None:
    save_specification(path, examples)
    with webdataset.ShardWriter(
        str(path / "%05d.tar"), maxcount=examples_per_shard, verbose=0, encoder=False
    ) as writer:
        for row in range(len(examples)):
            example = examples.example(row)
            picture = example.pop("image")
            writer.write({"__key__": f"{row:08d}", "jpg": picture, "mp": pack(example)})


class Reader:
    CHECKED, IS_SEQUENTIAL = "nothing", True

    def __init__(self, path: Path) -> None:
        self._files = sorted(map(str, path.glob("*.tar")))
        self._specification = load_specification(path)

    def columns(self) -> Columns:
        members = _members(self._files)
        return stacked((unpack(member["mp"]) for member in members), self._specification)

    def example(self, row: int) -> Columns:
        shard, place = divmod(row, EXAMPLES_PER_SHARD)
        member = next(itertools.islice(_members([self._files[shard]]), place, None))
        return unpack(member["mp"]) | {"image": member["jpg"]}


def _members(files: list[str]) -> Iterator[dict[str, bytes]]:
    return iter(webdataset.WebDataset(files, shardshuffle=False))
