"""Bars for a table: a panel for each group and figure, whiskers for the spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.measuring import middle, shown

OURS, LIMIT, OTHERS = "#d1495b", "#9a9a9a", "#30638e"
LINES = [f"C{number}" for number in (0, 1, 2, 4, 5, 6, 8, 9)]  # none that looks like ours
PANELS_A_LINE = 3


def plot_bars(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Save a picture of some columns of a table.

    The first column tells rows apart, the second, if it is text, groups them. The scale
    is logarithmic where the figures of a column differ thirtyfold.
    """
    label, second = list(rows[0])[:2]
    group = second if isinstance(rows[0][second], str) else None
    groups = list(dict.fromkeys(row[group] for row in rows)) if group else [None]
    n_bars = max(sum(row.get(group) == g or g is None for row in rows) for g in groups)
    size = (3.2 + 3.0 * len(columns), (0.7 + 0.2 * n_bars) * len(groups))
    figure, axes = plt.subplots(
        len(groups), len(columns), figsize=size, squeeze=False, layout="constrained", sharex="col"
    )
    for place, (column_axes, column) in enumerate(zip(axes.T, columns, strict=True)):
        figures = [middle(row[column]) for row in rows if column in row]
        is_wide = min(figures) > 0 and max(figures) > 30 * min(figures)
        for panel, name in zip(column_axes, groups, strict=True):
            members = [row for row in rows if name is None or row[group] == name]
            panel.set_xscale("log" if is_wide else "linear")
            _bars(panel, members, column, label)
            room = 5 if is_wide else 1.25  # for the figure beside the longest bar
            panel.set_xlim(min(figures) * 0.6 if is_wide else 0, max(figures) * room)
            panel.set_title(column if name is None else f"{name}: {column}", fontsize=9)
            if place:
                panel.set_yticklabels([])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def plot_lines(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Save a picture of some columns of a table over the number of examples, a line a name."""
    label = next(name for name, value in rows[0].items() if isinstance(value, str))
    n_lines = -(-len(columns) // PANELS_A_LINE)
    figure, axes = plt.subplots(
        n_lines, PANELS_A_LINE, figsize=(13, 3.6 * n_lines), squeeze=False, layout="constrained"
    )
    names = list(dict.fromkeys(row[label] for row in rows))
    for panel, column in zip(axes.flat, columns, strict=False):
        for number, name in enumerate(names):
            members = [row for row in rows if row[label] == name and column in row]
            style: dict[str, Any] = {
                "color": LINES[number % len(LINES)],
                "linestyle": "-" if number < len(LINES) else "--",
            }
            if "limit" in name or name == "poseshard":
                style = {"color": LIMIT if "limit" in name else OURS, "linewidth": 3}
            counts = [row["examples"] for row in members]
            figures = [middle(row[column]) for row in members]
            panel.plot(counts, figures, marker="o", label=name, **style)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("examples")
        panel.set_title(column, fontsize=9)
    for panel in axes.flat[len(columns) :]:
        panel.set_visible(False)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _bars(panel: Any, rows: Sequence[Mapping[str, Any]], column: str, label: str) -> None:
    names = [row[label] if isinstance(row[label], str) else shown(row[label]) for row in rows]
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        if column not in row:
            continue
        figure = row[column]
        value = middle(figure)
        is_limit = name.startswith(("limit", "pickle.load", "sync"))
        colour = OURS if "poseshard" in name else LIMIT if is_limit else OTHERS
        panel.barh(place, value, color=colour)
        end = value
        if isinstance(figure, Mapping):
            end = figure["greatest"]
            spread = [[value - figure["least"]], [end - value]]
            panel.errorbar(value, place, xerr=spread, color="black", linewidth=0.8)
        panel.text(end, place, f" {shown(value)}", va="center", fontsize=7)
    panel.set_yticks(range(len(rows)), names, fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_ylim(len(rows) - 0.5, -0.5)
