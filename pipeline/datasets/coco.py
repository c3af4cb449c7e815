"""COCO keypoints: people in everyday photographs, 17 joints by hand.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
https://cocodataset.org
"""

from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.schema import Kind
from pipeline.skeletons import skeleton_from_names

COCO_JOINTS = (
    "nose leye reye lear rear lsho rsho lelb relb lwri rwri lhip rhip lkne rkne lank rank"
).split()
COCO_PATHS = ("rsho-relb-rwri", "rhip-rkne-rank", "nose-reye-rear")

COCO = DatasetDeclaration(
    name="coco",
    paper="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    url="https://cocodataset.org",
    licence="annotations CC BY 4.0; pictures under their Flickr terms",
    file_name="coco.pkl",
    kind=Kind.KP2D,
    splits=("train", "valid"),
    frame="pixels only, no camera",
    skeleton=skeleton_from_names(COCO_JOINTS, paths=COCO_PATHS),
    quirks=("There is no pelvis joint, so examples have no root.",),
)
