"""The datasets that are declared, by name. Any other PosePile pickle is read by what it says."""

from collections.abc import Mapping

from pipeline.datasets.agora import AGORA
from pipeline.datasets.behave import BEHAVE
from pipeline.datasets.coco import COCO
from pipeline.datasets.declaration import DatasetDeclaration
from pipeline.datasets.densepose_coco import DENSEPOSE_COCO
from pipeline.datasets.mads import MADS

DATASETS: Mapping[str, DatasetDeclaration] = {
    declaration.name: declaration for declaration in (AGORA, BEHAVE, MADS, COCO, DENSEPOSE_COCO)
}

__all__ = ["DATASETS", "DatasetDeclaration"]
