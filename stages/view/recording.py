"""Examples as a Rerun recording: picture with overlays, 3D scene, numbers along the rows.

Everything of one store lies below an entity named after its dataset, so that several stores show
side by side. There are two timelines: the row within the split, and the number of the example among
those that were selected, which is what several stores have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rerun as rr
import rerun.blueprint as rrb

from pipeline.schema import Kind
from pipeline.skeletons import Skeleton
from stages.view import palette
from stages.view.examples import ViewedExample
from stages.view.picture import draw_example

Array = npt.NDArray[Any]

APPLICATION = "poseshard"
ROW, NUMBER = "row", "example"
_IMAGE_PLANE_M = 1.0


def make_layout(dataset: str, kind: Kind) -> rrb.Blueprint:
    """One store: the picture at the left; caption, scene and numbers at the right."""
    picture, caption, numbers = _picture(dataset), _caption(dataset), _numbers_view(dataset)
    if kind in (Kind.KP2D, Kind.DENSE):
        right = rrb.Vertical(caption, numbers, row_shares=[1, 2])
    else:
        right = rrb.Vertical(caption, _scene(dataset), numbers, row_shares=[1, 4, 2])
    return _blueprint(rrb.Horizontal(picture, right, column_shares=[3, 2]), timeline=ROW)


def make_common_layout(datasets: Mapping[str, Kind]) -> rrb.Blueprint:
    """Several stores: a column each, with picture, caption, and scene or numbers."""
    columns = []
    for dataset, kind in datasets.items():
        is_flat = kind in (Kind.KP2D, Kind.DENSE)
        numbers = _numbers_view(dataset)
        below = numbers if is_flat else rrb.Tabs(_scene(dataset), numbers, active_tab=0)
        parts = [_picture(dataset), _caption(dataset), below]
        columns.append(rrb.Vertical(*parts, row_shares=[4, 1, 3], name=dataset))
    return _blueprint(rrb.Horizontal(*columns), timeline=NUMBER)


def _blueprint(views: rrb.Container, *, timeline: str) -> rrb.Blueprint:
    return rrb.Blueprint(
        views,
        rrb.TimePanel(timeline=timeline, expanded=False, play_state="paused"),
        rrb.SelectionPanel(expanded=False),
        rrb.BlueprintPanel(expanded=False),
    )


def _picture(dataset: str) -> rrb.Spatial2DView:
    return rrb.Spatial2DView(origin=f"{dataset}/camera", name=f"{dataset}: picture")


def _caption(dataset: str) -> rrb.TextDocumentView:
    return rrb.TextDocumentView(origin=f"{dataset}/caption", name="example")


def _numbers_view(dataset: str) -> rrb.TimeSeriesView:
    return rrb.TimeSeriesView(origin=f"{dataset}/numbers", name="numbers")


def _scene(dataset: str) -> rrb.Spatial3DView:
    return rrb.Spatial3DView(
        origin=dataset,
        name="camera space, metres",
        contents=["$origin/pose/**", "$origin/camera", "$origin/camera/picture"],
        eye_controls=rrb.EyeControls3D(
            position=(-3, -2, -1), look_target=(0, 0, 3), eye_up=(0, -1, 0)
        ),
    )


def log_example(
    recording: rr.RecordingStream,
    dataset: str,
    example: ViewedExample,
    *,
    number: int,
    intrinsics: Array,
    skeleton: Skeleton,
    caption: str,
) -> None:
    """Add one example to a recording.

    Args:
        number: of the example among those that were selected.
        intrinsics: (3, 3), all zero where there is no camera.
        caption: shown as text.
    """
    recording.set_time(ROW, sequence=example.row)
    recording.set_time(NUMBER, sequence=number)
    recording.log(dataset, rr.ViewCoordinates.RDF, static=True)
    recording.log(f"{dataset}/caption", rr.TextDocument(caption))
    for name, value in _numbers(example).items():
        recording.log(f"{dataset}/numbers/{name}", rr.Scalars(value))
    camera = f"{dataset}/camera"
    picture = example.picture if example.is_usable else draw_example(example, skeleton)
    if example.joints3d is not None:
        height, width = picture.shape[:2]
        pinhole = rr.Pinhole(
            image_from_camera=intrinsics if intrinsics.any() else np.eye(3),
            resolution=[width, height],
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=_IMAGE_PLANE_M,
        )
        recording.log(camera, pinhole)
        _log_pose(recording, f"{dataset}/pose", example.joints3d, example.validity, skeleton)
    # Raw pixels: the viewer takes encoded pictures for frames of a video, all of one size.
    recording.log(f"{camera}/picture", rr.Image(picture))
    _log_overlays(recording, camera, example, skeleton)


def _log_pose(
    recording: rr.RecordingStream,
    entity: str,
    joints3d: Array,
    validity: npt.NDArray[np.bool_],
    skeleton: Skeleton,
) -> None:
    strips, colours = _bones(joints3d, validity, skeleton)
    recording.log(f"{entity}/bones", rr.LineStrips3D(strips, colors=colours, radii=0.008))
    points = rr.Points3D(
        joints3d[validity],
        colors=palette.joint_colours(skeleton)[validity],
        radii=0.015,
        labels=_names(skeleton, validity),
        show_labels=False,
    )
    recording.log(f"{entity}/joints", points)


def _log_overlays(
    recording: rr.RecordingStream, camera: str, example: ViewedExample, skeleton: Skeleton
) -> None:
    """Every overlay of every example, empty ones too: else the last example's would stay."""
    is_drawn = example.is_drawn & example.is_usable
    box = np.zeros((0, 4)) if example.box is None else example.box[None][: example.is_usable]
    boxes = rr.Boxes2D(mins=box[:, :2], sizes=box[:, 2:], colors=[palette.BOX])
    recording.log(f"{camera}/box", boxes)
    recording.log(f"{camera}/mask", rr.LineStrips2D(_outlines(example), colors=[palette.MASK]))
    if example.surface is not None:
        surface = rr.Points2D(example.surface.pixels, colors=example.surface.colours, radii=-3.0)
        recording.log(f"{camera}/surface", surface)
    strips, colours = _bones(example.joints2d, is_drawn, skeleton)
    recording.log(f"{camera}/bones", rr.LineStrips2D(strips, colors=colours, radii=-1.5))
    joints = rr.Points2D(
        example.joints2d[is_drawn],
        colors=palette.joint_colours(skeleton)[is_drawn],
        radii=-3.0,
        labels=_names(skeleton, is_drawn),
        show_labels=False,
    )
    recording.log(f"{camera}/joints", joints)
    is_root = is_drawn & (np.arange(len(is_drawn)) == example.root_index)
    root = rr.Points2D(example.joints2d[is_root], colors=[palette.ROOT], radii=-6.0, draw_order=25)
    recording.log(f"{camera}/root", root)


def _outlines(example: ViewedExample) -> list[Array]:
    if example.mask is None or not example.is_usable:
        return []
    contours, _ = cv2.findContours(
        example.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    return [np.concatenate([contour[:, 0], contour[:1, 0]]) for contour in contours]


def _bones(
    points: Array, validity: npt.NDArray[np.bool_], skeleton: Skeleton
) -> tuple[list[Array], palette.Colours]:
    kept = [n for n, (i, j) in enumerate(skeleton.edges) if validity[i] and validity[j]]
    strips = [points[list(skeleton.edges[n])] for n in kept]
    return strips, palette.edge_colours(skeleton)[kept]


def _names(skeleton: Skeleton, validity: npt.NDArray[np.bool_]) -> list[str]:
    return [name for name, v in zip(skeleton.joint_names, validity, strict=True) if v]


def _numbers(example: ViewedExample) -> Mapping[str, float]:
    numbers = {"valid_joints": float(example.validity.sum())}
    if example.surface is not None:
        numbers["surface_points"] = float(len(example.surface.pixels))
    if example.depth_m is not None:
        numbers["depth_m"] = example.depth_m
    if example.box is not None:
        numbers["box_height_px"] = float(example.box[3])
    return numbers
