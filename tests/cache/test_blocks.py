"""Blocks are built once per content, and published whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.blocks import BlockCache
from cache.collect import collect_garbage, list_blocks
from cache.locks import cache_lock, store_lock
from cache.reader import Store
from cache.registry import register_store
from errors import BusyError, StoreError
from tests.cache.small_store import (
    BROKEN,
    MISSING,
    ROW_BROKEN,
    ROW_EQUAL_FILE,
    ROW_MISSING,
    ROW_SAME_FILE,
    ROWS_PER_BLOCK,
    SmallSource,
    build_blocks,
    make_source,
    publish_small,
    tree_digest,
)


def test_the_same_content_is_never_built_twice(source: SmallSource, tmp_path: Path) -> None:
    first = build_blocks(source, tmp_path / "blocks")
    again = build_blocks(source, tmp_path / "blocks")
    assert [block.was_cached for _, block in first] == [False] * 3
    assert [block.was_cached for _, block in again] == [True] * 3


def test_the_same_content_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    digests = []
    for place in ("one", "two"):
        source = make_source(tmp_path / place / "images")
        publish_small(source, tmp_path / place / "blocks", tmp_path / place / "s.zarr")
        digests.append(tree_digest(tmp_path / place / "s.zarr"))
    assert digests[0] == digests[1]


def test_an_edited_row_rebuilds_its_block_only(source: SmallSource, tmp_path: Path) -> None:
    build_blocks(source, tmp_path / "blocks")
    source.arrays["coords3d"][70, 0, 0] += 1
    blocks = build_blocks(source, tmp_path / "blocks")
    assert [block.was_cached for _, block in blocks] == [True, False, True]


def test_an_edited_picture_rebuilds_its_block_only(source: SmallSource, tmp_path: Path) -> None:
    build_blocks(source, tmp_path / "blocks")
    (source.images / source.names[70]).write_bytes(b"another")
    blocks = build_blocks(source, tmp_path / "blocks")
    assert [block.was_cached for _, block in blocks] == [True, False, True]


def test_a_parameter_that_matters_rebuilds(source: SmallSource, tmp_path: Path) -> None:
    build_blocks(source, tmp_path / "blocks", parameters={"schema_version": 1})
    blocks = build_blocks(source, tmp_path / "blocks", parameters={"schema_version": 2})
    assert not any(block.was_cached for _, block in blocks)


def test_a_cached_block_that_was_altered_is_rebuilt(source: SmallSource, tmp_path: Path) -> None:
    blocks = build_blocks(source, tmp_path / "blocks")
    path = blocks[1][1].directory / "coords3d"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    again = build_blocks(source, tmp_path / "blocks")
    assert [block.was_cached for _, block in again] == [True, False, True]
    assert again[1][1].shards == blocks[1][1].shards


@pytest.mark.parametrize("row", [ROW_SAME_FILE, ROW_EQUAL_FILE])
def test_a_picture_of_several_examples_is_stored_once(store: Path, row: int) -> None:
    split = Store.open(store).splits["train"]
    assert split.where("image", row) == split.where("image", row - 1)
    assert split.where("image", row) != split.where("image", row + 1)
    path = split.shard_path(split.columns["image"], 0)
    lengths = split.column("image_length", 0, ROWS_PER_BLOCK)
    n_bytes = int(lengths.sum() - lengths[[ROW_SAME_FILE, ROW_EQUAL_FILE]].sum())
    assert n_bytes < path.stat().st_size < n_bytes + 64 * ROWS_PER_BLOCK


def test_every_example_of_a_broken_picture_is_rejected_for_it(
    source: SmallSource, tmp_path: Path
) -> None:
    source.names[9] = source.names[ROW_BROKEN]
    block = build_blocks(source, tmp_path / "blocks")[0][1]
    found = {r.row: (r.status, r.detail) for r in block.rejections}
    assert found[9] == found[ROW_BROKEN] == (BROKEN, "nil")
    assert found[ROW_MISSING][0] == MISSING


def test_publishing_what_is_there_changes_nothing(
    source: SmallSource, store: Path, tmp_path: Path
) -> None:
    before = store.stat()
    assert not publish_small(source, tmp_path / "blocks", store)
    assert store.stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", ["delete", "alter", "cut", "extra", "metadata"])
def test_publishing_mends_a_damaged_store(
    source: SmallSource, store: Path, tmp_path: Path, damage: str
) -> None:
    before = tree_digest(store)
    path = store / "train/coords3d/c/0/0/0"
    data = path.read_bytes()
    path.unlink()
    if damage == "alter":
        path.write_bytes(data[:-1] + b"\0")
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "extra":
        path.write_bytes(data)
        (store / "train/empty/c").mkdir()
        (store / "train/empty/c/0").write_bytes(b"?")
    elif damage == "metadata":
        path.write_bytes(data)
        (store / "train/zarr.json").unlink()
        (store / "train/zarr.json").write_text("{}")
    assert publish_small(source, tmp_path / "blocks", store)
    assert tree_digest(store) == before
    Store.open(store).splits["train"].column("coords3d")


def test_what_is_not_a_store_is_never_replaced(source: SmallSource, tmp_path: Path) -> None:
    place = tmp_path / "precious"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="not a store"):
        publish_small(source, tmp_path / "blocks", place)
    assert (place / "thesis.txt").read_text() == "years of work"


def test_gc_removes_what_no_store_refers_to_and_nothing_else(
    source: SmallSource, store: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "blocks"
    register_store(cache, store)
    source.arrays["coords3d"][70, 0, 0] += 1
    orphan = build_blocks(source, cache)[1][1]
    removed = collect_garbage(cache)
    assert [entry.key for entry in removed] == [orphan.key]
    assert BlockCache(cache).find(orphan.key) is None
    assert all(entry.stores for entry in list_blocks(cache))
    assert len(list_blocks(cache)) == 3


def test_gc_refuses_while_somebody_builds(tmp_path: Path) -> None:
    with cache_lock(tmp_path, exclusive=False), pytest.raises(BusyError, match="in use"):
        collect_garbage(tmp_path)


def test_a_second_builder_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"
    with (
        store_lock(store, timeout_s=0),
        pytest.raises(BusyError, match=f"pid {os.getpid()} on "),
        store_lock(store, timeout_s=0),
    ):
        pass
    with store_lock(store, timeout_s=0):
        pass
