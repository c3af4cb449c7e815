"""Histograms and bars as inline SVG that follows the page's colours."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT, _FOOT = 320, 96, 16
_BINS = 36


def histogram(
    values: npt.NDArray[Any],
    *,
    title: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
) -> str:
    """An SVG with the distribution of values (n,), its median, and the bounds where they lie in it.

    The outermost hundredths are drawn at the ends, so that one outlier does not hide all others.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    first, last = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    for bound in (low, high):
        reach = 0.4 * (last - first)
        if bound is not None and first - reach <= bound <= last + reach:
            first, last = min(first, bound), max(last, bound)
    margin = max((last - first) * 0.04, abs(last) * 1e-3, 1e-9)
    start, stop = first - margin, last + margin
    counts, _ = np.histogram(np.clip(values, start, stop), bins=_BINS, range=(start, stop))
    body = _HEIGHT - _FOOT
    bars = []
    for n, count in enumerate(counts.tolist()):
        if not count:
            continue
        height = max(1.5, (body - 4) * count / counts.max())
        x = n * _WIDTH / _BINS
        middle = start + (n + 0.5) * (stop - start) / _BINS
        is_beyond = (low is not None and middle < low) or (high is not None and middle > high)
        bars.append(
            f'<rect class="{"bad" if is_beyond else "bar"}" x="{x + 0.5:.1f}" '
            f'y="{body - height:.1f}" width="{_WIDTH / _BINS - 1:.1f}" '
            f'height="{height:.1f}" rx="1">'
            f"<title>{count} near {_short(middle)}{_escaped(unit)}</title></rect>"
        )

    def place(value: float) -> float:
        return (value - start) / (stop - start) * _WIDTH

    median = float(np.median(values))
    lines = [_upright("median", place(median), body)]
    lines += [
        _upright("bound", place(bound), body)
        for bound in (low, high)
        if bound is not None and start <= bound <= stop
    ]
    texts = "".join(
        f'<text x="{x}" y="{_HEIGHT - 3}" text-anchor="{anchor}">{_short(value)}{_escaped(unit)}'
        "</text>"
        for x, anchor, value in ((0, "start", first), (_WIDTH, "end", last))
    )
    label = f"{title}: median {_short(median)}{unit}, {len(values)} values"
    return (
        f'<figure class="chart"><figcaption><b>{_escaped(title)}</b>'
        f"<span>median {_short(median)}{_escaped(unit)}</span></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_escaped(label)}">'
        f'{"".join(bars)}{"".join(lines)}<line class="axis" x1="0" x2="{_WIDTH}" y1="{body}" '
        f'y2="{body}"/>{texts}</svg></figure>'
    )


def bars(shares: Mapping[str, float], *, title: str) -> str:
    """A list of names with a bar each, for shares between 0 and 1."""
    rows = "".join(
        f'<li><span>{_escaped(name)}</span><i><b style="width:{100 * share:.1f}%"></b></i>'
        f"<em>{_percent(share)}</em></li>"
        for name, share in shares.items()
    )
    return f'<div class="bars"><h4>{_escaped(title)}</h4><ul>{rows}</ul></div>'


def _upright(kind: str, x: float, height: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'


def _escaped(words: str) -> str:
    return html.escape(words)


def _percent(share: float) -> str:
    """Whole percents, but never 100 for what is not all."""
    return f"{math.floor(100 * share)} %" if share < 1 else "100 %"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
