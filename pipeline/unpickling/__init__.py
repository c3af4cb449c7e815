"""Read PosePile's pickled data sets of every era without running anything that stands in them.

`read_isolated` is the way in: it unpickles in a guarded child process, hands the data set to a
function of yours *in that child*, and brings home nothing but arrays and JSON.
"""

from pipeline.unpickling.annotations import Examples, PickledDataset
from pipeline.unpickling.bodies import BodyColumns, body_columns
from pipeline.unpickling.cameras import CameraColumns, camera_columns
from pipeline.unpickling.fields import (
    CoordinateColumn,
    Reading,
    boxes,
    coords2d,
    image_paths,
    world_coords,
)
from pipeline.unpickling.isolation import Extract, PendingRead, begin_read, read_isolated
from pipeline.unpickling.loading import load_annotations
from pipeline.unpickling.masks import MaskColumns, mask_columns
from pipeline.unpickling.surfaces import SurfacePoints, surface_points

__all__ = [
    "BodyColumns",
    "CameraColumns",
    "CoordinateColumn",
    "Examples",
    "Extract",
    "MaskColumns",
    "PendingRead",
    "PickledDataset",
    "Reading",
    "SurfacePoints",
    "begin_read",
    "body_columns",
    "boxes",
    "camera_columns",
    "coords2d",
    "image_paths",
    "load_annotations",
    "mask_columns",
    "read_isolated",
    "surface_points",
    "world_coords",
]
