"""A checkpoint is whole or it is not used."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from errors import StoreError
from stages.train.checkpoints import (
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)
    arrays = {"a/kernel": rng.random((4, 3), dtype=np.float32), "step": np.asarray(step)}
    return Checkpoint(step, arrays, {"stream": {"next_index": 7 * step}, "curve": []})


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(5), kept=2)
    read = read_checkpoint(path)
    assert read.step == 5
    assert read.record == checkpoint(5).record
    for name, value in checkpoint(5).arrays.items():
        np.testing.assert_array_equal(read.arrays[name], value)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, checkpoint(step), kept=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000003.ckpt",
        "step-00000010.ckpt",
    ]


@pytest.mark.parametrize("where", [0, 9, 60, 300, -1])
def test_one_flipped_bit_is_noticed_and_the_one_before_is_used(tmp_path: Path, where: int) -> None:
    save_checkpoint(tmp_path, checkpoint(1), kept=2)
    path = save_checkpoint(tmp_path, checkpoint(2), kept=2)
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1
    assert damaged == [path]


@pytest.mark.parametrize("length", [0, 7, 40, 200])
def test_a_cut_file_is_noticed(tmp_path: Path, length: int) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1), kept=2)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StoreError):
        read_checkpoint(path)
    assert newest_checkpoint(tmp_path) == (None, [path])


def test_a_write_that_was_killed_is_invisible(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), kept=2)
    (tmp_path / "step-00000002.tmp-123").write_bytes(b"half")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1 and not damaged


def test_a_full_disk_is_said_and_leaves_the_checkpoints_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1), kept=1)
    before = sorted(tmp_path.iterdir())

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"step-00000002[^$]*free some space"):
        save_checkpoint(tmp_path, checkpoint(2), kept=1)
    assert sorted(tmp_path.iterdir()) == before


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") == (None, [])
