"""What the report objects to: one row per check, in plain words, with its figure and its bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExampleCheck:
    """Examples whose quantity is beyond the bounds are suspect; the figure is their share.

    Attributes:
        key: of the figure, in report.json.
        quantity: what is measured of each example.
        title: what is wrong if it is breached.
        meaning: how it is measured, in a sentence or two.
        causes: what usually is behind it.
        unit: of the quantity, as written behind a number.
        measure: of the quantity, in a word or two.
        low, high: names of the bounds in `report.suspects`; None is no bound.
        limit: name of the share that may be suspect, in `report.limits`.
    """

    key: str
    quantity: str
    title: str
    meaning: str
    causes: str
    unit: str = ""
    measure: str = ""
    low: str | None = None
    high: str | None = None
    limit: str = "most_suspect"


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """A figure of the whole dataset must lie within limits.

    Attributes:
        key, title, meaning, causes, unit: as above.
        quantity: whose suspects show what is wrong; None where there is nothing to show.
        low, high: names of the limits in `report.limits`; None is no limit.
    """

    key: str
    title: str
    meaning: str
    causes: str
    unit: str = ""
    quantity: str | None = None
    low: str | None = None
    high: str | None = None


EXAMPLE_CHECKS = (
    ExampleCheck(
        "swapped_sides",
        "handedness",
        "Left and right are swapped",
        "Toes, knees, nose and elbows lie before or behind the body where anatomy and this "
        "dataset's "
        "own people have them: 1. Swapping the sides turns that round: −1.",
        "Joint names of another convention; a picture that was mirrored without its labels; "
        "camera coordinates of the wrong handedness.",
        low="least_handedness",
        measure="handedness",
    ),
    ExampleCheck(
        "twisted_torso",
        "twist_cosine",
        "Hips and shoulders point to opposite sides",
        "Cosine of the angle between the line of the hips and the line of the shoulders (in 2D: "
        "whether both stand in the same order, where both are wide).",
        "The sides of one pair of joints are swapped, or its joints are mixed up.",
        low="least_twist_cosine",
        measure="cosine",
    ),
    ExampleCheck(
        "odd_bones",
        "bone_factor",
        "Bones of impossible length",
        "The factor by which the worst bone differs from what this dataset's bones and the "
        "person's "
        "size lead one to expect.",
        "Joints mixed up, one joint annotated at a wrong place, one twin on the wrong side.",
        unit="×",
        high="most_bone_factor",
        measure="factor",
    ),
    ExampleCheck(
        "odd_bones_2d",
        "bone_factor_2d",
        "Bones too long for the person",
        "A bone seen at a slant looks short, never long: its length in the picture over the "
        "longest "
        "it usually has here, both in box diagonals.",
        "Joints mixed up, joints of another person, a box at another resolution.",
        unit="×",
        high="most_bone_factor_2d",
        measure="factor",
    ),
    ExampleCheck(
        "body_size",
        "body_m",
        "Not the size of a person",
        "Ankle to knee to hip, and on to the shoulders, along the bones: some 1.3 m of an adult.",
        "Millimetres, centimetres or inches taken for metres (a factor of 1000, 100 or 39), or "
        "a scale "
        "applied twice.",
        unit=" m",
        low="least_body_m",
        high="most_body_m",
        measure="length",
    ),
    ExampleCheck(
        "relative_size",
        "relative_size",
        "Much larger or smaller than the others",
        "Size of the body against the median person of this dataset.",
        "Units of one part of the data, one bad scale; or children, if there are any.",
        unit="×",
        low="least_relative_size",
        high="most_relative_size",
        measure="size",
    ),
    ExampleCheck(
        "depth",
        "depth_m",
        "At an impossible distance",
        "Depth of the root joint in camera space.",
        "Units of the camera's position, a camera of another calibration.",
        unit=" m",
        low="least_depth_m",
        high="most_depth_m",
        measure="depth",
    ),
    ExampleCheck(
        "behind_camera",
        "points_behind",
        "Points behind the camera",
        "Valid points whose depth is zero or negative.",
        "The wrong camera, or its inverse (camera to world taken for world to camera).",
        unit=" points",
        high="most_points_behind",
        measure="count",
    ),
    ExampleCheck(
        "field_of_view",
        "view_deg",
        "No camera sees like that",
        "The larger field of view of the stored picture, by its focal length and size.",
        "Focal length of another resolution, in millimetres, or of the uncropped picture.",
        unit="°",
        low="least_view_deg",
        high="most_view_deg",
        measure="angle",
    ),
    ExampleCheck(
        "box_misplaced",
        "box_offset",
        "The box is not where the points are",
        "Distance between the middle of the visible joints and the middle of the box, in box "
        "diagonals.",
        "The wrong camera, labels of another picture, a box at another resolution.",
        high="most_box_offset",
        measure="distance",
    ),
    ExampleCheck(
        "box_wrong_size",
        "box_ratio",
        "The box has another size than the person",
        "Diagonal of the box over that of the visible joints.",
        "A box at another resolution, the wrong focal length, labels of another picture.",
        unit="×",
        low="least_box_ratio",
        high="most_box_ratio",
        measure="ratio",
    ),
    ExampleCheck(
        "points_off_box",
        "share_in_box",
        "Points outside the box",
        "Share of the joints inside the box, widened by a tenth of its diagonal: boxes are tight "
        "around what is visible, so hidden joints may stick out.",
        "The wrong camera, labels of another picture, a mirrored picture.",
        low="least_share_in_box",
        measure="share",
    ),
    ExampleCheck(
        "box_beyond_picture",
        "box_beyond",
        "The box leaves the picture",
        "Share of the box's area that lies outside the picture.",
        "A box at another resolution, or of the uncropped picture.",
        high="most_box_beyond",
        measure="share",
    ),
    ExampleCheck(
        "points_off_mask",
        "share_on_mask",
        "Points off the person's mask",
        "Share of the joints on the mask or close to it (3 % of the box diagonal).",
        "The wrong camera or lens, labels of another picture, a mirrored picture.",
        low="least_share_on_mask",
        measure="share",
    ),
    ExampleCheck(
        "mask_of_other_size",
        "mask_differs",
        "Mask and picture differ in size",
        "Pixels by which the sizes of mask and picture differ.",
        "Labels of another picture; a mask at another resolution.",
        unit=" px",
        high="most_mask_difference",
        measure="difference",
    ),
    ExampleCheck(
        "faint_outline",
        "outline_contrast",
        "The mask's outline is not in the picture",
        "How much faster the picture changes along the mask's outline than beside it: 1 is chance.",
        "Pictures off by one, a mask of somebody else; or a person hardly set off from what is "
        "behind.",
        unit="×",
        low="least_outline_contrast",
        limit="most_faint_outlines",
        measure="contrast",
    ),
    ExampleCheck(
        "surface_sides",
        "surface_sides",
        "Joints and surface points disagree on left and right",
        "Surface points of arms and legs lie at the joints of their own side: 1; at those of "
        "the other: −1.",
        "The sides of the joints or of the surface points are swapped.",
        low="least_surface_sides",
        limit="most_surface_suspects",
        measure="agreement",
    ),
    ExampleCheck(
        "unreadable_header",
        "header_missing",
        "Pictures without a readable header",
        "Stored pictures whose size cannot be read.",
        "Broken files; run `cli.py verify`.",
        high="most_headers_missing",
        measure="count",
    ),
    ExampleCheck(
        "dark_picture",
        "brightness",
        "Pictures too dark to see anything",
        "Grey level, 0 to 255, that the brightest hundredth of the picture reaches.",
        "Frames before the light went on, failed renderings, a wrong bit depth.",
        low="least_brightness",
        measure="grey level",
    ),
    ExampleCheck(
        "constant_picture",
        "picture_spread",
        "Pictures of nothing",
        "Standard deviation of the picture's grey levels, 0 to 255.",
        "Failed renderings or downloads, placeholder pictures.",
        low="least_picture_spread",
        measure="deviation",
    ),
)

DATASET_CHECKS = (
    DatasetCheck(
        "rejected",
        "Many examples were rejected",
        "Share of the examples that `prepare` could not use.",
        "See the reasons below; missing pictures are most often a wrong folder.",
        high="most_rejected",
    ),
    DatasetCheck(
        "rarest_joint",
        "A joint is hardly ever annotated",
        "Share of the examples in which the rarest joint is valid.",
        "A joint this dataset does not have, or a column that was lost.",
        low="least_joint_validity",
    ),
    DatasetCheck(
        "bone_spread",
        "A bone has no fixed length",
        "Spread of the most variable bone over all people, as a share of its length, after taking "
        "out their sizes. Bones are rigid.",
        "Joints in another order than their names; edges between joints that share no bone.",
        quantity="bone_factor",
        high="most_bone_spread",
    ),
    DatasetCheck(
        "asymmetry",
        "Left and right bones differ in length",
        "Largest difference between the usual lengths of a left bone and its right twin.",
        "Joints in another order than their names; a wrong left/right map.",
        quantity="bone_factor",
        high="most_asymmetry",
    ),
    DatasetCheck(
        "asymmetry_2d",
        "Left and right bones differ in length",
        "Largest difference between the lengths that a left bone and its right twin reach in "
        "pictures.",
        "Joints in another order than their names; a wrong left/right map.",
        quantity="bone_factor_2d",
        high="most_asymmetry_2d",
    ),
    DatasetCheck(
        "median_box_ratio",
        "Boxes have another scale than the points",
        "Median diagonal of the box over that of the visible joints.",
        "The wrong focal length, boxes at another resolution.",
        unit="×",
        quantity="box_ratio",
        low="least_median_box_ratio",
        high="most_median_box_ratio",
    ),
    DatasetCheck(
        "median_on_mask",
        "Points do not fall on the masks",
        "Median share of an example's joints on its mask.",
        "The wrong focal length or lens, labels of another picture, mirrored pictures.",
        quantity="share_on_mask",
        low="least_median_on_mask",
    ),
    DatasetCheck(
        "median_contrast",
        "Masks and pictures do not belong together",
        "Median change along the mask's outline over that beside it: 1 is chance.",
        "Labels belong to a neighbouring picture, masks included.",
        unit="×",
        quantity="outline_contrast",
        low="least_median_contrast",
    ),
    DatasetCheck(
        "near_foot_lower",
        "Left and right are swapped throughout",
        "Share of people, seen from the side, whose foot on the camera's side is the lower one "
        "in the "
        "picture. Cameras look down a little, so it mostly is; told over many examples only.",
        "Joint names of another convention; mirrored pictures.",
        low="least_near_foot",
    ),
    DatasetCheck(
        "frontal_eyes",
        "Left and right eyes are swapped throughout",
        "Share of faces whose left eye stands to the right in the picture, as in faces that "
        "look at "
        "the camera; about a half where eyes seen from behind are annotated too.",
        "Joint names of another convention; mirrored pictures.",
        low="least_frontal_eyes",
    ),
    DatasetCheck(
        "lens_preference",
        "Points fit better without the lens",
        "Share of the examples with lens distortion whose joints lie deeper in the mask if it "
        "is left out.",
        "Pictures that were undistorted already, with the coefficients kept.",
        high="most_lens_preference",
    ),
    DatasetCheck(
        "half_used_lens",
        "The same camera with and without its lens",
        "Share of the examples without distortion whose camera matrix others have with distortion.",
        "The coefficients were lost for a part of the data.",
        high="most_half_used_lens",
    ),
    DatasetCheck(
        "duplicates",
        "The same picture under several names",
        "Share of the examples whose picture equals, byte by byte, one of another name.",
        "Frames copied to fill gaps, a placeholder picture, pictures off by one at the end of "
        "a take.",
        quantity="duplicates",
        high="most_duplicates",
    ),
    DatasetCheck(
        "shared_between_splits",
        "The same picture in two splits",
        "Share of the examples whose picture, byte by byte, is in another split too.",
        "Test data among the training data.",
        quantity="shared_between_splits",
        high="most_duplicates",
    ),
    DatasetCheck(
        "pose_distance",
        "Nearly all poses are the same",
        "Median difference between two poses: joint distances, size taken out, 0 is the same pose.",
        "One frame repeated, a constant column, a sensor that stood still.",
        low="least_pose_distance",
    ),
)
