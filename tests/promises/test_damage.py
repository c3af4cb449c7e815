"""Whatever happens to a file of a store, `verify` finds it, no reader delivers a wrong example, and
`verify --repair` brings back the very bytes that were published."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from cache.reader import Store
from errors import StoreError
from tests.promises.world import World, make_world, tree

Damage = Callable[[Path, Path], None]  # the file, another file of the store


def flip(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = np.random.default_rng(sum(data) + len(data)).integers(8 * len(data))
    data[bit // 8] ^= 1 << int(bit % 8)
    rewrite(path, bytes(data))


def cut(path: Path, other: Path) -> None:
    rewrite(path, path.read_bytes()[:-1])


def empty(path: Path, other: Path) -> None:
    rewrite(path, b"")


def lengthen(path: Path, other: Path) -> None:
    rewrite(path, path.read_bytes() + b"\0")


def delete(path: Path, other: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path) -> None:
    mine, others = path.read_bytes(), other.read_bytes()
    rewrite(path, others)
    rewrite(other, mine)


def rewrite(path: Path, data: bytes) -> None:
    """Change a file in place, and the times back: the block in the cache is the same file."""
    stat = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


DAMAGES: Mapping[str, Damage] = {
    "flip": flip,
    "cut": cut,
    "empty": empty,
    "lengthen": lengthen,
    "delete": delete,
    "swap": swap,
}


@pytest.fixture
def published(folder: Path) -> World:
    world = make_world(folder / "world")
    world.prepare()
    return world


@pytest.fixture
def truth(published: World) -> dict[str, dict[str, np.ndarray]]:
    return read_all(published.store)


def read_all(store: Path) -> dict[str, dict[str, np.ndarray]]:
    """Every row of every column, each column as far as it can be read."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, split in Store.open(store).splits.items():
        found[name] = {}
        for column in split.columns:
            try:
                gathered = split.gather(range(len(split)), [column])[column]
                np.testing.assert_array_equal(gathered, split.column(column))
                found[name][column] = gathered
            except StoreError as error:
                assert f"{name}/{column}" in str(error)
    return found


def check(world: World, damaged: World, truth: dict[str, dict[str, np.ndarray]]) -> None:
    expected = tree(world.store)
    report = damaged.verify()
    changed = {path for path, data in expected.items() if tree(damaged.store).get(path) != data}
    if not changed:
        return  # two files of the same bytes were swapped
    named = {finding.file for finding in report.findings if finding.is_damage}
    assert named == changed or named == {"manifest.json"}
    try:
        for split, columns in read_all(damaged.store).items():
            for column, values in columns.items():
                np.testing.assert_array_equal(values, truth[split][column])
    except StoreError:
        pass
    repaired = damaged.repair()
    assert tree(damaged.store) == expected
    assert changed <= set(repaired.mended_files) or named == {"manifest.json"}
    assert damaged.verify().is_sound


def private_copy(world: World, folder: Path) -> World:
    """A copy whose store and cache still share files with each other, but not with the original."""
    copy = World(folder, world.edition)
    links: dict[int, Path] = {}

    def copy_file(source: str, target: str) -> None:
        inode = Path(source).stat().st_ino
        if inode in links:
            Path(target).hardlink_to(links[inode])
        else:
            shutil.copy2(source, target)
            links[inode] = Path(target)

    shutil.copytree(world.folder, folder, copy_function=copy_file)
    return copy


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_to_some_files(
    published: World, truth: dict[str, dict[str, np.ndarray]], folder: Path, name: str
) -> None:
    damage_every(published, truth, folder, name, every=29)


@pytest.mark.long
@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.timeout(1800)
def test_damage_to_every_file(
    published: World, truth: dict[str, dict[str, np.ndarray]], folder: Path, name: str
) -> None:
    damage_every(published, truth, folder, name, every=1)


def damage_every(
    published: World,
    truth: dict[str, dict[str, np.ndarray]],
    folder: Path,
    name: str,
    *,
    every: int,
) -> None:
    paths = sorted(tree(published.store))
    first = list(DAMAGES).index(name)
    for number in range(first, len(paths), every):
        damaged = private_copy(published, folder / f"{name}-{number}")
        other = paths[(number + 1) % len(paths)]
        DAMAGES[name](damaged.store / paths[number], damaged.store / other)
        check(published, damaged, truth)
        shutil.rmtree(damaged.folder)


