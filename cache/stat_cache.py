"""Content digests of files, remembered by what `stat` says of them.

A file is read again when its size, inode, modification or change time differs, or when it was
touched so shortly before it was recorded that a later write could bear the same times. The change
time cannot be set by a program, so a restored modification time does not fool it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache import chunks
from cache.files import replace_file

_RECORD = np.dtype(
    [
        ("path", "V16"),
        ("size", "<i8"),
        ("inode", "<u8"),
        ("modified_ns", "<i8"),
        ("changed_ns", "<i8"),
        ("digest", "V32"),
    ]
)
_SETTLED_NS = 2_000_000_000


class FileStat(NamedTuple):
    """The part of `os.stat` that tells one version of a file from another."""

    size: int
    inode: int
    modified_ns: int
    changed_ns: int


class StatCache:
    """Digests of the files of one dataset, kept in one file. A damaged one counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, tuple[FileStat, bytes]] = {}
        self._changed = False
        self._load()

    def find(self, path: str, stat: FileStat) -> bytes | None:
        """The SHA-256 recorded for this very version of the file."""
        entry = self._known.get(_path_key(path))
        return entry[1] if entry is not None and entry[0] == stat else None

    def remember(self, path: str, stat: FileStat, digest: bytes) -> None:
        """Record a SHA-256, unless the file is too fresh to be told from a later version."""
        newest = max(stat.modified_ns, stat.changed_ns)
        if time.time_ns() - newest < _SETTLED_NS:
            return
        self._known[_path_key(path)] = (stat, digest)
        self._changed = True

    def save(self) -> None:
        """Write the file, if anything was learnt."""
        if not self._changed:
            return
        table = np.empty(len(self._known), dtype=_RECORD)
        for i, (key, (stat, found)) in enumerate(self._known.items()):
            table[i] = (key, *stat, found)
        replace_file(self._path, [chunks.with_crc(table.tobytes())])
        self._changed = False

    def _load(self) -> None:
        try:
            data = chunks.check_crc(self._path.read_bytes())
            table = np.frombuffer(data, dtype=_RECORD)
        except (FileNotFoundError, chunks.ChunkError, ValueError):
            return
        self._known = {bytes(row[0]): (FileStat(*row[1:5]), bytes(row[5])) for row in _rows(table)}


def _rows(table: np.ndarray) -> Iterable[tuple]:  # type: ignore[type-arg]
    return table.tolist()  # type: ignore[no-any-return]


def _path_key(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()
