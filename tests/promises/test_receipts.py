"""A `prepare` that has nothing to do reads neither pickle nor picture, and never takes a store for
done that is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.prepare import receipts
from stages.prepare import run as prepare_run
from stages.prepare.source import Source
from tests.promises.world import World


@pytest.fixture
def read(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Prepared once; grows by one whenever the pickle is read."""
    pickle = world.folder / "small.pkl"
    pickle.write_bytes(b"edition 0")
    long_ago = 1e9
    os.utime(pickle, (long_ago, long_ago))
    reads: list[int] = []

    def source() -> Source:
        reads.append(1)
        found = World.source(world)
        digest = receipts.file_digest(pickle)
        return Source(found.columns, {**found.provenance, "source_sha256": digest})

    monkeypatch.setattr(world, "source", source, raising=False)
    # The files of this test are new; elsewhere that makes their times untrustworthy.
    monkeypatch.setattr("cache.stat_cache._SETTLED_NS", -(10**18))
    world.prepare()
    assert reads == [1]
    return reads


def test_nothing_to_do_reads_nothing(
    world: World, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.source_files._read_all", None)
    report = world.prepare()
    assert read == [1]
    assert (report.n_built, report.n_reused, report.was_published) == (0, 4, False)
    assert report.manifest.splits["train"].n_usable == 17


def edit_pickle(world: World) -> None:
    (world.folder / "small.pkl").write_bytes(b"another")


def edit_picture(world: World) -> None:
    other = (world.images / "train6.jpg").read_bytes()
    (world.images / "train5.jpg").write_bytes(other)


def bring_missing_picture(world: World) -> None:
    (world.images / "train3.jpg").write_bytes((world.images / "train6.jpg").read_bytes())


def damage_store(world: World) -> None:
    (world.store / "train/bbox/c/0/0").unlink()


def add_to_store(world: World) -> None:
    (world.store / "train/stray").write_bytes(b"?")


def damage_receipt(world: World) -> None:
    for path in (world.cache / "receipts").iterdir():
        path.write_bytes(b"nonsense")


@pytest.mark.parametrize(
    "change",
    [edit_pickle, edit_picture, bring_missing_picture, damage_store, add_to_store, damage_receipt],
)
def test_whatever_changed_is_noticed(
    world: World, read: list[int], change: Callable[[World], None]
) -> None:
    change(world)
    world.prepare()
    assert read == [1, 1]
    assert world.verify().is_sound


def test_entries_of_excludes_yaml_are_noticed_those_of_other_datasets_are_not(
    world: World, read: list[int]
) -> None:
    path, entry = world.folder / "excludes.yaml", "- {split: train, index: 3, reason: not a person}"
    path.write_text(f"agora:\n  {entry}\n")
    world.prepare()
    assert read == [1]
    path.write_text(f"small:\n  {entry}\n")
    assert "excluded" in world.prepare().manifest.rejected_by_reason("train")
    assert read == [1, 1]
    world.prepare()
    assert read == [1, 1]


def test_another_version_of_the_program_trusts_no_old_receipt(
    world: World, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And yet builds nothing anew: the blocks' keys say that they are the same."""
    monkeypatch.setattr(receipts, "_code_digest", lambda: "another version")
    report = world.prepare()
    assert read == [1, 1]
    assert (report.n_built, report.was_published) == (0, False)


def test_a_receipt_is_left_by_the_long_way(read: list[int], world: World) -> None:
    assert len(list(Path(world.cache / "receipts").iterdir())) == 1
    assert prepare_run.receipts is receipts
