"""The trained model as a SavedModel: a picture, its camera and any points of the body in.

What it gives is in the picture's own frames: pixels of the picture, metres in its camera's frame.
The crop around the person is made inside, as for evaluation (turned towards the person, square
pixels, no augmentation), so that nothing but TensorFlow is needed to use it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import tensorflow as tf

from errors import ConfigError
from stages.train import require_model
from stages.train.metrics import expected_error_factor
from stages.train.model import LocalizerModel
from stages.train.projection import project

FLOATS = tf.float32
PICTURE = tf.TensorSpec((None, None, 3), tf.uint8, "picture")
INTRINSICS = tf.TensorSpec((3, 3), FLOATS, "intrinsics")
POINTS = tf.TensorSpec((None, 3), FLOATS, "points")
BOX = tf.TensorSpec((4,), FLOATS, "box")


class Localizer(tf.Module):
    """What is saved: `localizer(picture, intrinsics, points)`, and with `in_box` a person's box.

    `picture` uint8 (H, W, 3), RGB, of any size and without lens distortion; `intrinsics` float32
    (3, 3), pixels, the centre of the top-left pixel being (0, 0); `points` float32 (P, 3), metres
    in the canonical frame; `box` float32 (4,), x, y, width, height, pixels.

    Both return a mapping: `coords2d` (P, 2), pixels of the picture; `coords3d` (P, 3), metres,
    x right, y down, z forward from the camera; `uncert` (P,), metres, the error to be expected.

    `crops` does the same for N crops of the network's input size at once, `picture` (N, S, S, 3),
    `intrinsics` (N, 3, 3), and returns (N, P, ...).
    """

    def __init__(self, model: LocalizerModel) -> None:
        super().__init__(name="localizer")
        self.model = model
        self._side = model.settings.head.proc_side
        self.proc_side = tf.constant(self._side)
        self._uncert_factor = expected_error_factor(model.settings.loss)
        crop = tf.TensorSpec((None, self._side, self._side, 3), tf.uint8, "picture")
        batch = tf.TensorSpec((None, 3, 3), FLOATS, "intrinsics")
        self.crops = tf.function(self._crops, input_signature=[crop, batch, POINTS])

    @tf.function(input_signature=[PICTURE, INTRINSICS, POINTS])
    def __call__(
        self, picture: tf.Tensor, intrinsics: tf.Tensor, points: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        height, width = tf.unstack(tf.cast(tf.shape(picture)[:2], FLOATS))
        zero = tf.zeros([])
        return self.in_box(picture, intrinsics, points, tf.stack([zero, zero, width, height]))

    @tf.function(input_signature=[PICTURE, INTRINSICS, POINTS, BOX])
    def in_box(
        self, picture: tf.Tensor, intrinsics: tf.Tensor, points: tf.Tensor, box: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        turn, target = crop_camera(intrinsics, box, side=self._side)
        crop = warp(picture, intrinsics, turn, target, side=self._side)
        found = self._crops(crop[tf.newaxis], target[tf.newaxis], points)
        # Rows times the rotation: its transpose, back into the picture's camera.
        coords3d = tf.matmul(found["coords3d"][0], turn)
        min_depth_m = self.model.settings.head.min_projection_depth_m
        pixels = project(coords3d[tf.newaxis], intrinsics[tf.newaxis], min_depth_m=min_depth_m)
        return {"coords2d": pixels[0], "coords3d": coords3d, "uncert": found["uncert"][0]}

    def _crops(
        self, picture: tf.Tensor, intrinsics: tf.Tensor, points: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        image = tf.cast(picture, FLOATS) / 255
        found = self.model(
            {"image": image, "intrinsics": intrinsics, "canonical_points": points}, training=False
        )
        min_depth_m = self.model.settings.head.min_projection_depth_m
        return {
            "coords2d": project(found["coords3d"], intrinsics, min_depth_m=min_depth_m),
            "coords3d": found["coords3d"],
            "uncert": found["uncert"] * self._uncert_factor,
        }


def export_file(path: Path) -> Path:
    """Write the SavedModel beside a model file.

    Raises:
        ConfigError: there is no such file, or it is not a localizer.
    """
    return export(load_localizer(path), path.parent / "saved_model")


def load_localizer(path: Path) -> LocalizerModel:
    """The trained model.

    Raises:
        ConfigError: there is none, or the file is not one.
    """
    require_model(path)
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ConfigError(
            "the model cannot be read", where=str(path), cause=str(error).splitlines()[0]
        ) from error
    if not isinstance(model, LocalizerModel):
        raise ConfigError("this is not a localizer", where=str(path))
    return model


def export(model: LocalizerModel, folder: Path) -> Path:
    """Write the SavedModel, replacing what was there."""
    temporary = folder.with_name(f".{folder.name}-tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    localizer = Localizer(model)
    tf.saved_model.save(localizer, str(temporary), signatures={"serving_default": localizer.in_box})
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    return folder


def crop_camera(intrinsics: tf.Tensor, box: tf.Tensor, *, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotation and intrinsics (3, 3) of the crop that shows the box's longer side in full.

    The counterpart of `pipeline.training_crop.training_camera` for a camera without distortion
    that is held upright.
    """
    size = box[2:]
    center = box[:2] + size / 2
    forward = _unit(_ray(center, intrinsics))
    down = tf.constant([0.0, 1.0, 0.0])
    right = _unit(tf.linalg.cross(down, forward))
    turn = tf.stack([right, tf.linalg.cross(forward, right), forward])
    focal = (intrinsics[0, 0] + intrinsics[1, 1]) / 2
    # The midpoints of the two shorter sides, as the turned camera sees them.
    is_wide = size[0] >= size[1]
    half = tf.where(is_wide, tf.stack([size[0], 0.0]), tf.stack([0.0, size[1]])) / 2
    ends = [tf.linalg.matvec(turn, _ray(center + sign * half, intrinsics)) for sign in (-1.0, 1.0)]
    first, second = (end[:2] / end[2] * focal for end in ends)
    zoomed = focal * side / tf.norm(second - first)
    middle = (side - 1) / 2
    target = tf.stack([[zoomed, 0.0, middle], [0.0, zoomed, middle], [0.0, 0.0, 1.0]])
    return turn, target


