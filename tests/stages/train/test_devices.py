"""Several devices or workers do together what one does alone, and go on after a kill as it does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from errors import ConfigError
from pipeline.schema import Kind
from stages.train.checkpoints import Checkpoint
from stages.train.devices import Division, choose_strategy, n_workers
from stages.train.settings import OptimisationSettings
from tests.stages.train.tiny_run import STEPS, checkpoints_of

PROJECT = Path(__file__).parents[3]
# Halves of every kind; and moments of the whole batch, which renormalisation does not take.
SETTINGS = (
    "norm.batch_renorm=false",
    "batch.batch_size=2",
    "batch.batch_size_densepose=2",
    "batch.batch_size_2d=2",
    "crop.trainer_flip_prob=0.5",
)


def start(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.stages.train.tiny_run"]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_workers(*arguments: str) -> list[subprocess.Popen[str]]:
    """Two of them, each with its place in `TF_CONFIG`."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    cluster = {"worker": addresses}
    configs = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start(*arguments, environment={"TF_CONFIG": json.dumps(c)}) for c in configs]


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


def wait(processes: list[subprocess.Popen[str]], *, expected: int) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=280)
        assert process.returncode == expected, output


def assert_same_within_rounding(one: Checkpoint, other: Checkpoint) -> None:
    assert one.step == other.step == STEPS
    for row, twin in zip(one.record["curve"], other.record["curve"], strict=True):
        for name, value in row.items():
            assert value == pytest.approx(twin[name], rel=1e-3, abs=1e-6), name
    for name, value in one.arrays.items():
        # Adam turns the rounding of a gradient near zero, such as a bias has that a softmax does
        # not see, into a step of some size; so what it keeps of the gradients is compared too.
        if name.startswith("optimizer/") or "bias" not in name:
            scale = float(np.abs(value).max())
            difference = np.abs(value.astype(float) - other.arrays[name]).max()
            assert difference <= 5e-3 * scale + 1e-9, name


def test_two_workers_end_where_one_does_even_after_a_kill(tmp_path: Path) -> None:
    alone = start(str(tmp_path / "alone"))
    wait([alone], expected=0)
    wait(start_workers("--kill-at", "6", str(tmp_path / "two")), expected=-signal.SIGKILL)
    assert [c.step for c in checkpoints_of(tmp_path / "two")] == [3]
    wait(start_workers(str(tmp_path / "two")), expected=0)
    assert_same_within_rounding(
        checkpoints_of(tmp_path / "two")[-1], checkpoints_of(tmp_path / "alone")[-1]
    )
    assert (tmp_path / "two" / "model.keras").is_file()


@pytest.mark.long
def test_two_devices_of_a_machine_end_where_one_does(tmp_path: Path) -> None:
    wait([start(str(tmp_path / "alone"))], expected=0)
    wait([start("--devices", "2", str(tmp_path / "two"))], expected=0)
    assert_same_within_rounding(
        checkpoints_of(tmp_path / "two")[-1], checkpoints_of(tmp_path / "alone")[-1]
    )


WHOLE = {Kind.PARAM: slice(0, 4), Kind.KP3D: slice(4, 6), Kind.DENSE: slice(6, 6)}


def test_the_parts_of_a_batch_hold_every_example_once_and_every_kind_alike() -> None:
    division = Division(WHOLE, 2)
    assert division.rows(0).tolist() == [0, 1, 4]
    assert division.rows(1).tolist() == [2, 3, 5]
    assert division.kinds == {
        Kind.PARAM: slice(0, 2),
        Kind.KP3D: slice(2, 3),
        Kind.DENSE: slice(3, 3),
    }


def test_what_cannot_be_shared_out_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 examples of kind kp3d .* 4 equal parts"):
        _ = Division(WHOLE, 4).kinds


def test_several_gpus_are_refused_where_there_are_none() -> None:
    with pytest.raises(ConfigError, match="multi_gpu needs several GPUs; TensorFlow sees 0"):
        choose_strategy(OptimisationSettings(multi_gpu=True))


def test_a_garbled_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "{worker}")
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        n_workers()
