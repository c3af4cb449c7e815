"""Training: stores in, localizer model out. Modules that need TensorFlow are imported late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.train.settings import TrainSettings


def run(settings: TrainSettings, *, stores: Sequence[Path] = ()) -> Path:
    """Train a model, or go on where a killed run stopped; see `stages.train.launch.launch`.

    TensorFlow is imported here, not before.

    Args:
        stores: paths of stores to train on; by default those that the settings name.
    """
    from stages.train.launch import launch, launch_on_paths

    return launch_on_paths(settings, stores) if stores else launch(settings)
