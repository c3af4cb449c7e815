"""The one seam between `cache` and the operating system.

Every effect on the file system that the write protocol depends on goes through `syscalls`, so that
a test can make the k-th call fail, or kill the process there, for every k.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.ENOTTY})
_MAX_PARTS = 512  # below IOV_MAX


class Syscalls:
    """The real thing. Tests replace the module attribute `syscalls` by a subclass."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; it must not exist."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        """Append all parts, however often the kernel takes only some of the bytes."""
        for first in range(0, len(parts), _MAX_PARTS):
            batch = parts[first : first + _MAX_PARTS]
            written = os.writev(fd, batch)
            if written < sum(map(len, batch)):
                rest = memoryview(b"".join(batch))[written:]
                while rest:
                    rest = rest[os.write(fd, rest) :]

    def clone(self, source: int, target: int) -> bool:
        """Let the file `target` share the blocks of `source`; False where that is impossible."""
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno in _NOT_SUPPORTED or error.errno == errno.EXDEV:
                return False
            raise
        return True

    def seal(self, path: Path, modified_ns: int) -> None:
        """Make a finished file read-only and give it a modification time."""
        path.chmod(0o444)
        os.utime(path, ns=(modified_ns, modified_ns))

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_filesystem(self, fd: int) -> bool:
        """Make everything on the file system of `fd` durable; False where that call is missing."""
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "syncfs"):
            return False
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return True

    def mkdir(self, path: Path) -> None:
        """Make a directory, and its parents where they are missing."""
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)  # noqa: PTH104 - Path.rename would hide that this is the call

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def exchange(self, a: Path, b: Path) -> bool:
        """Swap two paths atomically; False where the file system cannot."""
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "renameat2"):
            return False
        result = libc.renameat2(
            _AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE
        )
        if result == 0:
            return True
        code = ctypes.get_errno()
        if code in _NOT_SUPPORTED:
            return False
        raise OSError(code, os.strerror(code), str(a), None, str(b))

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all it holds, as far as possible; a missing one is fine."""
        shutil.rmtree(path, ignore_errors=True)


syscalls = Syscalls()
