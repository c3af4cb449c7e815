"""The training loop: steps, learning curve, checkpoints, and exact continuation after a kill."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from errors import ConfigError, SourceError
from stages.train.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from stages.train.curve import LearningCurve
from stages.train.loader import Batch, BatchStream
from stages.train.model import LocalizerModel, settings_as_mapping
from stages.train.optimizer import Optimizer, build_optimizer
from stages.train.schedule import renorm_limits
from stages.train.settings import TrainSettings
from stages.train.sources import Source
from stages.train.supervision import DEVICE_ARRAYS, StepLosses, step_losses

LOG_PERIOD = 10  # steps between points of the learning curve


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a loop works on.

    Attributes:
        model: built, with its initial weights.
        stream: training batches from the first on.
        sources: what the batches' `source` numbers mean.
        data_digest: of the stores; other data is another run.
        out: where checkpoints, the curve and the model go.
    """

    settings: TrainSettings
    model: LocalizerModel
    stream: BatchStream
    sources: Sequence[Source]
    data_digest: str
    out: Path

    @property
    def checkpoints(self) -> Path:
        """One folder per recipe and data: what changes the result begins anew, beside the old."""
        return self.out / "checkpoints" / _fingerprint(self.settings, self.data_digest)


def prepare_tensorflow(settings: TrainSettings) -> None:
    """Seed everything and, if asked for, give up speed for the same bits on every run."""
    optimisation = settings.optimisation
    keras.utils.set_random_seed(optimisation.seed)
    random.seed(optimisation.seed)
    if settings.data.deterministic:
        tf.config.experimental.enable_op_determinism()
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    mixed = optimisation.dtype != "float32" and has_gpu
    keras.config.set_dtype_policy(f"mixed_{optimisation.dtype}" if mixed else "float32")


def train(run: TrainingRun) -> Path:
    """Train to the last step, continuing from the newest intact checkpoint of these settings.

    Killed at any moment and started again with the same settings, it ends with the same weights,
    bit for bit on a CPU, as a run that was left alone.

    Returns:
        The model file.

    Raises:
        ConfigError: the checkpoints hold another model.
        SourceError: a loss or gradient is not finite; step, kind and examples are named, and the
            batch is saved.
    """
    settings = run.settings
    optimisation = settings.optimisation
    optimizer = build_optimizer(run.model, optimisation)
    curve = LearningCurve(run.out / "curve")
    step = _resume(run, optimizer, curve)
    last = optimisation.stop_step or optimisation.required_training_steps
    train_step = _compiled_step(run, optimizer)
    progress = tqdm(total=last, initial=step, unit="step", desc="train", dynamic_ncols=True)
    timer = _Timer(run.stream.batch_size)
    while step < last:
        optimizer_step = step // optimisation.grad_accum_steps
        rate = optimizer.set_rates(optimizer_step)
        _move_renorm_limits(run.model, step)
        with timer.waiting():
            batch = next(run.stream)
        device_batch = {name: tf.convert_to_tensor(batch[name]) for name in DEVICE_ARRAYS}
        losses, gradient_norm = train_step(
            device_batch, tf.constant(step, tf.int64), tf.constant(optimizer_step, tf.int64)
        )
        _require_finite(run, losses, gradient_norm, batch, step=step)
        step += 1
        progress.update()
        if step % LOG_PERIOD == 0 or step == last:
            values = _curve_values(losses, gradient_norm, rate)
            curve.append(step, values)
            progress.set_postfix(timer.summary(values), refresh=False)
        if step % optimisation.checkpoint_period == 0 or step == last:
            _save(run, optimizer, curve, step)
    progress.close()
    optimizer.finish()
    path = run.out / "model.keras"
    _save_model(run.model, path)
    return path


