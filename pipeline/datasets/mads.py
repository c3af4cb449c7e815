"""MADS: martial arts, dancing and sports in front of several cameras, with marker-based joints.

Zhang et al., "Martial Arts, Dancing and Sports dataset: A challenging stereo and multi-view dataset
for 3D human pose estimation", Image and Vision Computing 61, 2017.
http://visal.cs.cityu.edu.hk/research/mads
"""

from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.schema import Kind
from pipeline.skeletons import skeleton_from_names

MADS = DatasetDeclaration(
    name="mads",
    paper="Zhang et al., Martial Arts, Dancing and Sports dataset, Image and Vision Computing 2017",
    url="http://visal.cs.cityu.edu.hk/research/mads",
    licence="academic research; ask the authors",
    file_name="mads.pkl",
    kind=Kind.KP3D,
    splits=("train",),
    frame="world y up; pictures of 1024 x 768 pixels with lens distortion",
    skeleton=skeleton_from_names(
        (
            "neck pelv lhip lkne lank ltoe rhip rkne rank rtoe "
            "lsho lelb lwri lhan rsho relb rwri rhan head"
        ).split(),
        paths=["head-neck-pelv-rhip-rkne-rank-rtoe", "neck-rsho-relb-rwri-rhan"],
    ),
    quirks=("Takes recorded with 15 joints leave toes and hands missing.",),
)
