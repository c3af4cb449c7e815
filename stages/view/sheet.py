"""A sheet of examples: each drawn on its picture, its pose beside it, a caption above."""

from __future__ import annotations

from collections.abc import Sequence

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
) -> Figure:
    """Lay the examples out in a grid, two to a line with their poses, three where there are none.

    Args:
        examples: at least one, all of one store.
        title: of the whole sheet.
    """
    has_pose = any(example.joints3d is not None for example in examples)
    n_columns = min(len(examples), _COLUMNS_3D if has_pose else _COLUMNS_2D)
    n_lines = -(-len(examples) // n_columns)
    widths = [1.25, 0.8, 0.8] if has_pose else [1.0]
    figure = Figure(
        figsize=(
            max(6.5, n_columns * sum(widths) * _PANEL_INCHES),
            n_lines * (_PANEL_INCHES + 0.3) + 0.9,
        ),
        dpi=_DPI,
        layout="constrained",
    )
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
    has_surface = any(example.surface is not None for example in examples)
    figure.legend(
        handles=_legend(has_surface=has_surface, has_root=has_pose),
        loc="outside lower center",
        ncols=8,
        fontsize=8,
        frameon=False,
    )
    return figure


def caption(example: ViewedExample) -> str:
    """Which example it is, and what can be said of it in numbers: two lines."""
    height, width = example.picture.shape[:2]
    source = _shortened(example.source) or "(no path)"
    if not example.is_usable:
        return f"{example.split}[{example.row}]  {source}\nrejected: {example.status}"
    facts = [f"{width}×{height} px" if not example.picture_fault else example.picture_fault]
    if example.depth_m is not None:
        facts.append(f"depth {example.depth_m:.2f} m")
    facts.append(f"{int(example.validity.sum())}/{len(example.validity)} valid")
    if example.surface is not None:
        facts.append(f"{len(example.surface.pixels)} surface points")
    for count, what in (
        (int(example.is_outside.sum()) if not example.picture_fault else 0, "outside"),
        (int((example.validity & ~example.is_ahead).sum()), "behind the camera"),
    ):
        if count:
            facts.append(f"{count} {what}")
    if example.mask is None:
        facts.append("no mask")
    elif example.mask.shape != (height, width) and not example.picture_fault:
        facts.append(f"mask {example.mask.shape[1]}×{example.mask.shape[0]}!")
    return f"{example.split}[{example.row}]  {source}\n{' · '.join(facts)}"


def _shortened(path: str) -> str:
    """The end of a path tells more than its beginning."""
    path = "".join(c if c.isprintable() else "�" for c in path)
    if len(path) <= _SOURCE_CHARACTERS:
        return path
    return "…" + path[1 - _SOURCE_CHARACTERS :]


def _legend(*, has_surface: bool, has_root: bool) -> list[Line2D | Patch]:
    def rgb(colour: palette.Colour) -> tuple[float, float, float]:
        return colour[0] / 255, colour[1] / 255, colour[2] / 255

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=rgb(palette.LEFT), marker="o", label="left"),
        Line2D([], [], color=rgb(palette.RIGHT), marker="o", label="right"),
        Line2D([], [], color=rgb(palette.MIDDLE), marker="o", label="middle"),
        Patch(facecolor="none", edgecolor=rgb(palette.BOX), label="box"),
        Patch(facecolor=(*rgb(palette.MASK), 0.4), edgecolor=rgb(palette.MASK), label="mask"),
        Line2D([], [], color="black", marker=">", linestyle="", label="outside the picture"),
    ]
    if has_root:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="o",
                markersize=8,
                markerfacecolor="none",
                markeredgecolor=rgb(palette.ROOT),
                label="root",
            )
        )
    if has_surface:
        handles.append(
            Line2D(
                [],
                [],
                color="none",
                marker="o",
                markerfacecolor="#7ac",
                markeredgecolor="black",
                linestyle="",
                label="surface point, coloured by place",
            )
        )
    return handles
