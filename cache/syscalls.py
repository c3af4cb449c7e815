"""The one seam between `cache` and the operating system.

Every effect on the file system that the write protocol depends on goes through `syscalls`, so that
a test can make the k-th call fail, or kill the process there, for every k.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Syscalls:
    """The real thing. Tests replace the module attribute `syscalls` by a subclass."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; it must not exist."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        """Append all parts, however often the kernel takes only some of the bytes."""
        for first in range(0, len(parts), 512):
            batch = parts[first : first + 512]
            written = os.writev(fd, batch)
            if written < sum(map(len, batch)):
                rest = memoryview(b"".join(batch))[written:]
                while rest:
                    rest = rest[os.write(fd, rest) :]

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def mkdir(self, path: Path) -> None:
        path.mkdir(parents=True)

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
        if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            return False
        raise OSError(code, os.strerror(code), str(a), None, str(b))


syscalls = Syscalls()
