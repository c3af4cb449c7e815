"""The SavedModel takes a picture, its camera and any points, and says what the model says."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from errors import ConfigError
from pipeline.cameras import make_camera
from pipeline.training_crop import training_camera
from pipeline.warping import warp_image
from stages.evaluate.predictions import Predictor
from stages.train.export import crop_camera, export, load_localizer, warp
from tests.stages.train.stick_figures import PLACES
from tests.stages.train.tiny_run import tiny_model, tiny_settings

PROJECT = Path(__file__).parents[3]
INTRINSICS = np.array([[310, 0, 170.5], [0, 290, 101.25], [0, 0, 1]], np.float32)

# Keras 3.15 converts variables in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def picture_of(height: int, width: int) -> np.ndarray:
    """Smooth, so that two ways of interpolating agree."""
    y, x = np.mgrid[:height, :width] / 30
    waves = [np.sin(x + phase) * np.cos(y - phase) for phase in (0, 1, 2)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("box", [(200, 30, 60, 140), (10, 90, 120, 50), (100, 100, 40, 40)])
def test_the_crop_is_that_of_evaluation(box: tuple[int, ...]) -> None:
    source = make_camera(INTRINSICS, distortion=np.zeros(14), world_up=None)
    wanted = training_camera(source, np.array(box, np.float64), side=48)
    turn, target = crop_camera(tf.constant(INTRINSICS), tf.constant(box, tf.float32), side=48)
    np.testing.assert_allclose(turn, wanted.rotation @ source.rotation.T, atol=1e-5)
    np.testing.assert_allclose(target, wanted.intrinsics, rtol=1e-4, atol=1e-3)

    picture = picture_of(240, 320)
    seen = warp(tf.constant(picture), tf.constant(INTRINSICS), turn, target, side=48).numpy()
    reference = warp_image(picture, source, wanted, size=(48, 48))
    inside = reference.min(axis=-1) > 0
    assert inside.mean() > 0.6
    assert np.abs(seen[inside].astype(int) - reference[inside]).mean() < 3


def test_what_is_saved_is_the_model_and_takes_any_points(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, {"head.proc_side": 48, "head.stride_train": 4})
    model = tiny_model(settings)
    localizer = tf.saved_model.load(str(export(model, tmp_path / "saved_model")))
    points = np.concatenate([PLACES, PLACES[:4] + 0.03]).astype(np.float32)

    crops = np.stack([picture_of(48, 48), picture_of(48, 48)[::-1]])
    intrinsics = np.array([[90, 0, 23.5], [0, 90, 23.5], [0, 0, 1]], np.float32)[np.newaxis]
    intrinsics = np.repeat(intrinsics, 2, axis=0)
    said = localizer.crops(crops, intrinsics, points)
    wanted = Predictor(model)(crops, intrinsics, points)
    np.testing.assert_allclose(said["coords3d"], wanted.coords3d, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(said["coords2d"], wanted.coords2d, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(said["uncert"], wanted.uncert, rtol=1e-4)

    # Of a picture the answer is that of the crop, moved back into the picture's camera.
    picture, box = picture_of(240, 320), np.array([100, 40, 60, 140], np.float32)
    found = localizer.in_box(picture, INTRINSICS, points[:7], box)
    turn, target = crop_camera(tf.constant(INTRINSICS), tf.constant(box), side=48)
    crop = warp(tf.constant(picture), tf.constant(INTRINSICS), turn, target, side=48)
    inside = localizer.crops(crop[np.newaxis], target[np.newaxis], points[:7])
    back = inside["coords3d"][0].numpy() @ turn.numpy()
    np.testing.assert_allclose(found["coords3d"], back, rtol=1e-3, atol=1e-4)
    homogeneous = back @ INTRINSICS.T
    in_front = back[:, 2] > 0.1
    pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    np.testing.assert_allclose(found["coords2d"].numpy()[in_front], pixels[in_front], rtol=1e-3)
    whole = localizer(picture, INTRINSICS, points)
    assert whole["uncert"].shape == (19,) and np.isfinite(whole["coords3d"]).all()


def test_the_lines_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "docs" / "using_the_model.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(import numpy.*?)```", text, re.DOTALL)
    (tmp_path / "data" / "sample").mkdir(parents=True)
    np.savez(tmp_path / "data" / "sample" / "body.npz", canonical_joints=PLACES)
    assert cv2.imwrite(str(tmp_path / "person.jpg"), picture_of(480, 640))
    model = tiny_model(tiny_settings(tmp_path))
    export(model, tmp_path / "models" / "localizer" / "saved_model")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(lines, names)
    found = names["found"]
    assert found["coords2d"].shape == (16, 2)  # type: ignore[index]
    assert found["coords3d"].shape == (16, 3)  # type: ignore[index]


def test_without_a_model_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no trained model[^$]*cli\.py train"):
        load_localizer(tmp_path / "model.keras")
