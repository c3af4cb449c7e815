"""Who may write: one builder per store, and gc only while nobody builds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cache.files import writing
from errors import BusyError


@contextlib.contextmanager
def store_lock(
    store: Path, *, timeout_s: float, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock of one store; the kernel drops it when its owner dies.

    Args:
        store: path of the store; the lock lies beside it.
        timeout_s: how long to wait for another owner; 0 refuses at once.
        on_wait: called once with who holds it, before waiting.

    Raises:
        BusyError: another process still holds it, with its identity.
    """
    path = store.parent / f".{store.name}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lock = FileLock(path, timeout=0, mode=0o644)
    try:
        lock.acquire()
    except Timeout:
        if on_wait is not None and timeout_s > 0:
            on_wait(describe_owner(path))
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            raise BusyError(
                f"another process is preparing this store: {describe_owner(path)}",
                where=str(path),
                next_command="wait until it is done, then run the same command again",
            ) from None
    try:
        with writing(path):
            owner_path(path).write_text(json.dumps(_identity()), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner_path(path).unlink()
        lock.release()


@contextlib.contextmanager
def cache_lock(cache_directory: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of a cache: shared while building, exclusive for gc.

    Raises:
        BusyError: it is held the other way by another process.
    """
    with writing(cache_directory):
        cache_directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(cache_directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(fd, mode | (fcntl.LOCK_NB if exclusive else 0))
        except BlockingIOError:
            raise BusyError(
                "the block cache is in use",
                where=str(cache_directory),
                cause="a `prepare` is running on it",
                next_command="wait until it is done, then run the same command again",
            ) from None
        yield
    finally:
        os.close(fd)


def owner_path(lock: Path) -> Path:
    return lock.with_name(lock.name + ".owner")


def describe_owner(lock: Path) -> str:
    """Who holds a lock, as its owner wrote it down."""
    try:
        owner = json.loads(owner_path(lock).read_text(encoding="utf-8"))
        return f"pid {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its owner has not written its name yet"


def _identity() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
