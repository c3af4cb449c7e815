"""A training run that is killed at any moment, and started again, ends with the same weights.

To the bit, with the same learning curve; also where the newest checkpoint was damaged meanwhile.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.train.checkpoints import Checkpoint
from tests.stages.train.tiny_run import STEPS, checkpoints_of

PROJECT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.stages.train.tiny_run"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def end_of(out: Path) -> Checkpoint:
    end = checkpoints_of(out)[-1]
    assert end.step == STEPS
    return end


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.record == other.record
    assert one.arrays.keys() == other.arrays.keys()
    for name, value in one.arrays.items():
        assert value.tobytes() == other.arrays[name].tobytes(), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, float]:
    """The end of a run that was left alone, and how long it took."""
    out = tmp_path_factory.mktemp("whole")
    began = time.perf_counter()
    finished = run(str(out))
    assert finished.returncode == 0, finished.stderr
    return end_of(out), time.perf_counter() - began


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, whole: tuple[Checkpoint, float]
) -> None:
    killed = run("--kill-at", "8", str(tmp_path))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = (tmp_path / "checkpoints").iterdir()
    newest = folder / "step-00000006.ckpt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    resumed = run(str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{newest} was cut or altered; continuing from the checkpoint before it" in (
        resumed.stdout + resumed.stderr
    )
    assert_same(end_of(tmp_path), whole[0])


def kill_at_random(out: Path, seed: int, *, longest_s: float) -> None:
    """Kill it after a random time, half of the time its continuation too; then let it end."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(rng.choice([1, 2])):
        process = subprocess.Popen(
            [*COMMAND, str(out)],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=rng.uniform(0.3, 1.0) * longest_s)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    finished = run(str(out))
    assert finished.returncode == 0, finished.stderr


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(40))
def test_killed_at_a_random_moment_it_ends_with_the_same_bits(
    tmp_path: Path, seed: int, whole: tuple[Checkpoint, float]
) -> None:
    kill_at_random(tmp_path, seed, longest_s=whole[1])
    assert_same(end_of(tmp_path), whole[0])


@pytest.mark.parametrize("step", [2, 7])
def test_killed_in_mid_step_it_ends_with_the_same_bits(
    tmp_path: Path, step: int, whole: tuple[Checkpoint, float]
) -> None:
    killed = run("--kill-at", str(step), str(tmp_path))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = checkpoints_of(tmp_path)[-1] if step > 3 else None
    finished = run(str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert_same(end_of(tmp_path), whole[0])
    if before is not None:  # and it did go on
        moved = [n for n, v in before.arrays.items() if v.tobytes() != whole[0].arrays[n].tobytes()]
        assert len(moved) > len(before.arrays) / 2
