"""AGORA: rendered scans of clothed people in crowds, with SMPL and SMPL-X fits.

Patel et al., "AGORA: Avatars in Geography Optimized for Regression Analysis", CVPR 2021.
https://agora.is.tue.mpg.de
"""

from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.schema import Kind
from pipeline.skeletons import skeleton_from_names

SMPL_JOINTS = (
    "pelv lhip rhip bell lkne rkne spin lank rank thor ltoe rtoe neck lcla rcla head "
    "lsho rsho lelb relb lwri rwri lhan rhan"
).split()
SMPLX_JOINTS = (
    "pelv lhip rhip bell lkne rkne spin lank rank thor ltoe rtoe neck lcla rcla head "
    "lsho rsho lelb relb lwri rwri jaw leyehf reyehf lmiddle1 rmiddle1 nose reye leye rear lear "
    "lto2 lto3 lhee rto2 rto3 rhee lthu lmiddle rthu rmiddle"
).split()

AGORA = DatasetDeclaration(
    name="agora",
    paper="Patel et al., AGORA: Avatars in Geography Optimized for Regression Analysis, CVPR 2021",
    url="https://agora.is.tue.mpg.de",
    licence="non-commercial research; registration required",
    file_name="agora3.pkl",
    kind=Kind.PARAM,
    splits=("train", "valid"),
    frame="world y down, no lens distortion; originals of 3840 x 2160 pixels",
    skeleton=skeleton_from_names(
        [*SMPL_JOINTS, *(f"{name}_smplx" for name in SMPLX_JOINTS)],
        paths=[
            "rhan-rwri-relb-rsho-rcla-thor",
            "head-neck-thor-spin-bell-pelv-rhip-rkne-rank-rtoe",
            "rwri_smplx-relb_smplx-rsho_smplx-rcla_smplx-thor_smplx",
            "rank_smplx-rhee_smplx",
            "rto2_smplx-rtoe_smplx-rto3_smplx",
            (
                "rear_smplx-reye_smplx-nose_smplx-head_smplx-jaw_smplx-neck_smplx-thor_smplx"
                "-spin_smplx-bell_smplx-pelv_smplx-rhip_smplx-rkne_smplx-rank_smplx-rtoe_smplx"
            ),
        ],
    ),
    quirks=(
        "The mask covers all people of the picture, not the example's person.",
        "Several examples share one picture.",
        "Children are fitted with a kid factor beside the shape parameters.",
    ),
)
