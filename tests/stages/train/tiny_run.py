"""A training run of seconds, for tests that kill it: `python -m tests.stages.train.tiny_run`.

Arguments: output folders, one run after the other. Before them `--kill-at N`: the process kills
itself without warning when it wants its Nth batch; `--poison-at N`: that batch holds a NaN;
`--set SECTION.NAME=JSON`: another setting; `--devices N`: share each step among so many.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.train.checkpoints import Checkpoint, read_checkpoint
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
QUICK_NETWORK = "residual-quick"


def tiny_settings(out: Path, changes: Mapping[str, Any] | None = None) -> TrainSettings:
    """Everything as small as it gets; a checkpoint every third step.

    Args:
        changes: values by `section.setting`.
    """
    settings = TrainSettings(
        data=DataSettings(out=out, loader_threads=2, prefetch_batches=1),
        head=HeadSettings(
            proc_side=16, stride_train=4, stride_test=4, depth=2, weak_perspective_steps=4
        ),
        backbone=BackboneSettings(backbone=QUICK_NETWORK, backbone_link_dim=8),
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
            unlabelled_fillers=False,
        ),
        optimisation=OptimisationSettings(
            training_steps=STEPS,
            base_learning_rate=1e-3,
            lr_warmup_steps=2,
            checkpoint_period=3,
            dtype="float32",
        ),
    )
    for name, value in (changes or {}).items():
        section, setting = name.split(".")
        changed = dataclasses.replace(getattr(settings, section), **{setting: value})
        settings = dataclasses.replace(settings, **{section: changed})
    return settings


def use_quick_network() -> None:
    """Let a backbone be known that is quick to trace."""
    from stages.train import backbone

    backbone.RESIDUAL_NETWORKS[QUICK_NETWORK] = (4, ((8, 1, 2),))


def tiny_model(settings: TrainSettings) -> LocalizerModel:
    """An untrained model of these settings, for the stick figures."""
    from stages.train.canonical_body import joint_table
    from stages.train.launch import canonical_bounds
    from stages.train.model import LocalizerModel

    use_quick_network()
    body = canonical_body()
    names = {name: store.attributes["joint_names"] for name, store in stick_stores().items()}
    return LocalizerModel(settings, table=joint_table(body, names), bounds=canonical_bounds(body))


def train_tiny(
    out: Path, changes: Mapping[str, Any] | None = None, *, devices: tuple[str, ...] = ()
) -> None:
    """Train, with a network that is quick to trace."""
    from stages.train.launch import launch_on

    use_quick_network()
    launch_on(tiny_settings(out, changes), stick_stores(), canonical_body(), devices=devices)


def checkpoints_of(out: Path) -> list[Checkpoint]:
    """All that are kept of the only run in this folder, the oldest first."""
    (folder,) = (out / "checkpoints").iterdir()
    return [read_checkpoint(path) for path in sorted(folder.glob("*.ckpt"))]


def _disturb(*, kill_at: int | None, poison_at: int | None) -> None:
    give_next, n_given = BatchStream.__next__, 0

    def give(stream: BatchStream) -> Batch:
        nonlocal n_given
        n_given += 1
        if n_given == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        batch = give_next(stream)
        if n_given == poison_at:
            batch = {name: values.copy() for name, values in batch.items()}
            batch["coords3d"][1, batch["point_validity"][1]] = float("nan")
        return batch

    BatchStream.__next__ = give  # type: ignore[method-assign]


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--poison-at", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--devices", type=int, default=0)
    parser.add_argument("folders", nargs="+", type=Path)
    arguments = parser.parse_args()
    changes = dict(assignment.split("=", 1) for assignment in arguments.set)
    parsed = {name: json.loads(value) for name, value in changes.items()}
    devices: tuple[str, ...] = ()
    if arguments.devices:
        devices = _split_processor(arguments.devices)
    _disturb(kill_at=arguments.kill_at, poison_at=arguments.poison_at)
    for folder in arguments.folders:
        train_tiny(folder, parsed, devices=devices)


def _split_processor(n: int) -> tuple[str, ...]:
    """So many logical devices."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * n
    )
    return tuple(f"CPU:{i}" for i in range(n))


if __name__ == "__main__":
    _main()
