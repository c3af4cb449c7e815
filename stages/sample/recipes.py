"""How each sample dataset is made: cameras, crowds, splits and gaps like the genuine one's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.datasets import DATASETS
from pipeline.skeletons import Skeleton
from stages.sample.body import rest_body
from stages.sample.records import PickleForm
from stages.sample.surface import Array

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One sample dataset.

    Attributes:
        name: as declared in pipeline.datasets.
        number: part of every seed of this dataset; never reuse or renumber.
        held_out_split: PosePile's number of the split for people not trained on, or None.
        form: of the pickle.
        world_up: unit, of the world as the pickle has it.
        distance_m: from the camera to the person.
        camera_height_m: above the floor.
        person_px: longer side of the person's box in a crop.
        full_share: of the examples seen in an uncropped picture with the lens as it is.
        full_size: height and width of uncropped pictures.
        full_focal_px: focal length of uncropped pictures.
        distortion: OpenCV coefficients of the lens, empty where there is none.
        group_share: of the pictures that several annotated people share.
        bystander_share: of the pictures with somebody else, not annotated, in the background.
        mask_shows_everybody: whether a mask covers all people instead of the example's person.
        parameters: body-model names that some examples come with.
        dropped_joints: left out together in about a quarter of the takes.
        is_dense: whether surface points are annotated.
    """

    name: str
    number: int
    held_out_split: int | None
    form: PickleForm
    world_up: Array = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    distance_m: Range = (2.0, 6.0)
    camera_height_m: Range = (0.5, 2.2)
    person_px: Range = (170.0, 290.0)
    full_share: float = 0.0
    full_size: tuple[int, int] = (540, 960)
    full_focal_px: float = 900.0
    distortion: tuple[float, ...] = ()
    group_share: float = 0.0
    bystander_share: float = 0.0
    mask_shows_everybody: bool = False
    parameters: tuple[str, ...] = ()
    dropped_joints: tuple[str, ...] = ()
    is_dense: bool = False

    @property
    def skeleton(self) -> Skeleton:
        return DATASETS[self.name].skeleton

    @property
    def file_name(self) -> str:
        return DATASETS[self.name].file_name

    @property
    def point_names(self) -> tuple[str, ...]:
        """The body's name of every joint: the joint's own, or else COCO's."""
        known = rest_body().points
        names = self.skeleton.joint_names
        return tuple(name if name in known else f"{name}_coco" for name in names)


_UP, _DOWN = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="agora",
            number=0,
            held_out_split=1,
            form=PickleForm(dimensions=3, camera_class="cameralib.cameralib"),
            world_up=_DOWN,
            distance_m=(3.0, 8.0),
            camera_height_m=(0.8, 3.0),
            full_share=0.02,
            group_share=0.12,
            bystander_share=0.30,
            mask_shows_everybody=True,
            parameters=("smplx", "smpl"),
        ),
        Recipe(
            name="behave",
            number=1,
            held_out_split=2,
            form=PickleForm(dimensions=3),
            world_up=_DOWN,
            distance_m=(2.0, 4.0),
            camera_height_m=(1.1, 2.1),
            full_share=0.03,
            full_size=(576, 768),
            full_focal_px=560.0,
            distortion=(0.45, -2.1, 0.0006, -0.0004, 1.3, 0.32, -1.95, 1.2),
            parameters=("smplh",),
        ),
        Recipe(
            name="mads",
            number=2,
            held_out_split=None,
            form=PickleForm(dimensions=3),
            world_up=_UP,
            distance_m=(2.6, 4.6),
            camera_height_m=(0.9, 1.9),
            full_share=0.04,
            full_size=(480, 640),
            full_focal_px=620.0,
            distortion=(-0.21, 0.16, 0.0008, -0.0005, -0.05),
            dropped_joints=("ltoe", "rtoe", "lhan", "rhan"),
        ),
        Recipe(
            name="coco",
            number=3,
            held_out_split=1,
            form=PickleForm(dimensions=2),
            distance_m=(1.8, 7.0),
            camera_height_m=(0.3, 2.4),
            person_px=(130.0, 290.0),
            bystander_share=0.20,
        ),
        Recipe(
            name="densepose_coco",
            number=4,
            held_out_split=None,
            form=PickleForm(dimensions=2),
            distance_m=(1.8, 7.0),
            camera_height_m=(0.3, 2.4),
            person_px=(150.0, 290.0),
            bystander_share=0.15,
            is_dense=True,
        ),
    )
}
