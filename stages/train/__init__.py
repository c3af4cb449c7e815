"""Training: stores in, localizer model out. Modules that need TensorFlow are imported late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.train.not_finite import Replay
    from stages.train.settings import TrainSettings


def run(settings: TrainSettings, *, stores: Sequence[Path] = ()) -> Path:
    """Train a model, or go on where a killed run stopped; see `stages.train.launch.launch`.

    Beside the model file it writes the SavedModel for use elsewhere; see `stages.train.export`.

    TensorFlow is imported here, not before.

    Args:
        stores: paths of stores to train on; by default those that the settings name.
    """
    from stages.train.devices import is_chief
    from stages.train.export import export_file
    from stages.train.launch import launch, launch_on_paths

    model = launch_on_paths(settings, stores) if stores else launch(settings)
    if is_chief():
        export_file(model)
    return model


def replay(path: Path) -> Replay:
    """Run the step that stopped a training run once more; see `stages.train.not_finite.replay`."""
    from stages.train.not_finite import replay as run_again

    return run_again(path)


def export(folder: Path) -> Path:
    """Write the SavedModel of the model in a folder; see `stages.train.export`."""
    from stages.train.export import export_file

    return export_file(folder / "model.keras")
