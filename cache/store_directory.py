"""The directory of a published store, held open so that it stays what it was.

Files are opened relative to the directory that was there when the store was opened, and a shared
lock keeps whoever replaces the store from removing it (protocol 5 and 7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from cache.manifest import MANIFEST_NAME, Manifest, parse_manifest
from errors import StoreError

_ATTEMPTS = 1000


def aside_path(store: Path) -> Path:
    """Where an old store stands while the new one is renamed into place without an exchange."""
    return store.parent / f".{store.name}.aside"


class StoreDirectory:
    """An open store directory; closed when nobody refers to it any more.

    Raises:
        StoreError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        for _ in range(_ATTEMPTS):
            self._fd = _open_directory(path)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                is_held = True
            except BlockingIOError:  # it was replaced this moment and is being removed
                is_held = False
            except OSError:  # a file system without locks
                return
            if is_held and _stands_at(self._fd, path):
                return
            os.close(self._fd)
            self._fd = -1
        raise StoreError("the store is replaced again and again", where=str(path))

    def __del__(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def open(self, name: str) -> int:
        """A file of the store, by its path relative to the store, for reading."""
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)

    def read(self, name: str) -> bytes:
        """All of a small file."""
        with os.fdopen(self.open(name), "rb") as file:
            return file.read()

    def list(self) -> set[str]:
        """Everything in the store that is not a directory, by its path relative to the store."""
        return {
            f"{folder}/{name}".removeprefix("./")
            for folder, folders, names, fd in os.fwalk(".", dir_fd=self._fd)
            for name in [*names, *(f for f in folders if _is_link(f, fd))]
        }

    def read_manifest(self) -> Manifest:
        """The manifest.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self.path / MANIFEST_NAME
        try:
            data = self.read(MANIFEST_NAME)
        except FileNotFoundError as error:
            raise StoreError(
                "the store has no manifest",
                where=str(path),
                cause="the folder is not a poseshard store, or its manifest was deleted",
                next_command=f"run `cli.py verify --repair {self.path}`",
            ) from error
        except OSError as error:
            raise StoreError(
                "cannot read the manifest", where=str(path), cause=error.strerror
            ) from error
        return parse_manifest(data, path=path)


def read_manifest(store: Path) -> Manifest:
    """The manifest of a published store.

    Raises:
        StoreError: there is no store, or its manifest is missing or damaged.
    """
    return StoreDirectory(store).read_manifest()


def _open_directory(path: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError as error:
        with contextlib.suppress(OSError):
            return os.open(aside_path(path), flags)
        raise StoreError(
            "there is no store here",
            where=str(path),
            cause="the dataset was not prepared yet, or the path is wrong",
            next_command=f"run `cli.py prepare {path.stem}`",
        ) from error
    except OSError as error:
        raise StoreError("cannot open the store", where=str(path), cause=error.strerror) from error


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _stands_at(fd: int, path: Path) -> bool:
    opened = os.fstat(fd)
    for place in (path, aside_path(path)):
        with contextlib.suppress(OSError):
            found = place.stat()
            return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
    return False
