"""What changes with the step: learning rates, weight decay and the limits of renormalisation.

Pure numpy on scalars or arrays of steps; the loop assigns the values to its variables.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stages.train.settings import NormSettings, OptimisationSettings

Steps = npt.ArrayLike
Values = npt.NDArray[np.float64]


def learning_rate(
    step: Steps, *, settings: OptimisationSettings, factor: float | None = None
) -> Values:
    """Linear warm-up, slow exponential decay, and a ten times lower cool-down at the end.

    The decay's exponent uses the step itself, not the step since the warm-up; so it starts a
    little below the base rate and ends a little below a third of it.

    Args:
        step: optimiser steps so far.
        factor: multiplies warm-up and main phase, not the cool-down; default `field_lr_factor`.
    """
    step = np.asarray(step, np.float64)
    total = settings.required_training_steps
    factor = settings.field_lr_factor if factor is None else factor
    base, warmup = settings.base_learning_rate, settings.lr_warmup_steps
    cooldown_start = (1 - settings.lr_cooldown_fraction) * total

    main = settings.lr_decay ** (step / (cooldown_start - warmup))
    ramp = step / max(warmup, 1)
    rate = base * factor * np.where(step < warmup, ramp, main)
    return np.where(step < cooldown_start, rate, _cooldown(step, settings))


def backbone_learning_rate(step: Steps, *, settings: OptimisationSettings) -> Values:
    """The second schedule of `dual_finetune_lr`: frozen, warmed up, low; the same cool-down."""
    step = np.asarray(step, np.float64)
    total = settings.required_training_steps
    frozen, warmup = settings.backbone_frozen_steps, settings.backbone_warmup_steps
    cooldown_start = (1 - settings.lr_cooldown_fraction) * total

    since = step - frozen - warmup
    main = settings.lr_decay ** (since / (cooldown_start - frozen - warmup))
    ramp = np.clip((step - frozen) / max(warmup, 1), 0, None)
    low = settings.base_learning_rate * settings.backbone_lr_factor
    rate = low * np.where(since < 0, ramp, main)
    return np.where(step < cooldown_start, rate, _cooldown(step, settings))


def weight_decay_coefficient(settings: OptimisationSettings) -> float:
    """c of the decoupled decay w ← w − w · c · learning rate (Loshchilov and Hutter 2019).

    Divided by the base rate, so that a step at that rate decays by `weight_decay` / sqrt(T).
    """
    total = settings.required_training_steps
    return settings.weight_decay / math.sqrt(total) / settings.base_learning_rate


def renorm_limits(step: Steps, *, settings: NormSettings) -> tuple[Values, Values]:
    """rmax and dmax of batch renormalisation: 1 and 0 at first, then linearly to their ends."""
    step = np.asarray(step, np.float64)
    ramp = np.clip((step - settings.renorm_start_step) / settings.renorm_ramp_steps, 0, 1)
    ramp = ramp * settings.renorm_limit_scale
    return 1 + (settings.renorm_rmax - 1) * ramp, settings.renorm_dmax * ramp


def _cooldown(step: Values, settings: OptimisationSettings) -> Values:
    total = settings.required_training_steps
    length = settings.lr_cooldown_fraction * total
    progress = (step - (total - length)) / max(length, 1)
    start = settings.base_learning_rate * settings.lr_cooldown_factor
    return np.asarray(start * settings.lr_cooldown_decay**progress)