def test_a_file_that_does_not_belong_is_named_and_removed(published: World) -> None:
    expected = tree(published.store)
    (published.store / "train/status/c/9").write_bytes(b"?")
    report = published.verify()
    assert [(f.problem, f.file) for f in report.findings] == [("foreign", "train/status/c/9")]
    published.repair()
    assert tree(published.store) == expected


def test_a_shard_of_another_block_in_its_place_is_never_read(published: World) -> None:
    """Same column, same length, every checksum right: only the seal tells them apart."""
    store = published.store
    data = (store / "train/coords3d/c/0/0/0").read_bytes()
    path = store / "train/coords3d/c/1/0/0"
    path.unlink()
    path.write_bytes(data)
    split = Store.open(store).splits["train"]
    with pytest.raises(StoreError, match=r"coords3d/c/1/0/0, rows 8 to 15"):
        split.gather([9], ["coords3d"])


def test_findings_name_the_rows_that_a_flipped_bit_spoils(published: World) -> None:
    path = published.store / "train/coords3d/c/1/0/0"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    rewrite(path, bytes(data))
    (found,) = published.verify().findings
    assert (found.split, found.column, found.block) == ("train", "coords3d", 1)
    assert found.rows == (8, 9, 10, 11)  # the four rows of the chunk, not the block


def test_repair_takes_a_block_from_the_cache_only_by_its_digest(published: World) -> None:
    """The cache's copy is the same file as the store's: what hits one hits the other."""
    expected = tree(published.store)
    flip(published.store / "train/coords3d/c/1/0/0", published.store)
    report = published.repair()
    assert (report.blocks_from_cache, report.blocks_from_source) == (0, 1)
    assert tree(published.store) == expected
    (published.store / "train/coords3d/c/1/0/0").unlink()
    report = published.repair()
    assert (report.blocks_from_cache, report.blocks_from_source) == (1, 0)


@pytest.mark.parametrize("path", ["bbox/c/1/0", "image/c/1/0", "status/c/1"])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_flipped_bit_in_a_cached_block_is_not_published_again(
    published: World, folder: Path, path: str, is_late: bool
) -> None:
    """Its time and length say nothing. The other edition shares the block with the damage."""
    undisturbed = private_copy(published, folder / "undisturbed")
    undisturbed.edition = 1
    undisturbed.prepare()
    shard = published.store / "train" / path
    data = bytearray(shard.read_bytes())
    data[-3 if is_late else 3] ^= 4
    rewrite(shard, bytes(data))
    published.edition = 1
    report = published.prepare()
    assert (report.n_built, report.n_reused, report.was_published) == (2, 2, True)
    assert tree(published.store) == tree(undisturbed.store)
    assert tree(published.cache / "blocks").items() >= tree(undisturbed.cache / "blocks").items()


def test_repair_leaves_what_is_whole_alone(published: World) -> None:
    whole = published.store / "train/bbox/c/0/0"
    inode = whole.stat().st_ino
    delete(published.store / "train/coords3d/c/1/0/0", whole)
    published.repair()
    assert whole.stat().st_ino == inode


def test_without_cache_and_source_repair_says_so_and_changes_nothing(
    published: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(published.store / "train/coords3d/c/1/0/0", published.store)
    shutil.rmtree(published.cache)
    shutil.rmtree(published.images)
    before = tree(published.store)
    with pytest.raises(StoreError, match=r"cannot repair[\s\S]*--annotations"):
        published.repair()
    assert tree(published.store) == before


def test_repair_never_puts_in_what_a_changed_source_says(published: World) -> None:
    delete(published.store / "train/coords3d/c/0/0/0", published.store)
    shutil.rmtree(published.cache)
    before = tree(published.store)
    published.edition = 7
    with pytest.raises(StoreError, match="the source is not the one"):
        published.repair()
    assert tree(published.store) == before


def test_a_lost_manifest_comes_back_from_the_cache_or_the_source(published: World) -> None:
    expected = tree(published.store)
    (published.store / "manifest.json").unlink()
    assert published.repair().was_compared
    assert tree(published.store) == expected
    (published.store / "manifest.json").unlink()
    shutil.rmtree(published.cache)
    assert not published.repair().was_compared
    assert tree(published.store) == expected
