"""Training: stores in, localizer model out. Modules that need TensorFlow are imported late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cache.reader import Store
from errors import ConfigError

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
    # Whatever is missing is said before TensorFlow takes its seconds to be imported.
    data = settings.data
    for store in stores or [data.stores / f"{name}.zarr" for name in data.datasets]:
        Store.open(store)

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
    model = require_model(folder / "model.keras")

    from stages.train.export import export_file

    return export_file(model)


def require_model(path: Path) -> Path:
    """The path itself.

    Raises:
        ConfigError: there is no file.
    """
    if not path.is_file():
        raise ConfigError(
            "there is no trained model",
            where=str(path),
            cause="`train` was not run yet, or wrote to another folder",
            next_command="cli.py train, or name the folder of a model by --model",
        )
    return path
