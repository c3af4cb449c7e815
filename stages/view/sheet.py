"""A sheet of examples: each drawn on its picture, its pose beside it, a caption above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.skeletons import Skeleton
from stages.view import palette
from stages.view.examples import ViewedExample
from stages.view.picture import Style, draw_example
from stages.view.pose_plots import plot_pose

_DPI = 100
_PANEL_INCHES = 4.2
_COLUMNS_2D, _COLUMNS_3D = 3, 2
_SOURCE_CHARACTERS = 44


def make_sheet(
    examples: Sequence[ViewedExample],
    skeleton: Skeleton,
    *,
    title: str,
    style: Style | None = None,
    fits: tuple[int, int] | None = None,
) -> Figure:
    """Lay the examples out in a grid, two to a line with their poses, three where there are none.

    Args:
        examples: at least one, all of one store.
        title: of the whole sheet.
        fits: width and height in pixels; the panels of a larger sheet are made smaller, its text
            is not.
    """
    has_pose = any(example.joints3d is not None for example in examples)
    n_columns = min(len(examples), _COLUMNS_3D if has_pose else _COLUMNS_2D)
    n_lines = -(-len(examples) // n_columns)
    widths = [1.25, 0.8, 0.8] if has_pose else [1.0]
    width = max(6.5, n_columns * sum(widths) * _PANEL_INCHES)
    height = n_lines * (_PANEL_INCHES + 0.3) + 0.9
    scale = min(1, fits[0] / _DPI / width, fits[1] / _DPI / height) if fits else 1
    figure = Figure(figsize=(scale * width, scale * height), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold", parse_math=False)
    grid = figure.subfigures(n_lines, n_columns, squeeze=False)
    for cell, example in zip(grid.flat, examples, strict=False):
        cell.suptitle(
            caption(example),
            fontsize=8,
            x=0.01,
            ha="left",
            family="monospace",
            parse_math=False,  # a dollar in a path is a dollar
        )
        axes = cell.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
        axes[0].imshow(draw_example(example, skeleton, style=style), interpolation="antialiased")
        axes[0].set_axis_off()
        if not has_pose:
            continue
        if example.is_usable and example.joints3d is not None:
            plot_pose(
                axes[1],
                axes[2],
                example.joints3d,
                validity=example.validity,
                skeleton=skeleton,
                root_index=example.root_index,
            )
        else:
            axes[1].set_axis_off()
            axes[2].set_axis_off()
    figure.legend(
        handles=_legend(examples),
        loc="outside lower center",
        ncols=8,
        fontsize=8,
        frameon=False,
    )
    return figure


def caption(example: ViewedExample) -> str:
    """Which example it is, and what can be said of it in numbers: two or three lines."""
    height, width = example.picture.shape[:2]
    source = _shortened(example.source) or "(no path)"
    if not example.is_usable:
        return f"{example.split}[{example.row}]  {source}\nrejected: {example.status}"
    facts = [f"{width}×{height} px" if not example.picture_fault else example.picture_fault]
    if example.depth_m is not None:
        facts.append(f"depth {example.depth_m:.2f} m")
    if example.surface is None or example.validity.any():
        facts.append(f"{int(example.validity.sum())}/{len(example.validity)} valid")
    if example.surface is not None:
        facts.append(f"{len(example.surface.pixels)} surface points")
    for count, what in (
        (int(example.is_outside.sum()) if not example.picture_fault else 0, "outside"),
        (int((example.validity & ~example.is_ahead).sum()), "behind the camera"),
    ):
        if count:
            facts.append(f"{count} {what}")
    if example.mask is None and example.box is not None:
        facts.append("no mask")
    elif (
        example.mask is not None
        and example.mask.shape != (height, width)
        and not example.picture_fault
    ):
        facts.append(f"mask {example.mask.shape[1]}×{example.mask.shape[0]}!")
    lines = [f"{example.split}[{example.row}]  {source}", " · ".join(facts)]
    return "\n".join([*lines, " · ".join(example.remarks)] if example.remarks else lines)


def _shortened(path: str) -> str:
    """The end of a path tells more than its beginning."""
    path = "".join(c if c.isprintable() else "�" for c in path)
    if len(path) <= _SOURCE_CHARACTERS:
        return path
    return "…" + path[1 - _SOURCE_CHARACTERS :]


def _legend(examples: Sequence[ViewedExample]) -> list[Line2D | Patch]:
    """What the colours mean, of those that can be met on this sheet."""

    def rgb(colour: palette.Colour) -> tuple[float, float, float]:
        return colour[0] / 255, colour[1] / 255, colour[2] / 255

    def spot(label: str, colour: tuple[float, float, float], **style: Any) -> Line2D:
        return Line2D([], [], linestyle="", markeredgecolor=colour, label=label, **style)

    black = (0.0, 0.0, 0.0)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=rgb(colour), marker="o", label=side)
        for side, colour in (
            ("left", palette.LEFT),
            ("right", palette.RIGHT),
            ("middle", palette.MIDDLE),
        )
    ]
    if any(example.box is not None for example in examples):
        handles.append(Patch(facecolor="none", edgecolor=rgb(palette.BOX), label="box"))
    if any(example.mask is not None for example in examples):
        mask = rgb(palette.MASK)
        handles.append(Patch(facecolor=(*mask, 0.4), edgecolor=mask, label="mask"))
    if any(example.root_index >= 0 for example in examples):
        ring = {"marker": "o", "markersize": 8, "markerfacecolor": "none"}
        handles.append(spot("root", rgb(palette.ROOT), **ring))
    if any(example.is_outside.any() for example in examples):
        handles.append(spot("outside the picture", black, marker=">", markerfacecolor="black"))
    if any(example.surface is not None for example in examples):
        place = {"marker": "o", "markerfacecolor": rgb(palette.LEFT)}
        handles.append(spot("surface point, coloured by place", black, **place))
    return handles
