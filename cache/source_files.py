"""Files that become rows of a column: which contents they have, told from `stat` where possible.

What a row's file is goes into its block's key as an *identity*: the SHA-256 of its contents, or the
reason why there are none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as stat_module
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cache.stat_cache import StatCache, version
from errors import SourceError

_ATTEMPTS = 5
# These say something of the machine, not of the file: rejecting its row would lose an example.
_NOT_THE_FILES_FAULT = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOLCK}
)


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column whose rows are the bytes of files, each zero-padded to the width of the row.

    Attributes:
        column: its name.
        length_column: the column that tells how many bytes of a row are the file.
        root: the folder that the paths are relative to.
        max_bytes: longer files are not read.
        missing_status: given to a row whose file is not there.
        broken_status: given to a row whose file is too long.
        check: tells the status of a file from its bytes (0: usable) and, if not usable, why.
    """

    column: str
    length_column: str
    root: Path
    max_bytes: int
    missing_status: int
    broken_status: int
    check: Callable[[bytes], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read, or the reason why it could not be."""

    data: bytes
    identity: bytes
    status: int
    detail: str


def scan_files(
    files: FileColumn, paths: Iterable[str | None], stats: StatCache
) -> tuple[list[bytes | None], int]:
    """Look at files without reading them.

    Args:
        paths: relative to `files.root`; None for a row that has none.

    Returns:
        The identity of each row's file, None where it must be read to be known, and the length in
        bytes of the longest.
    """
    root, longest = str(files.root), 0
    known: dict[str | None, bytes | None] = {None: b""}
    identities = []
    for path in paths:
        if path not in known:
            assert path is not None
            try:
                stat = os.stat(f"{root}/{path}")  # noqa: PTH116 - hot path
            except (OSError, ValueError) as error:
                known[path] = _absent(files, path, error).identity
            else:
                unreadable = _unreadable(files, stat)
                if unreadable is not None:
                    known[path] = unreadable.identity
                else:
                    longest = max(longest, stat.st_size)
                    known[path] = stats.find(path, stat)
        identities.append(known[path])
    return identities, longest


def read_file(files: FileColumn, path: str, stats: StatCache) -> ReadFile:
    """Read and check one file; its digest is remembered.

    Raises:
        SourceError: it changes whenever it is read, or the machine cannot read it now.
    """
    full_path = f"{files.root}/{path}"
    for _ in range(_ATTEMPTS):
        try:
            # O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
            fd = os.open(full_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                stat = os.fstat(fd)
                unreadable = _unreadable(files, stat)
                if unreadable is not None:
                    return unreadable
                data = _read_all(fd, stat.st_size)
                is_same = len(data) == stat.st_size and version(os.fstat(fd)) == version(stat)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            return _absent(files, path, error)
        if is_same:
            digest = hashlib.sha256(data).digest()
            stats.remember(path, stat, digest)
            return ReadFile(data, digest, *files.check(data))
    raise SourceError(
        "a file changes while it is being read",
        where=full_path,
        cause="another program is writing it",
        next_command="wait until it is done, then run the same command again",
    )


def _read_all(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    while len(data) < size and (more := os.read(fd, size + 1 - len(data))):
        data += more
    return data


def _unreadable(files: FileColumn, stat: os.stat_result) -> ReadFile | None:
    if not stat_module.S_ISREG(stat.st_mode):
        return ReadFile(b"", b"not a file", files.missing_status, "this is not a regular file")
    if stat.st_size > files.max_bytes:
        detail = f"the file is longer than {files.max_bytes} bytes"
        return ReadFile(b"", b"too long", files.broken_status, detail)
    return None


def _absent(files: FileColumn, path: str, error: OSError | ValueError) -> ReadFile:
    if not isinstance(error, OSError):  # a zero byte in the path
        return ReadFile(b"", b"no path", files.missing_status, str(error))
    if error.errno in _NOT_THE_FILES_FAULT:
        raise SourceError(
            f"cannot read a file: {error.strerror}",
            where=f"{files.root}/{path}",
            cause="the machine cannot read it now, which says nothing of the file",
            next_command="mend the cause, then run the same command again",
        ) from error
    identity = f"errno {error.errno}".encode()
    return ReadFile(b"", identity, files.missing_status, str(error.strerror or error))
