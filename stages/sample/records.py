"""What is known about an example before it is pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.sample.surface import Array


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """A camera as PosePile keeps it: millimetres, float32.

    Attributes:
        rotation: (3, 3), world to camera.
        position: (3,), optical centre in the world, mm.
        intrinsics: (3, 3), pixels.
        distortion: OpenCV coefficients or None.
        world_up: (3,), unit.
    """

    rotation: Array
    position: Array
    intrinsics: Array
    distortion: Array | None
    world_up: Array


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """One example on its way into a pickle.

    Attributes:
        split: 0 train, 1 valid, 2 test.
        image_path: relative to the data root.
        joints: float32 (J, 3) world mm, or (J, 2) pixels; NaN where missing.
        bbox: float32 (4,), x, y, width, height.
        camera: None for 2D examples.
        mask: compressed COCO run lengths with their (height, width), or None.
        mask_form: `counts`, `zcounts` or `list`.
        is_sparse: whether the joints and the box are stored in the compressed form.
        densepose: pixels (m, 2), vertex triplets (m, 3), barycentric weights (m, 3), or None.
        parameters: of a body model, or None.
    """

    split: int
    image_path: str
    joints: Array
    bbox: Array
    camera: CameraRecord | None = None
    mask: tuple[bytes, tuple[int, int]] | None = None
    mask_form: str = "counts"
    is_sparse: bool = False
    densepose: tuple[Array, Array, Array] | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PickleForm:
    """What differs between the files of one PosePile era.

    Attributes:
        dimensions: 3 or 2.
        camera_class: module of the class `Camera`.
    """

    dimensions: int
    camera_class: str = "cameravision.cameravision"
