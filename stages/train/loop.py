"""The training loop: steps, learning curve, checkpoints, and exact continuation after a kill."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from errors import ConfigError
from stages.train import not_finite
from stages.train.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from stages.train.curve import LearningCurve
from stages.train.devices import Division, distribute, is_chief
from stages.train.loader import Batch, BatchStream
from stages.train.model import LocalizerModel, settings_as_mapping
from stages.train.optimizer import Optimizer
from stages.train.progress import Progress
from stages.train.schedule import renorm_limits
from stages.train.settings import TrainSettings
from stages.train.sources import Source
from stages.train.step import CompiledStep, StepResult, compile_step
from stages.train.supervision import DEVICE_ARRAYS
from stages.train.validation import Validation

LOG_PERIOD = 10  # steps between points of the learning curve


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a loop works on.

    Attributes:
        model: built, with its initial weights, in the strategy's scope.
        stream: training batches from the first on.
        sources: what the batches' `source` numbers mean.
        data_digest: of the stores; other data is another run.
        out: where checkpoints, the curve and the model go; all workers must share it.
        held_out: sources of the valid splits, for validation.
        strategy: the devices.
    """

    settings: TrainSettings
    model: LocalizerModel
    stream: BatchStream
    sources: Sequence[Source]
    data_digest: str
    out: Path
    held_out: Sequence[Source] = ()
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)

    @property
    def checkpoints(self) -> Path:
        """One folder per recipe and data: what changes the result begins anew, beside the old."""
        return self.out / "checkpoints" / _fingerprint(self.settings, self.data_digest)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes."""
        return is_chief()

    @property
    def division(self) -> Division:
        """How batches are cut for micro-batches and devices."""
        n_micro = self.settings.optimisation.grad_accum_steps
        return Division(self.stream.kinds, n_micro * self.strategy.num_replicas_in_sync)


def prepare_tensorflow(settings: TrainSettings) -> None:
    """Seed everything and, if asked for, give up speed for the same bits on every run."""
    optimisation = settings.optimisation
    keras.utils.set_random_seed(optimisation.seed)
    random.seed(optimisation.seed)
    if settings.data.deterministic:
        tf.config.experimental.enable_op_determinism()
    is_mixed = optimisation.dtype != "float32"
    if is_mixed and not tf.config.list_physical_devices("GPU"):
        tqdm.write(f"{optimisation.dtype} without a GPU: correct, but slower than float32")
    keras.config.set_dtype_policy(f"mixed_{optimisation.dtype}" if is_mixed else "float32")


def train(run: TrainingRun) -> Path:
    """Train to the last step, continuing from the newest intact checkpoint of these settings.

    Killed at any moment and started again with the same settings, it ends with the same weights,
    bit for bit on a CPU, as a run that was left alone. A step is one update of the weights, of
    `grad_accum_steps` micro-batches.

    Returns:
        The model file.

    Raises:
        ConfigError: the checkpoints hold another model, or a batch cannot be shared out.
        SourceError: a loss or gradient is not finite; step, kind and examples are named, and the
            batch is saved.
    """
    optimisation = run.settings.optimisation
    optimizer = Optimizer(run.model, optimisation)
    division = run.division
    train_step = compile_step(
        run.model, optimizer, strategy=run.strategy, division=division, seed=optimisation.seed
    )
    validate = None
    if optimisation.validate_period is not None:
        validate = Validation(run.model, run.held_out, settings=run.settings)
    curve = LearningCurve(
        run.out / "curve", tensorboard=run.out / "tensorboard", is_written=run.is_chief
    )
    step = _resume(run, optimizer, curve)
    last = optimisation.stop_step or optimisation.required_training_steps
    progress = Progress(
        total=last, initial=step, batch_size=run.stream.batch_size, is_shown=run.is_chief
    )
    while step < last:
        _move_renorm_limits(run.model, step)
        with progress.waiting():
            batch = next(run.stream)
        rates = optimizer.rates(step)
        result = _step(run, optimizer, train_step, batch, division=division, step=step, rates=rates)
        step += 1
        progress.step()
        is_validated = validate is not None and (
            step % (optimisation.validate_period or 1) == 0 or step == last
        )
        if step % LOG_PERIOD == 0 or step == last or is_validated:
            values = _curve_values(result, rates[0])
            if optimisation.dynamic_loss_scale:
                values["loss_scale"] = float(optimizer.loss_scale)
            if validate is not None and is_validated:
                values |= validate(step)
            curve.append(step, values)
            progress.show(values)
        if step % optimisation.checkpoint_period == 0 or step == last:
            _save(run, optimizer, curve, step)
    progress.close()
    optimizer.finish()
    path = run.out / "model.keras"
    if run.is_chief:
        _save_model(run.model, path)
    return path


def _step(
    run: TrainingRun,
    optimizer: Optimizer,
    train_step: CompiledStep,
    batch: Batch,
    *,
    division: Division,
    step: int,
    rates: list[float],
) -> StepResult:
    """All micro-batches of a step; what the last one says.

    Raises:
        SourceError: something is not finite.
    """
    optimisation = run.settings.optimisation
    n_micro = optimisation.grad_accum_steps
    may_skip = optimizer.may_skip
    # Towards the end, if asked for, the network is tuned as it will be used.
    until_last = optimisation.required_training_steps - step
    for micro in range(n_micro):
        is_last = micro == n_micro - 1
        part = distribute(run.strategy, batch, division=division, names=DEVICE_ARRAYS, micro=micro)
        result = train_step(
            part,
            step,
            rates,
            is_last=is_last,
            batch_statistics=until_last > optimisation.finetune_in_inference_mode,
        )
        if bool(result.was_applied):
            continue
        broken = not_finite.broken_terms(result)
        if may_skip and broken == ["the gradient"]:
            continue  # the loss scale was too large, and is now smaller
        not_finite.stop(
            broken,
            batch,
            model=run.model,
            kinds=run.stream.kinds,
            sources=run.sources,
            settings=run.settings,
            step=step,
            is_chief=run.is_chief,
        )
    return result


def _resume(run: TrainingRun, optimizer: Optimizer, curve: LearningCurve) -> int:
    """Load the newest intact checkpoint into everything; the number of completed steps."""
    checkpoint, damaged = newest_checkpoint(run.checkpoints)
    for path in damaged:
        tqdm.write(f"{path} was cut or altered; continuing from the checkpoint before it")
    step = 0 if checkpoint is None else checkpoint.step
    _require_agreement(run, step)
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


def _require_agreement(run: TrainingRun, step: int) -> None:
    """All workers must have found the same checkpoint; nobody goes on before all have looked."""
    n_replicas = run.strategy.num_replicas_in_sync
    if n_replicas == 1:
        return

    @tf.function(autograph=False)
    def mean(value: tf.Tensor) -> tf.Tensor:
        def of_replica(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

        return run.strategy.experimental_local_results(run.strategy.run(of_replica, (value,)))[0]

    total = float(mean(tf.constant(step, tf.float64)))
    if total != step * n_replicas:
        raise ConfigError(
            "the workers have found different checkpoints",
            where=str(run.checkpoints),
            cause="`train.data.out` is not one folder that all of them share",
        )


def _save(run: TrainingRun, optimizer: Optimizer, curve: LearningCurve, step: int) -> None:
    if not run.is_chief:
        return
    variables = _variables(run.model, optimizer)
    save_checkpoint(
        run.checkpoints,
        Checkpoint(
            step,
            {name: variable.numpy() for name, variable in variables.items()},
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
    for name in ("stop_step", "checkpoint_period", "checkpoints_kept", "validate_period"):
        del mapping["optimisation"][name]
    del mapping["batch"]["batch_size_test"]
    record = json.dumps([mapping, data_digest], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def _move_renorm_limits(model: LocalizerModel, step: int) -> None:
    rmax, dmax = renorm_limits(step, settings=model.settings.norm)
    for layer in model.renormalizations:
        layer.set_limits(rmax=float(rmax), dmax=float(dmax))


def _curve_values(result: StepResult, rate: float) -> dict[str, float]:
    values = {f"loss_{kind}": float(value) for kind, value in result.kinds.items()}
    return {
        "loss": float(result.total),
        **values,
        "regularization": float(result.regularization),
        "mean_error_mm": float(result.mean_error_mm),
        "gradient_norm": float(result.gradient_norm),
        "learning_rate": rate,
    }


def _save_model(model: LocalizerModel, path: Path) -> None:
    temporary = path.with_name(f"{path.stem}-tmp.keras")
    model.save(temporary)
    temporary.replace(path)
