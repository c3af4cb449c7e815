"""Masks in all their spellings, as COCO's compressed run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.unpickling.annotations import Attributes


@dataclass(frozen=True, slots=True)
class MaskColumns:
    """Attributes:
    reading: uint8 (N,), `Reading` codes. A path instead of a mask (written before cropping)
        counts as ABSENT.
    size: int32 (N, 2), height and width; zeros unless READ.
    counts: N compressed run-length strings, empty unless READ; the runs add up to the size.
    """

    reading: npt.NDArray[np.uint8]
    size: npt.NDArray[np.int32]
    counts: list[bytes]


def mask_columns(examples: Sequence[Attributes]) -> MaskColumns:
    """`mask` of each example: counts, zcounts, ucounts, one-element list, RLEMask or 2D array."""
    raise NotImplementedError
