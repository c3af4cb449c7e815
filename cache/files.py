"""Durable writing, and directories to work in that nobody mistakes for anything else.

What stands at a path is whole and survives a power cut, because it was written under a temporary
name on the same file system, synced, renamed, and its parent synced (protocol 4 and 5).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache import syscalls as seam
from errors import StoreError

TEMPORARY_PREFIX = ".tmp-"
# Every finished shard gets this modification time (1980-01-01), so that a later write shows without
# reading the file: a shard that bears another time is checked by digest.
SEALED_NS = 315_532_800 * 10**9
_YOUNG_S = 60.0

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: check the owner of the folder",
    errno.EPERM: "no permission: check the owner of the folder",
    errno.EIO: "the disk reports an error: check it, then run the same command again",
    errno.EMFILE: "too many open files: raise `ulimit -n`, then run the same command again",
    errno.ENFILE: "too many open files: close some programs, then run the same command again",
}
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` from inside into a `StoreError` that names the path and the way on."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or path),
            cause="what was there before is untouched, and finished blocks are kept",
            next_command=way_on(error) or "mend the cause, then run the same command",
        ) from error


def way_on(error: OSError) -> str | None:
    """What to do about a full disk, a missing permission and the like; None for other errors."""
    return _HINTS.get(error.errno or 0)


def temporary_name(directory: Path) -> Path:
    """A fresh name in `directory`, marked as temporary and with the pid of its maker."""
    return directory / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


class WorkDirectory:
    """A new temporary directory, locked while its maker lives; removed when its context ends."""

    def __init__(self, parent: Path) -> None:
        self.path = temporary_name(parent)
        seam.syscalls.mkdir(self.path)
        self._fd: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks: the pid must do
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> WorkDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd is not None:
            seam.syscalls.remove_tree(self.path)
            self.let_go()

    def share(self) -> None:
        """Let others hold it too, but not remove it."""
        if self._fd is not None:
            os.utime(self.path)  # young again: see `remove_abandoned`
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def let_go(self) -> None:
        """End the lock and leave what stands at the path alone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def remove_unless_held(directory: Path) -> bool:
    """Remove a directory unless somebody holds a lock on it; whether it is gone."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return not directory.exists()
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seam.syscalls.remove_tree(directory)  # still locked: a reader that comes now looks again
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def remove_abandoned(directory: Path) -> None:
    """Remove what dead builders left: temporary names whose maker neither lives nor holds them."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(TEMPORARY_PREFIX):
            continue
        pid = entry.name.removeprefix(TEMPORARY_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):  # somebody else removes it too
            is_young = time.time() - entry.stat(follow_symlinks=False).st_mtime < _YOUNG_S
            # A number may belong to another process by now, or to one on another host.
            if is_young and pid.isdigit() and _is_alive(int(pid)):
                continue
            if entry.is_dir(follow_symlinks=False):
                remove_unless_held(Path(entry.path))
            else:
                Path(entry.path).unlink()


def write_file(path: Path, parts: Sequence[bytes]) -> None:
    """Create `path` with the given bytes. Neither atomic nor synced: for work directories."""
    fd = seam.syscalls.create(path)
    try:
        seam.syscalls.write(fd, parts)
    finally:
        os.close(fd)


def replace_file(path: Path, parts: Sequence[bytes]) -> None:
    """Put the given bytes at `path` atomically and durably."""
    with writing(path):
        seam.syscalls.mkdir(path.parent)
        temporary = temporary_name(path.parent)
        try:
            fd = seam.syscalls.create(temporary)
            try:
                seam.syscalls.write(fd, parts)
                seam.syscalls.fsync(fd)
            finally:
                os.close(fd)
            seam.syscalls.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    with _opened_directory(path) as fd:
        seam.syscalls.fsync(fd)


def sync_tree(path: Path) -> None:
    """Make a directory and everything below it durable.

    One `syncfs` costs as much as two or three `fsync` (3.7 ms each where this was measured), and a
    block has some twenty files.
    """
    with _opened_directory(path) as fd:
        if seam.syscalls.sync_filesystem(fd):
            return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                seam.syscalls.fsync(fd)
            finally:
                os.close(fd)
        sync_directory(Path(folder))


def sync_directories(paths: Sequence[Path]) -> None:
    """Make the names in several directories of one file system durable."""
    with _opened_directory(paths[0]) as fd:
        if len(paths) > 2 and seam.syscalls.sync_filesystem(fd):
            return
    for path in paths:
        sync_directory(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link where the file systems allow it, else clone, else copy; a copy is sealed alike."""
    try:
        seam.syscalls.link(source, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    with source.open("rb") as reader:
        fd = seam.syscalls.create(target)
        try:
            if not seam.syscalls.clone(reader.fileno(), fd):
                while part := reader.read(1 << 22):
                    seam.syscalls.write(fd, [part])
        finally:
            os.close(fd)
    seam.syscalls.seal(target, SEALED_NS)


@contextlib.contextmanager
def _opened_directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
