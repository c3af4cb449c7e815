"""What everybody does with a picture, and how it is told that everybody did."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from benchmarks.loaders import Images


def decode_and_warp(encoded: Any, flags: Any, back: Any, *, side: int) -> Images:
    """Decode and warp a picture, as our loader does.

    Args:
        encoded: the file's bytes, or an array of them.
        flags: of the decoder.
        back: float64 (3, 3), from pixels of the crop to those of the decoded picture.
        side: of the crop.

    Returns:
        uint8 (side, side, 3).
    """
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), int(flags))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(image, back, (side, side), flags=how))


def checksum(image: Images) -> int:
    """Of one picture; the sum over pictures does not depend on their order."""
    import xxhash  # half the time of a CRC; only the benchmarks' environment has it

    return int(xxhash.xxh3_64_intdigest(np.ascontiguousarray(image)))
