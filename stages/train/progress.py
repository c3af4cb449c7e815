"""The bar of a training run: loss, error, examples per second, share of waiting for data, ETA."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm


class Progress:
    """A bar over the steps; tqdm gives the time that is left.

    Args:
        batch_size: examples of a step.
        initial: steps done before.
        is_shown: False for all workers but the first.
    """

    def __init__(self, *, total: int, initial: int, batch_size: int, is_shown: bool = True) -> None:
        self._bar = tqdm(
            total=total,
            initial=initial,
            unit="step",
            desc="train",
            dynamic_ncols=True,
            disable=not is_shown,
        )
        self._batch_size = batch_size
        self._validation: Mapping[str, float] = {}
        self._begin()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def step(self) -> None:
        """One more is done."""
        self._steps += 1
        self._bar.update()

    def show(self, values: Mapping[str, float]) -> None:
        """Put the newest values beside the bar and start measuring anew."""
        elapsed = time.perf_counter() - self._started
        if "valid_mean_error_mm" in values:
            self._validation = {"valid_mm": values["valid_mean_error_mm"]}
        shown = {
            "loss": f"{values['loss']:.3f}",
            "mm": f"{values['mean_error_mm']:.0f}",
            **{name: f"{value:.0f}" for name, value in self._validation.items()},
            "ex/s": f"{self._batch_size * self._steps / elapsed:.0f}",
            "wait": f"{100 * self._waited / elapsed:.0f}%",
        }
        self._bar.set_postfix(shown, refresh=False)
        self._begin()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _begin(self) -> None:
        self._waited, self._steps, self._started = 0.0, 0, time.perf_counter()
