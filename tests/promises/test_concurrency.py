"""Several at once: one converts, the others wait and find it done; readers see one store or the
other; gc takes nothing that is in use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from cache.collect import collect_garbage
from cache.reader import Store
from errors import BusyError
from tests.promises.world import SUCCEEDED, WatchedSyscalls, World, die, in_child, tree, watching


def start(work: object) -> int:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            work()  # type: ignore[operator]
            code = SUCCEEDED
        finally:
            os._exit(code)
    return pid


def wait_for_all(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.mark.parametrize("n", [2, 8])
def test_several_prepares_of_one_dataset(world: World, folder: Path, n: int) -> None:
    alone = world.copy(folder / "alone")
    alone.prepare()
    pids = [start(world.prepare) for _ in range(n)]
    assert wait_for_all(pids) == [SUCCEEDED] * n
    assert tree(world.store) == tree(alone.store)
    assert world.leftovers() == []


def test_prepares_of_different_stores_share_a_cache(world: World, folder: Path) -> None:
    """Both build the same blocks at the same time: whoever is second takes the first one's."""

    class Elsewhere(World):
        @property
        def store(self) -> Path:
            return self.folder / "stores" / "other.zarr"

    other = Elsewhere(world.folder)
    for _ in range(3):
        assert wait_for_all([start(world.prepare), start(other.prepare)]) == [0, 0]
    assert tree(world.store) == tree(other.store)
    assert world.verify().is_sound
    assert world.leftovers() == []


def test_the_lock_of_a_dead_owner_holds_nobody_up(world: World) -> None:
    with watching(WatchedSyscalls(before=lambda call: die())):
        assert in_child(world.prepare) == -signal.SIGKILL
    owner = world.store.parent / ".small.zarr.lock.owner"
    assert owner.exists()
    world.prepare()
    assert not owner.exists()


def test_readers_see_one_store_or_the_other(world: World) -> None:
    """Every store that is opened while another is swapped in is wholly of one edition."""
    world.prepare()

    def publish_again_and_again() -> None:
        for edition in range(1, 30):
            world.edition = edition
            world.prepare()

    pid = start(publish_again_and_again)
    seen = set()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        store = Store.open(world.store)
        edition = int(store.attributes["provenance"]["source_sha256"])
        rows = store.splits["train"].gather([5, 17, 0], ["coords3d", "status"])
        assert rows["coords3d"][0, 1, 0] == np.float32(edition)
        seen.add(edition)
    assert len(seen) > 1
    assert tree(world.store)


def test_a_reader_keeps_its_store_through_any_number_of_replacements(world: World) -> None:
    world.prepare()
    split = Store.open(world.store).splits["train"]
    for edition in (1, 2, 3):
        world.edition = edition
        world.prepare()
        assert collect_garbage(world.cache)  # the blocks of the edition before
    assert split.gather([5], ["coords3d"])["coords3d"][0, 1, 0] == 0
    assert split.blobs("image", [5])[0] == (world.images / "train5.jpg").read_bytes()
    assert len(world.leftovers()) == 1
    del split
    collect_garbage(world.cache)
    world.prepare()


def test_gc_waits_for_nobody_and_takes_nothing_in_use(world: World) -> None:
    """While a block is being built, gc says that the cache is in use."""
    said: list[str] = []

    def try_to_collect(call: object) -> None:
        with pytest.raises(BusyError) as caught:
            collect_garbage(world.cache)
        said.append(str(caught.value))

    with watching(WatchedSyscalls(before=try_to_collect)):
        world.prepare()
    assert said and all("in use" in message for message in said)
    assert collect_garbage(world.cache) == []
