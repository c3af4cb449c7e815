"""Killed at any instant, `prepare` leaves the old store or the new one, and the same command again
gives the very bytes of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import source_files
from cache.collect import collect_garbage
from cache.reader import Store
from cache.stat_cache import StatCache
from cache.store_directory import aside_path
from tests.promises.world import (
    FAILED,
    ROWS_PER_BLOCK,
    Call,
    WatchedSyscalls,
    World,
    calls_of,
    die,
    in_child,
    tree,
    watching,
)

# These change names, or make them durable; the others fill files that nobody can see yet.
STEPS = {"rename", "exchange", "sync_filesystem", "fsync", "remove_tree"}
EVERY = 53


@pytest.fixture
def before(world: World) -> World:
    """A world whose store is of edition 0 and whose source is of edition 1."""
    world.prepare()
    world.edition = 1
    return world


@pytest.fixture
def after(before: World, folder: Path) -> dict[str, bytes]:
    """The store that an undisturbed run makes."""
    undisturbed = before.copy(folder / "undisturbed")
    undisturbed.prepare()
    return tree(undisturbed.store)


def chosen(calls: list[Call]) -> Iterator[int]:
    yield from (call.number for call in calls if call.name in STEPS or call.number % EVERY == 0)


def read_all(store: Path) -> None:
    for split in Store.open(store).splits.values():
        split.gather(range(len(split)))


def check_killed(world: World, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """A killed run left the old store or the new one, and the next run completes it."""
    standing = world.store if world.store.exists() else aside_path(world.store)
    assert tree(standing) in (old, new)
    read_all(world.store)
    world.prepare()
    assert tree(world.store) == new
    collect_garbage(world.cache)
    assert not [path for path in world.leftovers() if "-" in path.name]


def kill_at(world: World, number: int, *, can_exchange: bool) -> int:
    def hit(call: Call) -> None:
        if call.number == number:
            die()

    watched = WatchedSyscalls(before=hit, can_exchange=can_exchange)

    def work() -> None:
        with watching(watched):
            world.prepare()

    return in_child(work)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_at_a_step_of_the_protocol(
    before: World, after: dict[str, bytes], folder: Path, can_exchange: bool
) -> None:
    old = tree(before.store)
    calls = calls_of(before.copy(folder / "counted"), can_exchange=can_exchange)
    for number in chosen(calls):
        world = before.copy(folder / f"killed-{number}")
        assert kill_at(world, number, can_exchange=can_exchange) == -signal.SIGKILL
        check_killed(world, old, after)


@pytest.mark.long
@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.timeout(3600)
def test_a_kill_at_every_single_call(
    before: World,
    after: dict[str, bytes],
    folder: Path,
    can_exchange: bool,
    is_first: bool,
) -> None:
    """Also of the very first run, where nothing was published and no block built.

    Killed after one call is killed before the next: nothing else changes the disk.
    """
    old = {} if is_first else tree(before.store)
    if is_first:
        shutil.rmtree(before.store)
        shutil.rmtree(before.cache)
    calls = calls_of(before.copy(folder / "counted"), can_exchange=can_exchange)
    for number in range(len(calls)):
        world = before.copy(folder / "killed")
        assert kill_at(world, number, can_exchange=can_exchange) < 0
        if is_first and not world.store.exists():
            world.prepare()
            assert tree(world.store) == after
        else:
            check_killed(world, old, after)
        shutil.rmtree(world.folder)


def test_a_run_that_was_killed_while_building_keeps_the_blocks_it_committed(world: World) -> None:
    calls = calls_of(world.copy(world.folder.parent / "counted"))
    publishing = next(call.number for call in calls if call.name == "link")
    assert kill_at(world, publishing, can_exchange=True) == -signal.SIGKILL
    report = world.prepare()
    assert (report.n_built, report.n_reused) == (0, 4)


def test_a_run_that_was_killed_while_building_knows_the_pictures_of_finished_blocks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not read again: without this, a resumed run would read all that was read before."""
    monkeypatch.setattr("cache.stat_cache._SETTLED_NS", -(10**18))  # these pictures are new
    monkeypatch.setattr("cache.stat_cache._WORTH_SAVING", 1)
    monkeypatch.setattr("cache.blocks._COMMIT_SECONDS", 0.0)
    calls = calls_of(world.copy(world.folder.parent / "counted"))
    renames = [call.number for call in calls if call.name == "rename"]
    # Two blocks and twice the list of pictures, or, if that is not kept, four blocks.
    assert kill_at(world, renames[3] + 1, can_exchange=True) == -signal.SIGKILL
    read: list[str] = []
    real = source_files.read_file

    def noted(files: source_files.FileColumn, path: str, stats: StatCache) -> source_files.ReadFile:
        read.append(path)
        return real(files, path, stats)

    monkeypatch.setattr("cache.blocks.read_file", noted)
    report = world.prepare()
    assert report.n_reused >= 2
    assert len(read) <= ROWS_PER_BLOCK * (report.n_built + 1)
    assert not [path for path in read if path in {f"train{row}.jpg" for row in range(8)}]


def kill_at_random_times(before: World, after: dict[str, bytes], folder: Path, n: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    old = tree(before.store)
    began = time.monotonic()
    before.copy(folder / "timed").prepare(n_jobs=2)
    duration = time.monotonic() - began
    for number in range(n):
        world = before.copy(folder / f"random-{number}")
        pid = os.fork()
        if pid == 0:
            try:
                world.prepare(n_jobs=2)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, 1.2 * duration))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        check_killed(world, old, after)


def test_kills_at_random_times(before: World, after: dict[str, bytes], folder: Path) -> None:
    kill_at_random_times(before, after, folder, 10)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_kills_at_random_times(before: World, after: dict[str, bytes], folder: Path) -> None:
    kill_at_random_times(before, after, folder, 1000)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("step", "jobs"), [("write", 1), ("write", 2), ("link", 1)])
def test_an_interrupt_leaves_nothing_half_done(
    before: World,
    after: dict[str, bytes],
    number: signal.Signals,
    code: int,
    step: str,
    jobs: int,
) -> None:
    """Building, and publishing: the run says that it was interrupted, by its exit code too."""
    old = tree(before.store)
    command = [sys.executable, "-m", "tests.promises.driver", str(before.folder), "1", step]
    command += ["--jobs", str(jobs)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "waiting\n"
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    assert "run the same command again" in said
    assert tree(before.store) == old
    assert before.leftovers() == []
    before.prepare()
    assert tree(before.store) == after


def test_a_child_that_fails_is_told_from_one_that_is_killed(world: World) -> None:
    """The tests above can fail: a child that raises ends otherwise than one that dies."""
    world.store.parent.mkdir()
    world.store.write_text("not a store")
    assert in_child(world.prepare) == FAILED
