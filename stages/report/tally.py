"""One quantity over all examples of a store, in memory that does not grow with them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_KEPT_VALUES = 4096


@dataclass(frozen=True, slots=True)
class Suspect:
    """An example that is beyond a bound.

    Attributes:
        split, row: where it is.
        value: what was measured.
        note: what else there is to say, such as the name of a bone.
    """

    split: str
    row: int
    value: float
    note: str = ""


class Tally:
    """Counts values, keeps a seeded sample of them and the worst of those beyond the bounds.

    Args:
        low, high: bounds; None is no bound.
        n_worst: how many suspects are kept, the worst ones.
        seed: of the sample.
    """

    def __init__(
        self,
        *,
        low: float | None = None,
        high: float | None = None,
        n_worst: int = 4,
        seed: int = 0,
    ) -> None:
        self.low, self.high = low, high
        self.n_measured = 0
        self.n_suspects = 0
        self._n_worst = n_worst
        self._count = 0
        self._worst: list[tuple[float, int, Suspect]] = []
        self._rng = np.random.default_rng(seed)
        self._values = np.zeros(0)
        self._ranks = np.zeros(0)

    def add(
        self,
        split: str,
        rows: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[Any],
        *,
        notes: list[str] | None = None,
    ) -> None:
        """Count the values of some rows, (n,) each; NaN is no value, infinity is one."""
        values = np.asarray(values, np.float64)
        present = np.flatnonzero(~np.isnan(values))
        self.n_measured += len(present)
        self._keep(values[present])
        excess = self._excess(values[present])
        self.n_suspects += int((excess > 0).sum())
        order = np.argsort(-excess, kind="stable")[: self._n_worst]
        for index in order[excess[order] > 0].tolist():
            n = int(present[index])
            found = Suspect(split, int(rows[n]), float(values[n]), notes[n] if notes else "")
            # The first one found stays where several are equally bad: the count breaks the tie.
            self._count += 1
            item = (float(excess[index]), -self._count, found)
            heapq.heappush(self._worst, item)
            if len(self._worst) > self._n_worst:
                heapq.heappop(self._worst)

    @property
    def share(self) -> float:
        """Of the measured examples, those beyond the bounds; 0 if none was measured."""
        return self.n_suspects / self.n_measured if self.n_measured else 0.0

    @property
    def worst(self) -> tuple[Suspect, ...]:
        """The worst suspects, the worst first."""
        return tuple(item[2] for item in sorted(self._worst, key=lambda i: (-i[0], -i[1])))

    @property
    def sample(self) -> Floats:
        """A seeded sample of the values, all of them if they are not many."""
        return self._values

    def percentile(self, q: float) -> float:
        """Of the sample; NaN if nothing was measured."""
        return float(np.percentile(self._values, q)) if len(self._values) else float("nan")

    def _keep(self, values: Floats) -> None:
        """Every value gets a random rank; those of the lowest ranks stay."""
        self._values = np.concatenate([self._values, values])
        self._ranks = np.concatenate([self._ranks, self._rng.random(len(values))])
        if len(self._values) > _KEPT_VALUES:
            kept = np.sort(np.argpartition(self._ranks, _KEPT_VALUES)[:_KEPT_VALUES])
            self._values, self._ranks = self._values[kept], self._ranks[kept]

    def _excess(self, values: Floats) -> Floats:
        """By how much values are beyond the bounds, 0 within."""
        excess = np.zeros(len(values))
        if self.low is not None:
            excess = np.maximum(excess, self.low - values)
        if self.high is not None:
            excess = np.maximum(excess, values - self.high)
        return excess
