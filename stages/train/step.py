"""One compiled training step, on one device or on several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from stages.train.devices import Division
from stages.train.model import LocalizerModel
from stages.train.optimizer import Optimizer
from stages.train.supervision import step_losses


class StepResult(NamedTuple):
    """Scalars of a micro-batch, of all devices together.

    Attributes:
        total: what is minimised.
        kinds: each kind's loss, unweighted.
        regularization: of the layers.
        mean_error_mm: of the 3D kinds, means aligned.
        gradient_norm: without the loss scale; of the whole step where it was applied.
        was_applied: whether the weights moved.
    """

    total: tf.Tensor
    kinds: Mapping[str, tf.Tensor]
    regularization: tf.Tensor
    mean_error_mm: tf.Tensor
    gradient_norm: tf.Tensor
    was_applied: tf.Tensor


CompiledStep = Callable[..., StepResult]


def compile_step(
    model: LocalizerModel,
    optimizer: Optimizer,
    *,
    strategy: tf.distribute.Strategy,
    division: Division,
    seed: int,
) -> CompiledStep:
    """The step as a function of (batch, step, rates, is_last, batch_statistics).

    Of a step's micro-batches the last one (`is_last`, a Python bool) updates the weights, with the
    gradients of all. A step whose loss or gradient is not finite leaves weights and statistics as
    they were, so that it can be looked at.

    Args:
        division: how the whole batch was cut.
        seed: of flips and mixing weights.
    """
    kinds = division.kinds
    n_whole = max(part.stop for part in division.whole.values())
    n_drawn = None if division.n_parts == 1 else n_whole
    statistics = list(model.non_trainable_variables)
    # Moments and the like, not the state of random generators.
    averaged = [v for v in statistics if keras.backend.is_float_dtype(v.dtype)]

    def micro_step(
        batch: Mapping[str, tf.Tensor],
        step: tf.Tensor,
        rates: tf.Tensor,
        is_last: bool,
        batch_statistics: bool,
    ) -> tuple[tf.Tensor, ...]:
        before = [tf.identity(v.value) for v in statistics]
        scale = optimizer.loss_scale
        weights = [weight.value for weight in optimizer.weights]
        with tf.GradientTape() as tape:
            losses = step_losses(
                model,
                batch,
                kinds=kinds,
                step=step,
                optimizer_step=step,
                seed=seed,
                n_drawn=n_drawn,
                batch_statistics=batch_statistics,
            )
            scaled = losses.total * scale
        gradients = tape.gradient(scaled, weights, unconnected_gradients="zero")
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        names = list(losses.kinds)
        terms = [losses.total, losses.regularization, losses.mean_error_mm]
        terms += [losses.kinds[name] for name in names]
        gradients, terms = _summed(gradients, terms)
        _average(averaged)
        if is_last:
            gradients = optimizer.total(gradients, scale=scale)
            norm = tf.linalg.global_norm(gradients)
        else:
            norm = tf.linalg.global_norm(gradients) / scale
        is_finite = tf.math.is_finite(norm) & tf.math.is_finite(terms[0])

        def accept() -> tf.Tensor:
            if is_last:
                optimizer.apply(gradients, rates=rates)
            else:
                optimizer.accumulate(gradients)
            return tf.constant(True)

        def refuse() -> tf.Tensor:
            for variable, value in zip(statistics, before, strict=True):
                variable.value.assign(value)
            return tf.constant(False)

        was_applied = tf.cond(is_finite, accept, refuse)
        if is_last:
            optimizer.finish_step(was_applied)
        return (*terms, norm, was_applied)

    # Without AutoGraph: nothing here needs it, and it takes most of the time to the first step.
    @tf.function(autograph=False)
    def compiled(
        batch: Mapping[str, Any],
        step: tf.Tensor,
        rates: tf.Tensor,
        is_last: bool,
        batch_statistics: bool,
    ) -> tuple[tf.Tensor, ...]:
        results = strategy.run(micro_step, args=(batch, step, rates, is_last, batch_statistics))
        # All devices say the same.
        return tuple(strategy.experimental_local_results(result)[0] for result in results)

    def call(
        batch: Mapping[str, Any],
        step: int,
        rates: list[float],
        *,
        is_last: bool = True,
        batch_statistics: bool = True,
    ) -> StepResult:
        total, regularization, error, *by_kind, norm, was_applied = compiled(
            batch,
            tf.constant(step, tf.int64),
            tf.constant(rates, tf.float32),
            is_last,
            batch_statistics,
        )
        named = dict(zip((kind.value for kind in kinds), by_kind, strict=True))
        return StepResult(total, named, regularization, error, norm, was_applied)

    return call


def _summed(gradients: list[Any], terms: list[Any]) -> tuple[list[Any], list[Any]]:
    """Over all devices."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return gradients, terms
    # `identity` puts the tensors on this device, which the reduction asks for.
    values = [tf.identity(value) for value in (*gradients, tf.stack(terms))]
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
    return summed[:-1], tf.unstack(summed[-1])


def _average(statistics: list[Any]) -> None:
    """Let every device have the mean of what the devices' running statistics became."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1 or not statistics:
        return
    values = [tf.identity(variable.value) for variable in statistics]
    means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
    for variable, mean in zip(statistics, means, strict=True):
        variable.value.assign(mean)