def warp(
    picture: tf.Tensor,
    intrinsics: tf.Tensor,
    turn: tf.Tensor,
    target: tf.Tensor,
    *,
    side: int,
) -> tf.Tensor:
    """The picture as the crop's camera sees it: uint8 (side, side, 3), black outside.

    A picture with more pixels than the crop can show is first made smaller, by averaging.
    """
    shape = tf.cast(tf.shape(picture)[:2], FLOATS)
    zoom = (target[0, 0] + target[1, 1]) / (intrinsics[0, 0] + intrinsics[1, 1])
    smaller = tf.cast(tf.math.ceil(shape * tf.minimum(zoom, 1.0)), tf.int32)
    resized = tf.image.resize(picture, smaller, method="area")
    y, x = tf.unstack(tf.cast(smaller, FLOATS) / shape)
    shrink = tf.stack([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2], [0.0, 0.0, 1.0]])
    # From pixels of the crop to those of the smaller picture.
    homography = shrink @ intrinsics @ tf.transpose(turn) @ tf.linalg.inv(target)
    flat = tf.reshape(homography / homography[2, 2], [-1])[:8]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=resized[tf.newaxis],
        transforms=flat[tf.newaxis],
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.cast(tf.clip_by_value(tf.round(warped[0]), 0, 255), tf.uint8)


def _ray(pixel: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    homogeneous = tf.concat([pixel, [1.0]], axis=0)
    return tf.linalg.matvec(tf.linalg.inv(intrinsics), homogeneous)


def _unit(vector: tf.Tensor) -> tf.Tensor:
    return vector / tf.norm(vector)
