"""A disk that is full or fails at any call gives an error that says so, never half a store; with
the cause gone, the same command completes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import source_files
from cache.store_directory import aside_path
from errors import PoseshardError, SourceError, StoreError
from stages.prepare import source as prepare_source
from stages.prepare.settings import DatasetFiles
from tests.promises.world import (
    Call,
    WatchedSyscalls,
    World,
    calls_of,
    make_world,
    tree,
    watching,
)

# Failing to remove what nobody needs any more is no failure.
HARMLESS = {"remove_tree", "clone"}
EVERY = 41


def fail_at(world: World, number: int, code: int, *, can_exchange: bool = True) -> None:
    def hit(call: Call) -> None:
        if call.number == number:
            raise OSError(code, os.strerror(code))

    with watching(WatchedSyscalls(before=hit, can_exchange=can_exchange)):
        world.prepare()


def check_faults(world: World, folder: Path, code: int, *, every: int, can_exchange: bool) -> None:
    world.prepare()
    old = tree(world.store)
    world.edition = 1
    done = world.copy(folder / "done")
    calls = calls_of(done, can_exchange=can_exchange)
    new = tree(done.store)
    for call in calls:
        if call.name in HARMLESS or (call.number % every and call.name != "exchange"):
            continue
        hurt = world.copy(folder / "hurt")
        with pytest.raises(StoreError) as caught:
            fail_at(hurt, call.number, code, can_exchange=can_exchange)
        assert os.strerror(code) in str(caught.value) and "next:" in str(caught.value)
        standing = hurt.store if hurt.store.exists() else aside_path(hurt.store)
        assert tree(standing) in (old, new), call
        assert [path for path in hurt.leftovers() if path.name.startswith(".tmp-")] == []
        hurt.prepare()
        assert tree(hurt.store) == new
        shutil.rmtree(hurt.folder)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_some_call_fails(world: World, folder: Path, code: int) -> None:
    check_faults(world, folder, code, every=EVERY, can_exchange=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_every_call_fails(world: World, folder: Path, code: int, can_exchange: bool) -> None:
    check_faults(world, folder, code, every=1, can_exchange=can_exchange)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one mebibyte, where mounting is allowed."""
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full_for_real(small_disk: Path, folder: Path) -> None:
    """However little is left, the run fails with a message, and succeeds once there is room."""
    undisturbed = make_world(folder / "undisturbed")
    undisturbed.prepare()
    expected = tree(undisturbed.store)
    shutil.copytree(undisturbed.images, small_disk / "images", copy_function=shutil.copy2)
    world = World(small_disk)
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    failures = 0
    for left in range(0, 400_000, 40_000):
        shutil.rmtree(world.cache, ignore_errors=True)
        shutil.rmtree(world.store.parent, ignore_errors=True)
        ballast.write_bytes(bytes(max(0, free - left)))
        try:
            world.prepare()
        except PoseshardError as error:
            assert "No space left" in str(error)
            failures += 1
        assert not world.store.exists() or tree(world.store) == expected
        ballast.unlink()
        world.prepare()
        assert tree(world.store) == expected
    assert failures >= 3


def test_a_source_that_changes_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickle = folder / "some.pkl"
    pickle.write_bytes(b"one")
    columns = World(folder).source().columns

    class Pending:
        def result(self) -> None:
            pickle.write_bytes(b"two, by another program")

    monkeypatch.setattr(prepare_source, "begin_read", lambda *_: Pending())
    monkeypatch.setattr(prepare_source, "unpack_columns", lambda _: columns)
    with pytest.raises(SourceError, match="changed while they were being read"):
        prepare_source.read_source("small", DatasetFiles(pickle, folder))


def test_a_picture_that_changes_whenever_it_is_read_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = source_files._read_all
    restless = world.images / "train5.jpg"

    def read_and_change(fd: int, size: int) -> bytes:
        data = read(fd, size)
        if os.fstat(fd).st_ino == restless.stat().st_ino:
            with restless.open("ab") as file:
                file.write(b"\0")
        return data

    monkeypatch.setattr(source_files, "_read_all", read_and_change)
    with pytest.raises(SourceError, match="changes while it is being read"):
        world.prepare()
    assert not world.store.exists()


def test_a_picture_that_changed_once_is_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old and half of the new bytes never make a picture."""
    read = source_files._read_all
    other = (world.images / "train6.jpg").read_bytes()
    changed: list[bool] = []

    def read_and_change_once(fd: int, size: int) -> bytes:
        data = read(fd, size)
        if not changed:
            changed.append(True)
            (world.images / "train0.jpg").write_bytes(other)
        return data

    monkeypatch.setattr(source_files, "_read_all", read_and_change_once)
    world.prepare()
    from cache.reader import Store

    assert Store.open(world.store).splits["train"].blobs("image", [0]) == [other]


def test_a_machine_that_cannot_read_rejects_no_example(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, or a disk error, says nothing of the picture."""

    def fail(fd: int, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(source_files, "_read_all", fail)
    with pytest.raises(SourceError, match="cannot read a file"):
        world.prepare()


def test_a_fifo_among_the_pictures_is_rejected_at_once(world: World) -> None:
    path = world.images / "train5.jpg"
    path.unlink()
    os.mkfifo(path)
    report = world.prepare()
    assert 5 in [r.row for r in report.manifest.splits["train"].rejections]


def test_the_source_is_never_written_to(world: World) -> None:
    def stats() -> dict[str, tuple[int, ...]]:
        return {
            str(path): (s := path.stat()) and (s.st_mtime_ns, s.st_ctime_ns, s.st_size)
            for path in [world.images, *world.images.iterdir()]
        }

    world.images.chmod(0o555)
    before = stats()
    world.prepare()
    assert stats() == before
