"""Durable writing: what stands at a path is whole, and survives a power cut.

The protocol of every write in this package:

1. write the bytes to a new file, or all files to a new directory, under a temporary name on the
   same file system;
2. `fsync` each file, then the directory that lists them;
3. rename into place;
4. `fsync` the parent directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache import syscalls as seam
from errors import StoreError

TEMPORARY_PREFIX = ".tmp-"

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: check the owner of the folder",
    errno.EPERM: "no permission: check the owner of the folder",
    errno.EIO: "the disk reports an error: check it, then run the same command again",
}


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
            next_command=_HINTS.get(error.errno or 0, "mend the cause, then run the same command"),
        ) from error


def temporary_name(directory: Path) -> Path:
    """A fresh name in `directory`, marked as temporary and with the pid of its maker."""
    return directory / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


def write_file(path: Path, parts: Sequence[bytes]) -> None:
    """Create `path` with the given bytes and sync them. Not atomic: for fresh directories."""
    fd = seam.syscalls.create(path)
    try:
        seam.syscalls.write(fd, parts)
        seam.syscalls.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, parts: Sequence[bytes]) -> None:
    """Put the given bytes at `path` atomically and durably."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path.parent)
        try:
            write_file(temporary, parts)
            seam.syscalls.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seam.syscalls.fsync(fd)
    finally:
        os.close(fd)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link where the file systems allow it, else copy durably."""
    try:
        seam.syscalls.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        with source.open("rb") as reader:
            fd = seam.syscalls.create(target)
            try:
                while part := reader.read(1 << 22):
                    seam.syscalls.write(fd, [part])
                seam.syscalls.fsync(fd)
            finally:
                os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory that nobody refers to any more; a missing one is fine."""
    shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(directory: Path) -> None:
    """Remove temporary files and directories whose maker has died."""
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        if not entry.name.startswith(TEMPORARY_PREFIX):
            continue
        pid = entry.name.removeprefix(TEMPORARY_PREFIX).split("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and _is_alive(int(pid)):
            continue
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
