"""Joints are projected through the lens, as the genuine camera classes do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.view.projection import project
from tests.stages.view.people import INTRINSICS, PIXELS, joints3d

SHARED = Path(__file__).resolve().parents[4] / "shared" / "pickles"


def test_without_distortion_it_is_the_pinhole_formula() -> None:
    projection = project(joints3d(), intrinsics=INTRINSICS, distortion=np.zeros(14))
    assert projection.pixels == pytest.approx(PIXELS, abs=1e-4)
    assert projection.is_ahead.all()


def test_points_behind_the_camera_are_told_apart() -> None:
    points = joints3d()
    points[2, 2], points[3, 2] = -1, 0
    projection = project(points, intrinsics=INTRINSICS, distortion=np.zeros(14))
    assert projection.is_ahead.tolist() == [True, True, False, False, True, True]
    assert np.isfinite(projection.pixels).all()


def test_a_lens_never_folds_what_is_outside_back_into_the_picture() -> None:
    distortion = np.zeros(14)
    distortion[0] = -0.4  # barrel: the radius grows only up to 0.91
    points = np.array([[0.2, 0, 1], [1.5, 0, 1], [-30, 0, 1]])
    pixels = project(points, intrinsics=INTRINSICS, distortion=distortion).pixels
    assert pixels[0, 0] == pytest.approx(159.5 + 400 * 0.2 * (1 - 0.4 * 0.04))
    assert pixels[1, 0] > 320
    assert pixels[2, 0] < 0


@pytest.mark.parametrize("name", ["agora3", "behave", "mads"])
def test_genuine_examples_land_where_the_genuine_cameras_put_them(name: str) -> None:
    path = SHARED / f"{name}_expected.npz"
    if not path.is_file():
        pytest.skip("the genuine pickles are not beside this repository")
    with np.load(path) as expected:
        camera, image, valid = (expected[k] for k in ("camcoords_m", "imcoords_px", "validity"))
        intrinsics, distortion = expected["intrinsics"], expected["distortion12"]
    worst = 0.0
    for i in range(len(camera)):
        projection = project(
            camera[i], intrinsics=intrinsics[i], distortion=np.pad(distortion[i], (0, 2))
        )
        worst = max(worst, float(np.abs(projection.pixels - image[i])[valid[i]].max()))
    assert worst < 0.05
