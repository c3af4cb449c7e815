"""DensePose-COCO: COCO people with pixels tied to places on the body surface.

Güler et al., "DensePose: Dense Human Pose Estimation in the Wild", CVPR 2018.
http://densepose.org
"""

from pipeline.datasets.coco import COCO_JOINTS, COCO_PATHS
from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.schema import Kind
from pipeline.skeletons import skeleton_from_names

DENSEPOSE_COCO = DatasetDeclaration(
    name="densepose_coco",
    paper="Güler et al., DensePose: Dense Human Pose Estimation in the Wild, CVPR 2018",
    url="http://densepose.org",
    licence="non-commercial (CC BY-NC); pictures under their Flickr terms",
    file_name="densepose_coco.pkl",
    kind=Kind.DENSE,
    splits=("train",),
    frame="pixels only, no camera",
    skeleton=skeleton_from_names(COCO_JOINTS, paths=COCO_PATHS),
    quirks=("Surface points name SMPL vertices (below 6890), already converted from (I, U, V).",),
)
