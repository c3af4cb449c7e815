"""A training run of seconds, for tests that kill it: `python -m tests.stages.train.tiny_run`.

Arguments: output folders, one run after the other. `--kill-at N` before them: the process kills
itself without warning when it wants its Nth batch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.train.loader import Batch, BatchStream
from stages.train.settings import (
    BackboneSettings,
    BatchSettings,
    DataSettings,
    FieldSettings,
    HeadSettings,
    NormSettings,
    OptimisationSettings,
    TrainSettings,
)
from tests.stages.train.stick_figures import canonical_body, stick_stores

if TYPE_CHECKING:
    from stages.train.model import LocalizerModel

STEPS = 9


def tiny_settings(out: Path) -> TrainSettings:
    """Everything as small as it gets; a checkpoint every third step."""
    return TrainSettings(
        data=DataSettings(out=out, loader_threads=2, prefetch_batches=1),
        head=HeadSettings(
            proc_side=16, stride_train=4, stride_test=4, depth=2, weak_perspective_steps=4
        ),
        backbone=BackboneSettings(backbone="residual-tiny", backbone_link_dim=8),
        norm=NormSettings(batch_renorm=True, renorm_start_step=2, renorm_ramp_steps=4),
        field=FieldSettings(
            field_type="fourier",
            field_posenc_dim=8,
            field_hidden_size=8,
            field_fourier_stddev=1.0,
        ),
        batch=BatchSettings(
            batch_size_parametric=2,
            batch_size=1,
            batch_size_densepose=1,
            batch_size_2d=1,
            num_points=8,
            num_surface_points=8,
            num_internal_points=0,
        ),
        optimisation=OptimisationSettings(
            training_steps=STEPS,
            base_learning_rate=1e-3,
            lr_warmup_steps=2,
            checkpoint_period=3,
            dtype="float32",
        ),
    )


def use_quick_network() -> None:
    """Replace the smallest backbone by one that is quick to trace."""
    from stages.train import backbone

    backbone.RESIDUAL_NETWORKS["residual-tiny"] = (4, ((8, 1, 2),))


def tiny_model(settings: TrainSettings) -> LocalizerModel:
    """An untrained model of these settings, for the stick figures."""
    from stages.train.canonical_body import joint_table
    from stages.train.launch import canonical_bounds
    from stages.train.model import LocalizerModel

    use_quick_network()
    body = canonical_body()
    names = {name: store.attributes["joint_names"] for name, store in stick_stores().items()}
    return LocalizerModel(settings, table=joint_table(body, names), bounds=canonical_bounds(body))


def train_tiny(out: Path) -> None:
    """Train, with a network that is quick to trace."""
    from stages.train.launch import launch_on

    use_quick_network()
    launch_on(tiny_settings(out), stick_stores(), canonical_body())


def _kill_at(number: int) -> None:
    give_next, n_given = BatchStream.__next__, 0

    def give_or_die(stream: BatchStream) -> Batch:
        nonlocal n_given
        n_given += 1
        if n_given == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return give_next(stream)

    BatchStream.__next__ = give_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1] == "--kill-at":
        _kill_at(int(sys.argv[2]))
        sys.argv[1:3] = []
    for folder in sys.argv[1:]:
        train_tiny(Path(folder))
