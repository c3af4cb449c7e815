"""BEHAVE: people handling objects in front of four Kinects, with SMPL-H fits.

Bhatnagar et al., "BEHAVE: Dataset and Method for Tracking Human Object Interactions", CVPR 2022.
https://virtualhumans.mpi-inf.mpg.de/behave
"""

from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.schema import Kind
from pipeline.skeletons import skeleton_from_names

SMPL_JOINTS_PELVIS_LAST = (
    "lhip rhip bell lkne rkne spin lank rank thor ltoe rtoe neck lcla rcla head "
    "lsho rsho lelb relb lwri rwri lhan rhan pelv"
).split()
OPENPOSE_JOINTS = (
    "nose neck rsho relb rwri lsho lelb lwri rhip rkne rank lhip lkne lank reye leye rear lear "
    "lfoo ltoe lhee rfoo rtoe rhee pelv"
).split()

BEHAVE = DatasetDeclaration(
    name="behave",
    paper="Bhatnagar et al., BEHAVE: Dataset and Method for Tracking Human Object Interactions, "
    "CVPR 2022",
    url="https://virtualhumans.mpi-inf.mpg.de/behave",
    licence="non-commercial research; registration required",
    file_name="behave.pkl",
    kind=Kind.PARAM,
    splits=("train", "test"),
    frame="world y down in the frame of the first Kinect, so people may stand tilted; pictures of "
    "2048 x 1536 pixels with eight distortion coefficients",
    skeleton=skeleton_from_names(
        [*SMPL_JOINTS_PELVIS_LAST, *(f"{name}_coco" for name in OPENPOSE_JOINTS)],
        paths=[
            "head-neck-thor-rcla-rsho-relb-rwri-rhan",
            "spin-bell-pelv-rhip-rkne-rank-rtoe",
            "nose_coco-neck_coco-pelv_coco-rhip_coco-rkne_coco-rank_coco-rfoo_coco-rtoe_coco",
            "rank_coco-rhee_coco",
            "nose_coco-reye_coco-rear_coco",
            "neck_coco-rsho_coco-relb_coco-rwri_coco",
        ],
    ),
    quirks=("The pelvis is not the first joint: `pelv` is joint 23, `pelv_coco` joint 48.",),
)
