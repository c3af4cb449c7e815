"""The learning curve, through dvclive: one file per value below `plots`, plus the newest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive import Live


class LearningCurve:
    """Values by step; kept with the checkpoints, so that a resumed run has one curve, not two."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[dict[str, float]] = []
        self._live: Any = None

    @property
    def rows(self) -> Sequence[Mapping[str, float]]:
        """Every point so far, each with its `step`."""
        return self._rows

    def restart(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Begin with these points, forgetting what a killed run logged after its checkpoint."""
        self._live = Live(str(self._folder), save_dvc_exp=False, dvcyaml=False)
        self._rows = []
        for row in rows:
            values = dict(row)
            self.append(int(values.pop("step")), values)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step."""
        self._rows.append({"step": step, **values})
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)

    def flush(self) -> None:
        """Write the newest values."""
        self._live.make_summary()
