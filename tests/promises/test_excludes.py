"""An example that `excludes.yaml` names is left out with its reason, only its block is built anew,
and taking the entry back brings back the very bytes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cache.reader import Store
from errors import SourceError
from pipeline.schema import Status
from tests.promises.test_damage import delete
from tests.promises.world import ROW_BROKEN, ROW_EMPTY, ROW_MISSING, World, tree

ROW = 10  # of train, in its second block
REASON = "left and right are swapped"


def exclude(world: World, *entries: str) -> None:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    (world.folder / "excludes.yaml").write_text(f"small:\n{lines}")


def keys(world: World) -> list[str]:
    splits = Store.open(world.store).manifest.splits.values()
    return [block.key for split in splits for block in split.blocks]


@pytest.fixture
def before(world: World) -> dict[str, bytes]:
    world.prepare()
    return tree(world.store)


def test_only_the_block_of_the_example_changes(world: World, before: dict[str, bytes]) -> None:
    old = keys(world)
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    report = world.prepare()
    assert (report.n_built, report.n_reused, report.was_published) == (1, 3, True)
    assert [a == b for a, b in zip(old, keys(world), strict=True)] == [True, False, True, True]
    (rejection,) = [r for r in report.manifest.splits["train"].rejections if r.row == ROW]
    assert (rejection.status, rejection.detail) == (Status.EXCLUDED, REASON)
    assert rejection.source == f"train{ROW}.jpg"
    changed = {path for path, data in tree(world.store).items() if before.get(path) != data}
    assert all(path == "manifest.json" or "/c/1" in path for path in changed)
    assert world.verify().is_sound


def test_the_example_is_fill_and_no_other_is_touched(
    world: World, before: dict[str, bytes]
) -> None:
    old = Store.open(world.store).splits["train"].gather(range(20))
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    world.prepare()
    split = Store.open(world.store).splits["train"]
    new = split.gather(range(20))
    assert ROW not in split.usable_rows and ROW + 1 in split.usable_rows
    assert split.blobs("image", [ROW]) == [b""]
    assert not new["coords3d"][ROW].any()
    for name, values in new.items():
        others = np.delete(np.arange(20), ROW)
        np.testing.assert_array_equal(values[others], old[name][others])


def test_taking_it_back_brings_back_the_bytes(world: World, before: dict[str, bytes]) -> None:
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    world.prepare()
    assert tree(world.store) != before
    (world.folder / "excludes.yaml").unlink()
    report = world.prepare()
    assert (report.n_built, report.n_reused) == (0, 4)
    assert tree(world.store) == before


def test_the_longest_picture_may_be_left_out_without_other_blocks_changing(world: World) -> None:
    """It says how wide the column is; it must go on doing so."""
    picture = (world.images / f"train{ROW}.jpg").read_bytes()
    (world.images / f"train{ROW}.jpg").write_bytes(picture + bytes(70_000))
    world.prepare()
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    assert world.prepare().n_built == 1


def test_another_reason_is_another_block(world: World, before: dict[str, bytes]) -> None:
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    world.prepare()
    exclude(world, f"{{split: train, index: {ROW}, reason: the box is another person's}}")
    report = world.prepare()
    assert report.n_built == 1
    details = [r.detail for r in report.manifest.splits["train"].rejections]
    assert "the box is another person's" in details


def test_a_pattern_of_paths_means_every_example_it_matches(
    world: World, before: dict[str, bytes]
) -> None:
    exclude(world, '{source: "valid*", reason: not looked at yet}')
    report = world.prepare()
    assert report.manifest.rejected_by_reason("valid") == {"excluded": 6}
    assert report.manifest.splits["valid"].n_usable == 0
    assert (report.n_built, "excluded" in report.manifest.rejected_by_reason("train")) == (1, False)
    assert world.verify().is_sound


def test_the_entry_counts_more_than_what_is_wrong_with_the_example_anyway(world: World) -> None:
    rows = (ROW_MISSING, ROW_BROKEN, ROW_EMPTY)
    exclude(world, *(f"{{split: train, index: {row}, reason: {REASON}}}" for row in rows))
    assert world.prepare().manifest.rejected_by_reason("train") == {"excluded": 3}


def test_strict_does_not_mind_what_was_left_out_on_purpose(world: World) -> None:
    entries = [
        f"{{split: train, index: {row}, reason: {REASON}}}" for row in (ROW_EMPTY, ROW_MISSING)
    ]
    exclude(world, *entries)
    with pytest.raises(SourceError, match="broken image"):
        world.prepare(is_strict=True)
    exclude(world, *entries, f"{{split: train, index: {ROW_BROKEN}, reason: {REASON}}}")
    assert world.prepare(is_strict=True).manifest.splits["train"].n_usable == 17


def test_another_datasets_entries_change_nothing_and_cost_nothing(
    world: World, before: dict[str, bytes]
) -> None:
    path = world.folder / "excludes.yaml"
    path.write_text(f"agora:\n  - {{split: train, index: 3, reason: {REASON}}}\n")
    report = world.prepare()
    assert (report.n_built, report.was_published) == (0, False)
    assert tree(world.store) == before


@pytest.mark.parametrize("is_manifest_lost", [False, True])
def test_repair_brings_back_a_store_with_its_excluded_examples(
    world: World, is_manifest_lost: bool
) -> None:
    """Also if the list says something else by now: repair restores, it does not decide."""
    exclude(world, f"{{split: train, index: {ROW}, reason: {REASON}}}")
    world.prepare()
    expected = tree(world.store)
    shutil.rmtree(world.cache)
    delete(world.store / "train/coords3d/c/1/0/0", world.store)
    if is_manifest_lost:
        (world.store / "manifest.json").unlink()
    else:
        (world.folder / "excludes.yaml").unlink()
    world.repair()
    assert tree(world.store) == expected
