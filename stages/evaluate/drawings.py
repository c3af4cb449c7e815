"""Pictures of an evaluation: learning curve, errors by joint, calibration, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

PREDICTED, TRUE = "#ff7f0e", "#1f77b4"
# No creation date or version: the same results give the same file.
_SAVE: dict[str, Any] = {"dpi": 100, "metadata": {"Software": None}}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One example of the sheet.

    Attributes:
        title: which example, and its error.
        picture: uint8 (S, S, 3).
        edges: of the skeleton; empty for surface points.
        validity: bool (P,).
        predicted2d, true2d: (P, 2), pixels.
        predicted3d: (P, 3), metres.
        true3d: the same, None where only 2D is known.
        root_index: -1 where there is none.
    """

    title: str
    picture: npt.NDArray[np.uint8]
    edges: tuple[tuple[int, int], ...]
    validity: npt.NDArray[np.bool_]
    predicted2d: npt.NDArray[np.float32]
    predicted3d: npt.NDArray[np.float32]
    true2d: npt.NDArray[np.float32]
    true3d: npt.NDArray[np.float32] | None
    root_index: int


def draw_sheet(drawn: Sequence[Drawn], path: Path) -> None:
    """Each example in a group of three: on its picture, in 3D from the front, from the side."""
    if not drawn:
        return
    per_row = 2
    n_rows = -(-len(drawn) // per_row)
    figure, axes = plt.subplots(
        n_rows, 3 * per_row, figsize=(2.6 * 3 * per_row, 2.8 * n_rows), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for i, example in enumerate(drawn):
        row, column = divmod(i, per_row)
        group = axes[row, 3 * column : 3 * column + 3]
        _draw_on_picture(group[0], example)
        _draw_from(group[1], example, horizontal=0, title="front")
        _draw_from(group[2], example, horizontal=2, title="side")
    figure.legend(
        handles=[
            plt.Line2D([], [], color=PREDICTED, label="predicted"),
            plt.Line2D([], [], color=TRUE, label="true"),
        ],
        loc="upper right",
        ncols=2,
        fontsize=8,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, **_SAVE)
    plt.close(figure)


def draw_learning_curve(folder: Path, path: Path) -> None:
    """Loss and 3D error over the steps, from the values that training logged."""
    wanted = {"loss": "loss", "mean_error_mm": "mean-aligned error in training, mm"}
    figure, axes = plt.subplots(1, len(wanted), figsize=(10, 3.5))
    for axis, (name, label) in zip(axes, wanted.items(), strict=True):
        file = folder / f"{name}.tsv"
        axis.set_xlabel("step")
        axis.set_title(label)
        if not file.is_file():
            continue
        table = np.genfromtxt(file, delimiter="\t", names=True)
        steps, values = np.atleast_1d(table["step"]), np.atleast_1d(table[name])
        axis.plot(steps, values, color=TRUE, alpha=0.25)
        axis.plot(steps, _smoothed(values), color=TRUE)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, **_SAVE)
    plt.close(figure)


def draw_joint_errors(joints: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A bar per joint, the baseline behind it, one panel per dataset and split."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in joints:
        groups.setdefault(f"{row['dataset']}/{row['split']}", []).append(row)
    if not groups:
        return
    figure, axes = plt.subplots(len(groups), 1, figsize=(12, 2.6 * len(groups)), squeeze=False)
    for axis, (name, rows) in zip(axes[:, 0], groups.items(), strict=True):
        key = "mpjpe_mm" if "mpjpe_mm" in rows[0] else "error_px"
        places = np.arange(len(rows))
        baseline = [row.get(f"baseline_{key}", 0) for row in rows]
        axis.bar(places, baseline, color="#cccccc", label="mean pose")
        axis.bar(places, [row[key] for row in rows], color=PREDICTED, width=0.5, label="model")
        axis.set_xticks(places, [row["joint"] for row in rows], rotation=90, fontsize=7)
        axis.set_ylabel(key.split("_")[-1])
        axis.set_title(name)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, **_SAVE)
    plt.close(figure)


def draw_calibration(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Actual error over predicted uncertainty by dataset and split; ideal is the diagonal."""
    figure, axis = plt.subplots(figsize=(5, 4.5))
    for name in dict.fromkeys(f"{row['dataset']}/{row['split']}" for row in rows):
        part = [row for row in rows if f"{row['dataset']}/{row['split']}" == name]
        axis.plot(
            [row["expected_mm"] for row in part],
            [row["actual_mm"] for row in part],
            marker="o",
            markersize=3,
            label=name,
        )
    if rows:
        most = max(row[key] for row in rows for key in ("expected_mm", "actual_mm"))
        axis.plot([0, most], [0, most], color="#999999", linestyle=":", label="as predicted")
    axis.set_xlabel("predicted uncertainty (the error to be expected), mm")
    axis.set_ylabel("root-relative error, mm")
    axis.grid(alpha=0.3)
    if rows:
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, **_SAVE)
    plt.close(figure)


def _draw_on_picture(axis: Any, example: Drawn) -> None:
    side = example.picture.shape[0]
    axis.imshow(example.picture)
    _draw_skeleton(axis, example.true2d, example, colour=TRUE)
    _draw_skeleton(axis, example.predicted2d, example, colour=PREDICTED)
    axis.set_xlim(-0.5, side - 0.5)
    axis.set_ylim(side - 0.5, -0.5)
    axis.set_title(example.title, fontsize=7)


def _draw_from(axis: Any, example: Drawn, *, horizontal: int, title: str) -> None:
    """Orthographic, the truth's centre (or the prediction's own) in the middle, 2 m wide."""
    view = [horizontal, 1]
    for points, colour in ((example.true3d, TRUE), (example.predicted3d, PREDICTED)):
        if points is not None:
            centred = points - _center(points, example)
            _draw_skeleton(axis, centred[:, view], example, colour=colour)
    axis.set_xlim(-1.1, 1.1)
    axis.set_ylim(1.1, -1.1)
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=7)


def _center(points: npt.NDArray[np.float32], example: Drawn) -> npt.NDArray[np.float32]:
    if example.root_index >= 0:
        root: npt.NDArray[np.float32] = points[example.root_index]
        return root
    mean: npt.NDArray[np.float32] = points[example.validity].mean(axis=0)
    return mean


def _draw_skeleton(
    axis: Any, points: npt.NDArray[np.float32], example: Drawn, *, colour: str
) -> None:
    for a, b in example.edges:
        if example.validity[a] and example.validity[b]:
            axis.plot(points[[a, b], 0], points[[a, b], 1], color=colour, linewidth=1.2)
    shown = points[example.validity]
    axis.scatter(shown[:, 0], shown[:, 1], s=3, color=colour)


def _smoothed(values: npt.NDArray[np.float64], *, width: int = 15) -> npt.NDArray[np.float64]:
    """Mean over the last `width` points."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    mean: npt.NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return mean
