"""What `report` can be told by params.yaml: how much it looks at, and from where on it objects."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from stages.settings import PROJECT_ROOT


@dataclass(frozen=True, slots=True)
class SuspectBounds:
    """From where on a single example is suspect. Defaults leave room to what clean data shows.

    Attributes:
        least_handedness: 1 is as anatomy has it, -1 is swapped; clean samples stay above 0.05.
        least_twist_cosine: between the lines of hips and shoulders; below 0 is wrung beyond 90°.
        most_bone_factor: by which a bone may be off in 3D; clean samples stay below 1.3.
        most_bone_factor_2d: over the longest it usually appears in the picture.
        least_body_m, most_body_m: ankle to hip to shoulder along the bones.
        least_relative_size, most_relative_size: of a body against the dataset's median.
        least_depth_m, most_depth_m: of the root.
        least_view_deg, most_view_deg: the camera's larger field of view.
        most_box_offset: middle of the joints to middle of the box, in box diagonals.
        least_box_ratio, most_box_ratio: diagonal of the box over that of the joints.
        least_share_in_box: of the joints, in the box widened by a tenth of its diagonal.
        most_box_beyond: share of the box outside the picture.
        least_share_on_mask: of the joints, within 3 % of the box diagonal from the mask.
        least_outline_contrast: change along the mask's outline over that beside it.
        least_brightness: grey level that the brightest hundredth of a picture must reach.
        least_picture_spread: standard deviation of a picture's grey levels.
        least_surface_sides: 1 if surface points lie at the joints of their side, -1 if not.
        most_points_behind: the camera, of one example.
        most_mask_difference: pixels between the sizes of mask and picture.
        most_headers_missing: pictures of an example whose size cannot be read.
    """

    least_handedness: float = -0.2
    least_twist_cosine: float = -0.2
    most_bone_factor: float = 1.5
    most_bone_factor_2d: float = 2.2
    least_body_m: float = 0.5
    most_body_m: float = 2.0
    least_relative_size: float = 0.5
    most_relative_size: float = 1.7
    least_depth_m: float = 0.2
    most_depth_m: float = 150.0
    least_view_deg: float = 1.0
    most_view_deg: float = 150.0
    most_box_offset: float = 0.35
    least_box_ratio: float = 0.67
    most_box_ratio: float = 2.0
    least_share_in_box: float = 0.6
    most_box_beyond: float = 0.35
    least_share_on_mask: float = 0.45
    least_outline_contrast: float = 1.15
    least_brightness: float = 30.0
    least_picture_spread: float = 4.0
    least_surface_sides: float = -0.6
    most_points_behind: float = 0.0
    most_mask_difference: float = 1.0
    most_headers_missing: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a whole dataset is objected to.

    Attributes:
        most_suspect: share of its examples that may be suspect, in each respect.
        most_faint_outlines: the same for outlines, which busy pictures drown now and then.
        most_surface_suspects: the same for sides by surface points: limbs cross the body.
        most_rejected: share of the examples that `prepare` may have rejected.
        least_joint_validity: share of examples in which the rarest joint is annotated.
        most_bone_spread: of the most variable bone, robust standard deviation of its logarithm.
        most_asymmetry, most_asymmetry_2d: between the medians of a left bone and its right twin.
        least_median_box_ratio, most_median_box_ratio: diagonal of the box over that of the joints.
        least_median_on_mask: share of the joints on the mask.
        least_median_contrast: of the outline.
        least_near_foot: share of people seen from the side whose nearer foot is the lower one.
        least_frontal_eyes: share of faces whose left eye is to the right in the picture.
        most_lens_preference: share of distorted examples whose mask fits better without the lens.
        most_half_used_lens: share of undistorted examples whose camera others have distorted.
        most_duplicates: share of examples whose picture is another's under another name.
        least_pose_distance: median between two poses, in bone lengths, sizes taken out.
    """

    most_suspect: float = 0.002
    most_faint_outlines: float = 0.15
    most_surface_suspects: float = 0.01
    most_rejected: float = 0.05
    least_joint_validity: float = 0.01
    most_bone_spread: float = 0.2
    most_asymmetry: float = 0.15
    most_asymmetry_2d: float = 0.45
    least_median_box_ratio: float = 0.93
    most_median_box_ratio: float = 1.5
    least_median_on_mask: float = 0.8
    least_median_contrast: float = 1.25
    least_near_foot: float = 0.4
    least_frontal_eyes: float = 0.25
    most_lens_preference: float = 0.7
    most_half_used_lens: float = 0.05
    most_duplicates: float = 0.0
    least_pose_distance: float = 0.1


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """The `report` section of params.yaml.

    Attributes:
        out: folder of `report.html` and `report.json`.
        datasets: reported on where the command line names none.
        seed: of the samples; same seed, same report.
        reference_examples: examples from which the typical body is learnt.
        mask_examples: examples whose masks are compared with their joints.
        picture_examples: examples whose pictures are decoded: that is what takes time.
        rows_per_block: rows read at a time, which bounds the memory.
        thumbnails: worst examples drawn per finding.
        thumbnail_side: longer side of each, pixels.
        suspects: bounds for single examples.
        limits: bounds for whole datasets.
    """

    out: Path = PROJECT_ROOT / "reports/labels"
    datasets: tuple[str, ...] = ("agora", "behave", "mads", "coco", "densepose_coco")
    seed: int = 1
    reference_examples: int = 2048
    mask_examples: int = 384
    picture_examples: int = 64
    rows_per_block: int = 4096
    thumbnails: int = 4
    thumbnail_side: int = 300
    suspects: SuspectBounds = field(default_factory=SuspectBounds)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("reference_examples", "rows_per_block"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive")
        for name in ("mask_examples", "picture_examples", "thumbnails", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 64 <= self.thumbnail_side <= 1024:
            raise ValueError("thumbnail_side must be 64 to 1024")
        for bounds in (self.suspects, self.limits):
            for bound in dataclasses.fields(bounds):
                other = bound.name.replace("least_", "most_")
                if other == bound.name or not hasattr(bounds, other):
                    continue
                if getattr(bounds, bound.name) >= getattr(bounds, other):
                    raise ValueError(f"{bound.name} must be below {other}")
