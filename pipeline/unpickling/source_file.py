"""Open the user's pickle: a regular, non-empty file, mapped rather than copied."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from errors import SourceError

_PROTOCOLS = range(2, 6)
_FOREIGN = {
    b"\x1f\x8b": "a gzip file: decompress it first",
    b"\x93NUMPY": "a .npy file",
    b"PK\x03\x04": "a zip file (.npz, PyTorch): PosePile's pickles are not compressed",
    b"\x89HDF": "an HDF5 file",
    b"BZh": "a bzip2 file: decompress it first",
    b"\xfd7zXZ": "an xz file: decompress it first",
    b"\x28\xb5\x2f\xfd": "a zstandard file: decompress it first",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
}


def map_source(path: Path) -> mmap.mmap:
    """The file's bytes, read-only.

    Raises:
        SourceError: no such file, not a regular one, empty or not readable.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SourceError(
            "cannot open the annotations",
            where=str(path),
            cause=getattr(error, "strerror", None) or str(error),
            next_command="check the path under `datasets` in params.yaml, or give --annotations",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("the annotations are not a regular file", where=str(path))
        if status.st_size == 0:
            raise SourceError(
                "the annotations are an empty file",
                where=f"{path}, byte 0",
                cause="an interrupted copy or download",
            )
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SourceError(
            "cannot read the annotations", where=str(path), cause=error.strerror
        ) from error
    finally:
        os.close(descriptor)


def header_problem(data: bytes | mmap.mmap) -> str | None:
    """What is wrong with the first bytes of a supposed pickle of protocol 2 to 5, if anything."""
    start = bytes(data[:32])
    for magic, meaning in _FOREIGN.items():
        if start.startswith(magic):
            return f"this is {meaning}"
    if start[:1] != b"\x80":
        return f"not a pickle of protocol 2 to 5 (it begins with {start[:8]!r})"
    if len(start) < 2 or start[1] not in _PROTOCOLS:
        protocol = start[1] if len(start) > 1 else "cut off"
        return f"not a pickle of protocol 2 to 5 (its protocol is {protocol})"
    return None
