"""Content digests of files, remembered by what `stat` says of them.

A file is read again when its size, inode, modification or change time differs, or when it was
touched so shortly before it was recorded that a later write could bear the same times. The change
time cannot be set by a program, so a restored modification time does not fool it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from pathlib import Path

from cache import chunks
from cache.files import replace_file

_STAT = struct.Struct("<qQqq")  # size, inode, modified_ns, changed_ns
_KEY_BYTES, _DIGEST_BYTES = 16, 32
_RECORD_BYTES = _KEY_BYTES + _STAT.size + _DIGEST_BYTES
_SETTLED_NS = 2_000_000_000
_WORTH_SAVING = 2048  # files


class StatCache:
    """Digests of the files below one folder, kept in one file. A damaged one counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._n_learnt = 0

    def find(self, path: str, stat: os.stat_result) -> bytes | None:
        """The SHA-256 recorded for this very version of the file."""
        known = self._known.get(_key(path))
        if known is None or not known.startswith(version(stat)):
            return None
        return known[_STAT.size :]

    def remember(self, path: str, stat: os.stat_result, digest: bytes) -> None:
        """Record a SHA-256, unless the file is too fresh to be told from a later version."""
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < _SETTLED_NS:
            return
        self._known[_key(path)] = version(stat) + digest
        self._n_learnt += 1

    def save(self) -> None:
        """Write the file, if anything was learnt."""
        if self._n_learnt:
            self._n_learnt = 0
            known = dict(self._known)  # other threads may be learning
            table = b"".join(key + value for key, value in known.items())
            replace_file(self._path, [chunks.with_crc(table)])

    def save_soon(self) -> None:
        """Write the file if much was learnt, so that a kill does not cost it.

        Much grows with what is known: all of these together write a small multiple of the file.
        """
        if self._n_learnt >= max(_WORTH_SAVING, len(self._known) // 16):
            self.save()


def version(stat: os.stat_result) -> bytes:
    """The part of `stat` that tells one version of a file from another."""
    return _STAT.pack(stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


def _key(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=_KEY_BYTES).digest()


def _load(path: Path) -> dict[bytes, bytes]:
    try:
        data = path.read_bytes()
        chunks.check_crc(data)
    except (OSError, chunks.ChunkError):
        return {}
    return {
        data[at : at + _KEY_BYTES]: data[at + _KEY_BYTES : at + _RECORD_BYTES]
        for at in range(0, len(data) - chunks.CRC_BYTES, _RECORD_BYTES)
    }
