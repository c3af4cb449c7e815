"""What is not finite stops training, says where it came from and can be run again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from errors import ConfigError
from stages.train.not_finite import replay
from tests.stages.train.tiny_run import checkpoints_of

PROJECT = Path(__file__).parents[3]

# Keras 3.15 converts variables in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_poisoned_batch_stops_with_its_example_and_is_reproduced(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.stages.train.tiny_run", "--poison-at", "5"]
    stopped = subprocess.run(
        [*command, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 1
    said = stopped.stderr
    assert "the loss of param" in said and "became NaN or infinite at step 4" in said
    # Only the poisoned one of the two parametric examples, with its row and picture.
    where = re.search(r"where: (\S+) train row (\d+) \(train/(\d+)\.jpg\)\n", said)
    assert where is not None and where[2] == where[3], said
    assert where[1] in ("agora", "behave")

    path = tmp_path / "not-finite-step-4.npz"
    assert f"cli.py train --replay {path}" in said
    from tests.stages.train.tiny_run import use_quick_network

    use_quick_network()
    found = replay(path)
    assert not found.is_finite
    assert np.isnan(found.terms["loss_param"]) and np.isfinite(found.terms["loss_kp3d"])
    assert found.step == 4 and found.broken_weights
    assert found.examples[0].startswith(f"{where[1]} train row {where[2]}")
    assert len(found.examples) == 5
    # Nothing of it got into a checkpoint.
    (checkpoint,) = checkpoints_of(tmp_path)
    assert checkpoint.step == 3


def test_another_file_cannot_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, batch=np.zeros(3))
    with pytest.raises(ConfigError, match="not a batch that a training run has saved"):
        replay(path)
