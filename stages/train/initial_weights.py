"""Weights that a run begins with: another run's model, fitted to other datasets or the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

from errors import ConfigError
from stages.train.model import LocalizerModel


def take_initial_weights(model: LocalizerModel, path: Path) -> None:
    """Take the weights of a trained model (`model.keras`), in place.

    Backbone, link layer and field must be alike. Of the canonical joints those that both models
    know, by dataset and name, keep what was learned; the others stay where they begin.

    Raises:
        ConfigError: the file is missing, is not a localizer, or its layers do not fit.
    """
    where = str(path)
    next_command = "set train.backbone.init_path to the model.keras of a run with equal layers"
    if not path.is_file():
        raise ConfigError("there is no such model", where=where, next_command=next_command)
    try:
        other = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(
            "the initial model cannot be read",
            where=where,
            cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
            next_command=next_command,
        ) from error
    if not isinstance(other, LocalizerModel):
        raise ConfigError(
            "the initial model is not a localizer", where=where, next_command=next_command
        )
    for name in ("backbone", "link", "link_norm", "field"):
        ours, theirs = getattr(model, name), getattr(other, name)
        shapes = [[tuple(w.shape) for w in layer.weights] for layer in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"the {name} of the initial model has other weights than the one to be trained",
                where=where,
                cause="the two were made with other settings",
                next_command=next_command,
            )
        ours.set_weights(theirs.get_weights())
    _take_offsets(model, other)


def _take_offsets(model: LocalizerModel, other: LocalizerModel) -> None:
    def names(of: LocalizerModel, group: str) -> list[tuple[str, str]]:
        table = of.table
        all_names = [
            (dataset, name)
            for dataset, joints in zip(table.datasets, table.names, strict=True)
            for name in joints
        ]
        return [all_names[i] for i in getattr(of.canonical_joints.symmetry, group)]

    for group in ("left", "center"):
        ours = getattr(model.canonical_joints, f"{group}_offsets")
        theirs = getattr(other.canonical_joints, f"{group}_offsets").numpy()
        known = {name: i for i, name in enumerate(names(other, group))}
        offsets = ours.numpy().copy()
        for i, name in enumerate(names(model, group)):
            if name in known:
                offsets[i] = theirs[known[name]]
        ours.assign(offsets)
