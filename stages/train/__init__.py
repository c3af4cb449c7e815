"""Training: stores in, localizer model out. Modules that need TensorFlow are imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.train.settings import TrainSettings


def run(settings: TrainSettings) -> Path:
    """Train a model, or go on where a killed run stopped; see `stages.train.launch.launch`.

    TensorFlow is imported here, not before.
    """
    from stages.train.launch import launch

    return launch(settings)
