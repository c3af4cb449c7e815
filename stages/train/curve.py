"""The learning curve, through dvclive and TensorBoard: values by step, and the newest values."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from dvclive import Live

from errors import StoreError


class LearningCurve:
    """Values by step; kept with the checkpoints, so that a resumed run has one curve, not two.

    Args:
        folder: for dvclive, one file per value below `plots`.
        tensorboard: for TensorBoard's event files.
        is_written: False keeps the values without writing them (all workers but the first).
    """

    def __init__(self, folder: Path, *, tensorboard: Path, is_written: bool = True) -> None:
        self._folder = folder
        self._tensorboard = tensorboard
        self._is_written = is_written
        self._rows: list[dict[str, float]] = []
        self._live: Any = None
        self._events: Any = None

    @property
    def rows(self) -> Sequence[Mapping[str, float]]:
        """Every point so far, each with its `step`."""
        return self._rows

    def restart(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Begin with these points, forgetting what a killed run logged after its checkpoint."""
        if self._is_written:
            self._live = Live(str(self._folder), save_dvc_exp=False, dvcyaml=False)
            shutil.rmtree(self._tensorboard, ignore_errors=True)
            with self._writing():
                self._events = tf.summary.create_file_writer(str(self._tensorboard))
        self._rows = []
        for row in rows:
            values = dict(row)
            self.append(int(values.pop("step")), values)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step."""
        self._rows.append({"step": step, **values})
        if not self._is_written:
            return
        self._live.step = step
        with self._writing(), self._events.as_default():
            for name, value in values.items():
                self._live.log_metric(name, value)
                tf.summary.scalar(name, value, step=step)

    def flush(self) -> None:
        """Write the newest values."""
        if self._is_written:
            self._live.make_summary()
            with self._writing():
                self._events.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:  # TensorFlow's own, not an OSError
            raise StoreError(
                "cannot write the events for TensorBoard",
                where=str(self._tensorboard),
                cause="the disk is full, or there is no permission; checkpoints are kept",
                next_command="mend the cause, then run the same command again",
            ) from error
