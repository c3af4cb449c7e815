"""Checks of the recipe's plain numbers: schedules and the shares of the sources."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.train import mixing, schedule
from stages.train.settings import NormSettings, OptimisationSettings
from tests.golden.comparison import Golden


def check_schedules(golden: Golden) -> None:
    for match in golden.matching(r"same/steps(\d+)/step"):
        prefix = match[0].removesuffix("/step")
        step = golden[match[0]]
        settings = OptimisationSettings(training_steps=int(match[1]))
        golden.compare(f"{prefix}/lr", schedule.learning_rate(step, settings=settings))
        golden.compare(
            f"{prefix}/lr_finetune_low", schedule.backbone_learning_rate(step, settings=settings)
        )
        golden.compare(f"{prefix}/weight_decay", schedule.weight_decay_coefficient(settings))
        for scaled in golden.matching(prefix + r"/lr_field_lr_factor(.+)"):
            field = replace(settings, field_lr_factor=float(scaled[1]))
            golden.compare(scaled[0], schedule.learning_rate(step, settings=field))
    for match in golden.matching(r"same/renorm/step"):
        settings_norm = NormSettings()
        rmax, dmax = schedule.renorm_limits(golden[match[0]], settings=settings_norm)
        golden.compare("same/renorm/rmax", rmax)
        golden.compare("same/renorm/dmax", dmax)
        golden.compare("same/renorm/ramp", dmax / settings_norm.renorm_dmax)


def check_source_counts(golden: Golden) -> None:
    """The shuffled rounds differ by the random generator only, so they compare as a multiset."""
    for match in golden.matching(r"same/(\w+)/weights"):
        case = f"same/{match[1]}"
        weights = golden[f"{case}/weights"]
        sizes = golden[f"{case}/sizes"].reshape(-1, len(weights))
        counts = mixing.interleaving(
            weights.tolist(),
            batch_size=int(golden[f"{case}/batch"]),
            n_batches=int(golden[f"{case}/columns"]),
        )
        in_order = np.lexsort(counts.T[::-1])
        order = np.lexsort(sizes.T[::-1])
        flat = np.empty(sizes.size, np.int64)
        flat.reshape(sizes.shape)[order] = counts[in_order]
        golden.compare(f"{case}/sizes", flat, floor=1.0)
