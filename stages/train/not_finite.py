"""A loss or gradient that is not finite: say where it came from, and save what reproduces it.

`not-finite-step-N.npz` holds the batch, the model's weights before the step and the recipe, so
that `cli.py train --replay FILE` needs neither the stores nor the checkpoints.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from errors import ConfigError, SourceError
from pipeline.schema import Kind
from stages.train.loader import Batch
from stages.train.model import LocalizerModel
from stages.train.settings import TrainSettings
from stages.train.sources import Source
from stages.train.step import StepResult
from stages.train.supervision import DEVICE_ARRAYS, step_losses

_LISTED = 8  # examples named in the message; the file holds all


@dataclass(frozen=True, slots=True)
class Replay:
    """What a saved batch does to the weights it met.

    Attributes:
        step: the training step it belonged to.
        terms: each loss term and the gradient's norm, by name.
        broken_weights: paths of the weights whose gradient is not finite.
        examples: who was in the batch, those that stand out first.
    """

    step: int
    terms: Mapping[str, float]
    broken_weights: Sequence[str]
    examples: Sequence[str]

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(list(self.terms.values())).all()) and not self.broken_weights


def broken_terms(result: StepResult) -> list[str]:
    """Names of what is not finite, in words."""
    terms = {f"the loss of {kind}": value for kind, value in result.kinds.items()}
    terms |= {"the regularisation": result.regularization, "the gradient": result.gradient_norm}
    return [name for name, value in terms.items() if not np.isfinite(float(value))]


def stop(
    broken: Sequence[str],
    batch: Batch,
    *,
    model: LocalizerModel,
    kinds: Mapping[Kind, slice],
    sources: Sequence[Source],
    settings: TrainSettings,
    step: int,
    is_chief: bool = True,
) -> NoReturn:
    """Save the batch and raise.

    Raises:
        SourceError: always; with the step, the kinds, and the examples: dataset, split, row and
            path of the picture.
    """
    chosen = [kind for kind in kinds if f"the loss of {kind.value}" in broken]
    slots = [
        slot for kind in chosen or kinds for slot in range(kinds[kind].start, kinds[kind].stop)
    ]
    suspects = [slot for slot in slots if not _is_sane(batch, slot)] or slots
    examples = [_identity(batch, slot, sources) for slot in suspects]
    path = settings.data.out / f"not-finite-step-{step}.npz"
    if is_chief:
        rest = [slot for slot in range(len(batch["image"])) if slot not in set(suspects)]
        _save(
            path,
            batch,
            model=model,
            record={
                "step": step,
                "seed": settings.optimisation.seed,
                "broken": list(broken),
                "kinds": {kind.value: [part.start, part.stop] for kind, part in kinds.items()},
                "model": model.get_config(),
                "examples": examples + [_identity(batch, slot, sources) for slot in rest],
            },
        )
    listed = "; ".join(examples[:_LISTED])
    if len(examples) > _LISTED:
        listed += f"; and {len(examples) - _LISTED} more of the same kind"
    raise SourceError(
        f"{' and '.join(broken)} became NaN or infinite at step {step}",
        where=f"{listed}\n         the batch: {path}",
        cause="an annotation far out of range, or a learning rate that is too high",
        next_command=f"cli.py train --replay {path}",
    )


def replay(path: Path) -> Replay:
    """Run the step that stopped a training run once more, from its file alone.

    Raises:
        ConfigError: the file is missing or not one that `stop` wrote.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            record = json.loads(archive["record"].tobytes())
            batch = {name: archive[f"batch/{name}"] for name in DEVICE_ARRAYS}
            model = LocalizerModel.from_config(record["model"])
            for i, variable in enumerate(model.variables):
                variable.assign(archive[f"model/{i}"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        # NumPy takes what is no archive for a pickle, and advises to load it unsafely.
        is_archive = not path.is_file() or zipfile.is_zipfile(path)
        raise ConfigError(
            "this is not a batch that a training run has saved",
            where=str(path),
            cause=str(error) if is_archive else "it is no NumPy archive",
            next_command="give the `not-finite-step-...npz` that the stopped run named",
        ) from error
    kinds = {Kind(name): slice(*bounds) for name, bounds in record["kinds"].items()}
    step = tf.constant(record["step"], tf.int64)
    with tf.GradientTape() as tape:
        losses = step_losses(
            model,
            {name: tf.convert_to_tensor(value) for name, value in batch.items()},
            kinds=kinds,
            step=step,
            optimizer_step=step,
            seed=record["seed"],
        )
    weights = list(model.trainable_variables)
    gradients = tape.gradient(
        losses.total, [weight.value for weight in weights], unconnected_gradients="zero"
    )
    finite = [bool(tf.reduce_all(tf.math.is_finite(gradient))) for gradient in gradients]
    terms = {f"loss_{kind}": float(value) for kind, value in losses.kinds.items()}
    terms["regularization"] = float(losses.regularization)
    terms["gradient_norm"] = float(tf.linalg.global_norm(gradients))
    broken = [w.path for w, is_finite in zip(weights, finite, strict=True) if not is_finite]
    return Replay(record["step"], terms, broken, record["examples"])


def _is_sane(batch: Batch, slot: int) -> bool:
    """Whether an example's own numbers are finite where they count."""
    valid = batch["point_validity"][slot]
    points = (batch[name][slot][valid] for name in ("coords3d", "coords2d", "canonical_points"))
    return all(np.isfinite(values).all() for values in (*points, batch["intrinsics"][slot]))


def _identity(batch: Batch, slot: int, sources: Sequence[Source]) -> str:
    source, row = sources[int(batch["source"][slot])], int(batch["row"][slot])
    (path,) = source.split.blobs("image_path", np.array([row]))
    return f"{source.dataset} {source.split_name} row {row} ({path.decode(errors='replace')})"


def _save(path: Path, batch: Batch, *, model: LocalizerModel, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"batch/{name}": value for name, value in batch.items()}
    arrays |= {f"model/{i}": np.asarray(v) for i, v in enumerate(model.variables)}
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, record=text, **arrays)
    temporary.replace(path)
