"""Checkpoints: everything a run needs to continue bit for bit, each one file with its own digest.

    magic (8 bytes) | SHA-256 of the rest (32 bytes) | npz archive of the arrays and the record

A file is written beside its final name, synced and renamed, so that a kill leaves either the whole
checkpoint or none. One that is cut or altered is noticed, and the one before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.files import way_on
from errors import StoreError

_MAGIC = b"PSCKPT1\n"
_DIGEST_BYTES = 32
_RECORD = "record"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a run after `step` steps.

    Attributes:
        step: completed steps.
        arrays: every variable's value, by a name that stays the same from run to run.
        record: JSON-able: the loader's state, a fingerprint of the settings, curves.
    """

    step: int
    arrays: Mapping[str, npt.NDArray[Any]]
    record: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, kept: int) -> Path:
    """Write a checkpoint and remove all but the newest `kept`.

    Raises:
        StoreError: it cannot be written; those before it are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.ckpt"
    buffer = io.BytesIO()
    record = np.frombuffer(
        json.dumps({"step": checkpoint.step, **checkpoint.record}).encode(), np.uint8
    )
    names = {f"array:{name}": value for name, value in checkpoint.arrays.items()}
    np.savez(buffer, allow_pickle=False, **{_RECORD: record}, **names)
    body = buffer.getbuffer()
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(_MAGIC)
            file.write(hashlib.sha256(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StoreError(
            f"cannot write the checkpoint: {error.strerror or error}",
            where=str(path),
            cause="the checkpoints before it are as they were",
            next_command=way_on(error) or "mend the cause, then run the same command",
        ) from error
    _sync_folder(folder)
    for old in _checkpoint_paths(folder)[:-kept]:
        old.unlink(missing_ok=True)
    for leftover in folder.glob("step-*.tmp-*"):
        leftover.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        StoreError: it is missing, cut or altered.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError("the checkpoint cannot be read", where=str(path)) from error
    start = len(_MAGIC) + _DIGEST_BYTES
    body = memoryview(data)[start:]
    digest = data[len(_MAGIC) : start]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != digest:
        raise StoreError("the checkpoint was cut or altered", where=str(path))
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        record = json.loads(archive[_RECORD].tobytes())
        arrays = {
            name.removeprefix("array:"): archive[name] for name in archive.files if name != _RECORD
        }
    return Checkpoint(record.pop("step"), arrays, record)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, Sequence[Path]]:
    """The newest intact checkpoint, and the newer ones that had to be passed over."""
    damaged: list[Path] = []
    for path in reversed(_checkpoint_paths(folder)):
        try:
            return read_checkpoint(path), damaged
        except StoreError:
            damaged.append(path)
    return None, damaged


def _checkpoint_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
