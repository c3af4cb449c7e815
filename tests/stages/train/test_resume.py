"""A run that is killed and started again ends with the same weights, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from stages.train.checkpoints import Checkpoint, newest_checkpoint
from tests.stages.train.tiny_run import STEPS

PROJECT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.stages.train.tiny_run", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def newest_of(out: Path) -> Checkpoint | None:
    (folder,) = (out / "checkpoints").iterdir()
    return newest_checkpoint(folder)[0]


def test_a_killed_run_resumes_to_bit_identical_weights(tmp_path: Path) -> None:
    killed = run("--kill-at", "6", str(tmp_path / "killed"))  # after the checkpoint of step 3
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = newest_of(tmp_path / "killed")
    assert before is not None and before.step == 3

    resumed_and_whole = run(str(tmp_path / "killed"), str(tmp_path / "whole"))
    assert resumed_and_whole.returncode == 0, resumed_and_whole.stderr
    ends = [newest_of(tmp_path / name) for name in ("killed", "whole")]
    assert ends[0] is not None and ends[1] is not None
    assert ends[0].step == ends[1].step == STEPS
    assert ends[0].record == ends[1].record  # the learning curve too
    assert ends[0].arrays.keys() == ends[1].arrays.keys()
    for name, value in ends[0].arrays.items():
        assert value.tobytes() == ends[1].arrays[name].tobytes(), name
    moved = [n for n, v in ends[0].arrays.items() if not np.array_equal(v, before.arrays[n])]
    assert len(moved) > len(ends[0].arrays) / 2