def _compiled_step(run: TrainingRun, optimizer: Optimizer):  # type: ignore[no-untyped-def]
    variables = optimizer.trainable_variables
    seed, kinds = run.settings.optimisation.seed, run.stream.kinds

    # Without AutoGraph: nothing here needs it, and it takes most of the time to the first step.
    @tf.function(autograph=False)
    def train_step(
        batch: Mapping[str, tf.Tensor], step: tf.Tensor, optimizer_step: tf.Tensor
    ) -> tuple[StepLosses, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = step_losses(
                run.model,
                batch,
                kinds=kinds,
                step=step,
                optimizer_step=optimizer_step,
                seed=seed,
            )
            scaled = losses.total * optimizer.loss_scale
        gradients = tape.gradient(
            scaled, [v.value for v in variables], unconnected_gradients="zero"
        )
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        norm = tf.linalg.global_norm(gradients) / optimizer.loss_scale
        # A step that has to be stopped must not leave its mark on the weights first.
        tf.cond(
            tf.math.is_finite(norm) & tf.math.is_finite(losses.total),
            lambda: _applied(optimizer, gradients),
            lambda: tf.constant(False),
        )
        return losses, norm

    return train_step


def _applied(optimizer: Optimizer, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Apply them, and say so: both branches of a condition must return something."""
    optimizer.apply(gradients)
    return tf.constant(True)


def _resume(run: TrainingRun, optimizer: Optimizer, curve: LearningCurve) -> int:
    """Load the newest intact checkpoint into everything; the number of completed steps."""
    checkpoint, damaged = newest_checkpoint(run.checkpoints)
    for path in damaged:
        tqdm.write(f"{path} was cut or altered; continuing from the checkpoint before it")
    if checkpoint is None:
        curve.restart([])
        return 0
    variables = _variables(run.model, optimizer)
    if set(variables) != set(checkpoint.arrays):
        raise ConfigError(
            "the checkpoints hold another model's variables",
            where=str(run.checkpoints),
            cause="they were written by another version of poseshard",
            next_command=f"remove {run.checkpoints}",
        )
    for name, variable in variables.items():
        variable.assign(checkpoint.arrays[name])
    run.stream.set_state(checkpoint.record["stream"])
    curve.restart(checkpoint.record["curve"])
    return checkpoint.step


def _save(run: TrainingRun, optimizer: Optimizer, curve: LearningCurve, step: int) -> None:
    variables = _variables(run.model, optimizer)
    save_checkpoint(
        run.checkpoints,
        Checkpoint(
            step,
            {name: np.asarray(variable) for name, variable in variables.items()},
            {
                "stream": run.stream.get_state(),
                "curve": curve.rows,
            },
        ),
        kept=run.settings.optimisation.checkpoints_kept,
    )
    curve.flush()


def _variables(model: LocalizerModel, optimizer: Optimizer) -> dict[str, Any]:
    """Everything that a step changes, by a stable name."""
    variables = {f"model/{i:04d}/{v.name}": v for i, v in enumerate(model.variables)}
    state = {f"optimizer/{i:04d}/{v.name}": v for i, v in enumerate(optimizer.variables)}
    return variables | state


def _fingerprint(settings: TrainSettings, data_digest: str) -> str:
    """Digest of the data and of all settings that change the result."""
    mapping = settings_as_mapping(settings)
    for name in ("out", "stores", "body", "loader_threads", "prefetch_batches"):
        del mapping["data"][name]
    for name in ("stop_step", "checkpoint_period", "checkpoints_kept"):
        del mapping["optimisation"][name]
    record = json.dumps([mapping, data_digest], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def _move_renorm_limits(model: LocalizerModel, step: int) -> None:
    rmax, dmax = renorm_limits(step, settings=model.settings.norm)
    for layer in model.renormalizations:
        layer.set_limits(rmax=float(rmax), dmax=float(dmax))


def _require_finite(
    run: TrainingRun, losses: StepLosses, norm: tf.Tensor, batch: Batch, *, step: int
) -> None:
    terms = {f"the loss of {kind}": value for kind, value in losses.kinds.items()}
    terms |= {"the regularisation": losses.regularization, "the gradient": norm}
    broken = [name for name, value in terms.items() if not np.isfinite(value.numpy())]
    if not broken:
        return
    run.out.mkdir(parents=True, exist_ok=True)
    path = run.out / f"not-finite-step-{step}.npz"
    np.savez_compressed(path, allow_pickle=False, **batch)
    kinds = [kind for kind in run.stream.kinds if f"the loss of {kind.value}" in broken]
    parts = [run.stream.kinds[kind] for kind in kinds] or [slice(0, run.stream.batch_size)]
    examples = [
        f"{run.sources[source].name}:{row}"
        for part in parts
        for source, row in zip(batch["source"][part], batch["row"][part], strict=True)
    ]
    raise SourceError(
        f"{' and '.join(broken)} became NaN or infinite at step {step}",
        where=f"{path} (the batch); examples {', '.join(examples)}",
        cause="an annotation far out of range, or a learning rate that is too high",
        next_command=f"python cli.py view {examples[0].split('/')[0]} --index "
        f"{examples[0].split(':')[1]}",
    )


def _curve_values(losses: StepLosses, norm: tf.Tensor, rate: float) -> dict[str, float]:
    values = {f"loss_{kind}": float(value) for kind, value in losses.kinds.items()}
    return {
        "loss": float(losses.total),
        **values,
        "regularization": float(losses.regularization),
        "mean_error_mm": float(losses.mean_error_mm),
        "gradient_norm": float(norm),
        "learning_rate": rate,
    }


def _save_model(model: LocalizerModel, path: Path) -> None:
    temporary = path.with_name(f"{path.stem}-tmp.keras")
    model.save(temporary)
    temporary.replace(path)


class _Timer:
    """Examples per second and the share of time spent waiting for data."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._waited = 0.0
        self._steps = 0
        self._started = time.perf_counter()

    def waiting(self) -> _Timer:
        return self

    def __enter__(self) -> None:
        self._wait_began = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._waited += time.perf_counter() - self._wait_began
        self._steps += 1

    def summary(self, values: Mapping[str, float]) -> dict[str, str]:
        """What the bar says; starts counting anew."""
        elapsed = time.perf_counter() - self._started
        shown = {
            "loss": f"{values['loss']:.3f}",
            "mm": f"{values['mean_error_mm']:.0f}",
            "ex/s": f"{self._batch_size * self._steps / elapsed:.0f}",
            "wait": f"{100 * self._waited / elapsed:.0f}%",
        }
        self._waited, self._steps, self._started = 0.0, 0, time.perf_counter()
        return shown
