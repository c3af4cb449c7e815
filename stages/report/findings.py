"""From what was measured to what is objected to: every figure beside its threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.report.checks import DATASET_CHECKS, EXAMPLE_CHECKS, DatasetCheck, ExampleCheck
from stages.report.scan import Scan
from stages.report.settings import ReportSettings
from stages.report.tally import Suspect

_UNITS_FOR_METRES = (
    (1000.0, "millimetres"),
    (100.0, "centimetres"),
    (39.37, "inches"),
    (3.281, "feet"),
    (0.001, "kilometres"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its threshold.

    Attributes:
        key, title, meaning, causes: of its check.
        value: the figure.
        low, high: the threshold; None is none on that side.
        is_share: whether it is a share of the examples.
        unit: behind the number, if it is no share.
        example_bound: in words, from where on a single example is suspect.
        n_examined: examples it rests on.
        n_suspects: of those, how many are beyond `example_bound`.
        suspects: the worst of them.
        hint: what the figure itself suggests.
        example_unit: behind the value of a suspect.
    """

    key: str
    title: str
    meaning: str
    causes: str
    value: float
    low: float | None
    high: float | None
    is_share: bool
    unit: str = ""
    example_bound: str = ""
    n_examined: int = 0
    n_suspects: int = 0
    suspects: tuple[Suspect, ...] = ()
    hint: str = ""
    example_unit: str = ""

    @property
    def is_breach(self) -> bool:
        """Whether it lies beyond its threshold."""
        too_low = self.low is not None and self.value < self.low
        return too_low or (self.high is not None and self.value > self.high)


def judge(scan: Scan, settings: ReportSettings) -> tuple[Figure, ...]:
    """All figures that this dataset has, breaches first, then in the order of the checks."""
    figures = [
        *(_of_examples(check, scan, settings) for check in EXAMPLE_CHECKS),
        *(_of_dataset(check, scan, settings) for check in DATASET_CHECKS),
    ]
    found = [figure for figure in figures if figure is not None]
    return tuple(sorted(found, key=_urgency))


def _urgency(figure: Figure) -> tuple[bool, float]:
    """Breaches first; among them figures of the whole dataset, then those that concern the most."""
    if not figure.is_breach:
        return True, 0.0
    return False, -figure.value if figure.example_bound else -1.0


def _of_examples(check: ExampleCheck, scan: Scan, settings: ReportSettings) -> Figure | None:
    tally = scan.tallies[check.quantity]
    if not tally.n_measured:
        return None
    return Figure(
        key=check.key,
        title=check.title,
        meaning=check.meaning,
        causes=check.causes,
        value=tally.share,
        low=None,
        high=getattr(settings.limits, check.limit),
        is_share=True,
        example_bound=f"{check.measure} {_in_words(tally.low, tally.high, check.unit)}",
        n_examined=tally.n_measured,
        n_suspects=tally.n_suspects,
        suspects=tally.worst,
        hint=_unit_hint(tally.percentile(50), scan, check) if check.quantity == "body_m" else "",
        example_unit=check.unit,
    )


def _of_dataset(check: DatasetCheck, scan: Scan, settings: ReportSettings) -> Figure | None:
    value = scan.figures.get(check.key, math.nan)
    if math.isnan(value):
        return None
    tally = scan.tallies.get(check.quantity or "")
    suspects = scan.suspects.get(check.key, tally.worst if tally else ())
    is_ratio = check.unit == "×" or check.key == "pose_distance"
    return Figure(
        key=check.key,
        title=check.title,
        meaning=check.meaning,
        causes=check.causes,
        value=value,
        low=getattr(settings.limits, check.low) if check.low else None,
        high=getattr(settings.limits, check.high) if check.high else None,
        is_share=not is_ratio,
        unit=check.unit,
        n_examined=tally.n_measured if tally else scan.n_usable,
        suspects=suspects,
    )


def _in_words(low: float | None, high: float | None, unit: str) -> str:
    if low is not None and high is not None:
        return f"outside {low:g} to {high:g}{unit}"
    bound = f"below {low:g}{unit}" if low is not None else f"above {high:g}{unit}"
    return bound.replace("-", "−")


def _unit_hint(median_m: float, scan: Scan, check: ExampleCheck) -> str:
    """Which unit the lengths are in, if that explains the worst or the usual body."""
    worst = [suspect.value for suspect in scan.tallies[check.quantity].worst]
    for length in [median_m, *worst]:
        for factor, name in _UNITS_FOR_METRES:
            if abs(math.log(max(length, 1e-9) / 1.3 / factor)) < math.log(1.5):
                return f"{length:.4g} m would be a person in {name} taken for metres."
    return ""


def to_json(figures: tuple[Figure, ...], scan: Scan) -> dict[str, Any]:
    """What DVC tracks: numbers by name, no list of examples."""
    medians = {
        name: _rounded(tally.percentile(50))
        for name, tally in scan.tallies.items()
        if tally.n_measured
    }
    return {
        "findings": sum(figure.is_breach for figure in figures),
        "examples": {name: dict(counts) for name, counts in scan.statuses.items()},
        "figures": {
            figure.key: _rounded(figure.value) for figure in sorted(figures, key=lambda f: f.key)
        },
        "medians": dict(sorted(medians.items())),
        "breaches": {
            figure.key: {
                "value": _rounded(figure.value),
                "threshold": _threshold(figure),
                "suspects": figure.n_suspects,
            }
            for figure in figures
            if figure.is_breach
        },
        "looked_at": dict(scan.sampled),
    }


def breach_lines(by_store: Mapping[str, tuple[Figure, ...]]) -> list[str]:
    """One line for each finding, for people."""
    return [
        f"{name}: {figure.title.lower()}: {written(figure)}, allowed is {allowed(figure)} "
        f"[{figure.key}]"
        for name, figures in by_store.items()
        for figure in figures
        if figure.is_breach
    ]


def written(figure: Figure, value: float | None = None) -> str:
    """The figure, or another value of its kind, as people read it."""
    value = figure.value if value is None else value
    if not figure.is_share:
        return f"{value:.3g}{figure.unit}"
    percent = 100 * value
    if percent == 0 or abs(percent) >= 10:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 0.1 else f"{percent:.2g} %"


def allowed(figure: Figure) -> str:
    """The threshold in words."""
    if figure.low is not None and figure.high is not None:
        return f"{written(figure, figure.low)} to {written(figure, figure.high)}"
    if figure.low is not None:
        return f"at least {written(figure, figure.low)}"
    if figure.high == 0:
        return "none"
    return f"at most {written(figure, figure.high)}"


def _threshold(figure: Figure) -> float | None:
    if figure.low is not None and figure.value < figure.low:
        return figure.low
    return figure.high


def _rounded(value: float) -> float | None:
    """Four digits: enough to compare runs, few enough to read; None for what JSON cannot say."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
