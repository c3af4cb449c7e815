"""What we compute is what the published reference computes, values and gradients.

Runs every npz file of the folder named by POSESHARD_GOLDEN (default: shared/golden beside the
repository) through the check its prefix names.
"""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path

import pytest

from tests.golden.comparison import SHARED_FOLDER, Golden

FOLDER = Path(os.environ.get("POSESHARD_GOLDEN", SHARED_FOLDER))
FILES = sorted(FOLDER.glob("*.npz"))

# Prefix: module of tests.golden and function. Modules are imported when needed: TensorFlow is slow.
CHECKS = {
    "batch_renorm": "network.check_batch_renormalization",
    "canonical_locs": "network.check_canonical_joints",
    "crop_posepile": "crops.check_offline_crops",
    "distribute_batch": "recipe.check_source_counts",
    "field": "network.check_field",
    "heads": "network.check_heads",
    "learning_rate": "recipe.check_schedules",
    "loss2d_gt": "network.check_loss_with_2d_truth",
    "loss3d_gt": "network.check_loss_with_3d_truth",
    "metrics_geom": "network.check_metrics_and_geometry",
    "my_norm": "network.check_robust_norm",
    "reconstruct_absolute": "network.check_reconstruction",
    "traincrop": "crops.check_training_crops",
}


class UnreadArraysWarning(UserWarning):
    """A golden file holds arrays that no check knows."""


@pytest.mark.filterwarnings("default::tests.test_golden.UnreadArraysWarning")
@pytest.mark.skipif(not FILES, reason=f"no golden files in {FOLDER}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_agrees_with_the_reference(path: Path) -> None:
    prefix = path.name.partition("__")[0]
    assert prefix in CHECKS, f"{path.name}: no check for the prefix {prefix!r}"
    module, _, name = CHECKS[prefix].partition(".")
    golden = Golden(path)
    getattr(importlib.import_module(f"tests.golden.{module}"), name)(golden)
    print(golden.conclude())
    if unread := golden.unread():
        # Of the files that we know, every array is read. Another may hold more than we can name.
        message = f"all that was compared agrees, but nobody reads {dict(unread)}"
        assert path.parent.resolve() != SHARED_FOLDER, message
        warnings.warn(UnreadArraysWarning(f"{path.name}: {message}"), stacklevel=1)
