"""Adam with decoupled decay, in one group or, while a backbone is spared, two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from stages.train.model import LocalizerModel
from stages.train.schedule import (
    backbone_learning_rate,
    learning_rate,
    weight_decay_coefficient,
)
from stages.train.settings import OptimisationSettings


@dataclass(frozen=True, slots=True)
class Group:
    """Variables that share a learning rate.

    Attributes:
        name: for the log.
        optimizer: of these variables.
        variables: all of them trainable.
        rate: the learning rate after so many optimiser steps.
    """

    name: str
    optimizer: keras.optimizers.Optimizer
    variables: Sequence[Any]
    rate: Callable[[int], float]


class Optimizer:
    """All groups as one: `apply` inside the compiled step, `set_rates` before it."""

    def __init__(self, groups: Sequence[Group], *, loss_scale: float) -> None:
        self.groups = tuple(groups)
        self.loss_scale = loss_scale

    @property
    def trainable_variables(self) -> list[Any]:
        return [variable for group in self.groups for variable in group.variables]

    @property
    def variables(self) -> list[Any]:
        """The optimisers' own state."""
        return [variable for group in self.groups for variable in group.optimizer.variables]

    def set_rates(self, step: int) -> float:
        """Assign the rates of this optimiser step; the first group's is returned."""
        for group in self.groups:
            group.optimizer.learning_rate.assign(group.rate(step))
        return self.groups[0].rate(step)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One update from the gradients of the scaled loss, in the order of the variables."""
        start = 0
        for group in self.groups:
            part = gradients[start : start + len(group.variables)]
            start += len(part)
            group.optimizer.apply([g / self.loss_scale for g in part], group.variables)

    def finish(self) -> None:
        """Replace the weights by their moving average, where one was kept."""
        for group in self.groups:
            if group.optimizer.use_ema:
                group.optimizer.finalize_variable_values(group.variables)


def build_optimizer(model: LocalizerModel, settings: OptimisationSettings) -> Optimizer:
    """The published optimiser of all trainable weights.

    Decay spares the learned canonical joints and, unless `decay_field`, the whole field.
    """
    field = _paths(model.field.trainable_variables)
    joints = _paths(model.canonical_joints.trainable_variables)
    backbone = _paths(model.backbone.trainable_variables)
    undecayed = joints if settings.decay_field else joints | field

    def group(name: str, paths: set[str], rate: Callable[[int], float]) -> Group:
        variables = [v for v in model.trainable_variables if v.path in paths]
        optimizer = keras.optimizers.AdamW(
            learning_rate=settings.base_learning_rate,
            beta_1=settings.adam_beta_1,
            beta_2=settings.adam_beta_2,
            epsilon=settings.adam_epsilon,
            weight_decay=weight_decay_coefficient(settings),
            use_ema=settings.ema_momentum < 1,
            ema_momentum=settings.ema_momentum,
            gradient_accumulation_steps=(
                settings.grad_accum_steps if settings.grad_accum_steps > 1 else None
            ),
        )
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if v.path in undecayed])
        optimizer.build(variables)
        return Group(name, optimizer, variables, rate)

    everything = _paths(model.trainable_variables)
    groups = []
    if settings.dual_finetune_lr:
        groups.append(
            group(
                "backbone",
                backbone,
                lambda step: float(backbone_learning_rate(step, settings=settings)),
            )
        )
        everything -= backbone
    if settings.field_lr_factor != 1:
        groups.append(
            group("field", field, lambda step: float(learning_rate(step, settings=settings)))
        )
        everything -= field
    groups.insert(
        0,
        group(
            "main",
            everything,
            lambda step: float(learning_rate(step, settings=settings, factor=1.0)),
        ),
    )
    scale = settings.loss_scale if settings.dtype == "float16" else 1.0
    return Optimizer(groups, loss_scale=scale)


def _paths(variables: Any) -> set[str]:
    return {variable.path for variable in variables}
