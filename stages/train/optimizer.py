"""Adam with decoupled decay, moving average, max-norm, loss scaling and gradient accumulation.

Written out rather than taken from Keras, whose optimiser counts accumulated micro-batches as steps
of the moving average, and updates in a way that a replica cannot do on its own.

Everything here is called from inside a replica: with several of them each updates its own copy of
the weights, all by the same, summed gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from stages.train.model import LocalizerModel
from stages.train.schedule import (
    backbone_learning_rate,
    learning_rate,
    weight_decay_coefficient,
)
from stages.train.settings import OptimisationSettings

# Of a dynamic loss scale: doubled after so many good steps, halved at a bad one.
SCALE_GROWTH_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Group:
    """Variables that share a learning rate.

    Attributes:
        name: for the log.
        paths: the variables' paths.
        rate: the learning rate after so many optimiser steps.
    """

    name: str
    paths: frozenset[str]
    rate: Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Slots:
    """A trainable weight and what the optimiser keeps beside it."""

    weight: Any
    group: int
    is_decayed: bool
    momentum: tf.Variable
    velocity: tf.Variable
    average: tf.Variable | None
    accumulated: tf.Variable | None


class Optimizer:
    """The published optimiser of all trainable weights.

    Decay spares the learned canonical joints and, unless `decay_field`, the whole field.
    """

    def __init__(self, model: LocalizerModel, settings: OptimisationSettings) -> None:
        self.groups = _groups(model, settings)
        self._settings = settings
        self._decay = weight_decay_coefficient(settings)
        undecayed = _paths(model.canonical_joints.trainable_variables)
        if not settings.decay_field:
            undecayed |= _paths(model.field.trainable_variables)
        self.slots = [self._slots(weight, undecayed) for weight in model.trainable_variables]
        self._updates = _state((), tf.int64, "updates")
        self._scale = _state((), tf.float32, "loss_scale", value=self._first_scale())
        self._good_steps = _state((), tf.int64, "good_steps")

    @property
    def weights(self) -> list[Any]:
        """The trainable weights, in the order in which `apply` wants their gradients."""
        return [slots.weight for slots in self.slots]

    @property
    def variables(self) -> list[tf.Variable]:
        """All that must be saved besides the weights."""
        kept = [self._updates, self._scale, self._good_steps]
        for slots in self.slots:
            kept += [slots.momentum, slots.velocity]
            kept += [slots.average] if slots.average is not None else []
        return kept

    @property
    def loss_scale(self) -> tf.Tensor:
        """What the loss is multiplied by before it is differentiated: float32 scalar."""
        return tf.convert_to_tensor(self._scale)

    @property
    def may_skip(self) -> bool:
        """Whether a gradient that is not finite only means that the loss scale was too large."""
        return self._settings.dynamic_loss_scale and float(self._scale.numpy()) > 1

    def rates(self, step: int) -> list[float]:
        """Each group's learning rate at an optimiser step."""
        return [group.rate(step) for group in self.groups]

    def accumulate(self, gradients: Sequence[tf.Tensor]) -> None:
        """Keep these gradients for the `apply` to come."""
        for slots, gradient in zip(self.slots, gradients, strict=True):
            if slots.accumulated is not None:
                slots.accumulated.assign_add(gradient)

    def total(self, gradients: Sequence[tf.Tensor], *, scale: tf.Tensor) -> list[tf.Tensor]:
        """The step's gradients: of all its micro-batches, with the loss scale taken off."""
        n_micro = self._settings.grad_accum_steps
        if n_micro > 1:
            gradients = [
                (slots.accumulated + gradient) / n_micro
                for slots, gradient in zip(self.slots, gradients, strict=True)
            ]
        return [gradient / scale for gradient in gradients]

    def apply(self, gradients: Sequence[tf.Tensor], *, rates: tf.Tensor) -> None:
        """One update; rates float32 (number of groups,)."""
        settings = self._settings
        count = tf.cast(self._updates + 1, tf.float32)
        powers = [tf.pow(beta, count) for beta in (settings.adam_beta_1, settings.adam_beta_2)]
        for slots, gradient in zip(self.slots, gradients, strict=True):
            rate = rates[slots.group]
            weight = slots.weight.value
            if slots.is_decayed:
                weight.assign(weight * (1 - self._decay * rate))
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=slots.momentum.handle,
                v=slots.velocity.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=settings.adam_beta_1,
                beta2=settings.adam_beta_2,
                epsilon=settings.adam_epsilon,
                grad=gradient,
            )
            self._constrain(slots)
            self._average(slots)
        self._updates.assign_add(1)

    def finish_step(self, was_applied: tf.Tensor) -> None:
        """Forget the step's micro-batches and move a dynamic loss scale."""
        for slots in self.slots:
            if slots.accumulated is not None:
                slots.accumulated.assign(tf.zeros_like(slots.accumulated))
        if not self._settings.dynamic_loss_scale:
            return
        good = tf.where(was_applied, self._good_steps + 1, tf.zeros_like(self._good_steps))
        grows = good >= SCALE_GROWTH_STEPS
        factor = tf.where(was_applied, tf.where(grows, 2.0, 1.0), 0.5)
        self._scale.assign(tf.maximum(self._scale * factor, 1.0))
        self._good_steps.assign(tf.where(grows, tf.zeros_like(good), good))

    def finish(self) -> None:
        """Replace the weights by their moving average, where one was kept."""
        for slots in self.slots:
            if slots.average is not None:
                slots.weight.assign(slots.average.numpy())

    def _constrain(self, slots: Slots) -> None:
        """Move the weight so much of the way to where its constraint allows it to be."""
        if slots.weight.constraint is None:
            return
        value = tf.convert_to_tensor(slots.weight.value)
        allowed = slots.weight.constraint(value)
        rate = self._settings.constraint_rate
        slots.weight.value.assign(allowed if rate == 1 else value + rate * (allowed - value))

    def _average(self, slots: Slots) -> None:
        if slots.average is None:
            return
        momentum = tf.where(self._updates > 0, self._settings.ema_momentum, 0.0)
        value = tf.convert_to_tensor(slots.weight.value)
        slots.average.assign(momentum * slots.average + (1 - momentum) * value)

    def _slots(self, weight: Any, undecayed: set[str]) -> Slots:
        settings = self._settings

        def beside(name: str) -> tf.Variable:
            return _state(weight.shape, tf.float32, f"{weight.path}/{name}")

        (group,) = (i for i, group in enumerate(self.groups) if weight.path in group.paths)
        return Slots(
            weight,
            group,
            is_decayed=weight.path not in undecayed,
            momentum=beside("momentum"),
            velocity=beside("velocity"),
            average=beside("average") if settings.ema_momentum < 1 else None,
            accumulated=beside("accumulated") if settings.grad_accum_steps > 1 else None,
        )

    def _first_scale(self) -> float:
        return self._settings.loss_scale if self._settings.dtype == "float16" else 1.0


def _groups(model: LocalizerModel, settings: OptimisationSettings) -> tuple[Group, ...]:
    rest = _paths(model.trainable_variables)
    apart = []
    if settings.dual_finetune_lr:
        paths = _paths(model.backbone.trainable_variables)
        apart.append(
            Group(
                "backbone",
                frozenset(paths),
                lambda step: float(backbone_learning_rate(step, settings=settings)),
            )
        )
        rest -= paths
    if settings.field_lr_factor != 1:
        paths = _paths(model.field.trainable_variables)
        apart.append(
            Group(
                "field",
                frozenset(paths),
                lambda step: float(learning_rate(step, settings=settings)),
            )
        )
        rest -= paths
    main = Group(
        "main",
        frozenset(rest),
        lambda step: float(learning_rate(step, settings=settings, factor=1.0)),
    )
    return (main, *apart)


def _state(shape: Any, dtype: tf.DType, name: str, *, value: float = 0.0) -> tf.Variable:
    start = tf.cast(tf.fill(tuple(shape), value), dtype)
    return tf.Variable(start, trainable=False, name=name.replace("/", "_"))


def _paths(variables: Any) -> set[str]:
    return {variable.path for variable in variables}
