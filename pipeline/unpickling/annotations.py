"""One shape for the data sets of every era."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.skeletons import Skeleton

Attributes: TypeAlias = Mapping[str, object]
"""The attributes of one pickled example, as they stood in the file (arrays still undecoded)."""


@dataclass(frozen=True, slots=True)
class PickledDataset:
    """A data set as read, its skeleton validated and its examples not yet.

    Attributes:
        era: who wrote the file, as far as can be told; for people, not for decisions.
        dimensions: 3 (Pose3DDataset) or 2 (Pose2DDataset).
        skeleton: joint names, edges and mirror map.
        examples: for `train`, `valid` and `test`, always all three, the examples' attributes in
            the file's order. Read them with the column functions of this package.
        train_bones: float32 (edges,), mean bone lengths in millimetres; None where absent.
    """

    era: str
    dimensions: int
    skeleton: Skeleton
    examples: Mapping[str, Sequence[Attributes]]
    train_bones: npt.NDArray[np.float32] | None
