"""Do the pictures of a block decode?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cache import chunks


def broken_pictures(
    stored: Sequence[bytes | None], lengths: npt.NDArray[np.int32], width: int
) -> Iterator[tuple[int, str]]:
    """Rows whose picture is not there or does not decode, and why.

    Args:
        stored: each row's chunk, checked already; None where there is none.
        lengths: int32 (n,), bytes of each picture; 0 where the row has none.
        width: bytes per row.
    """
    for row, (chunk, length) in enumerate(zip(stored, lengths.tolist(), strict=True)):
        if not 0 <= length <= width:
            continue  # said already
        if (chunk is None) != (length == 0):
            has = "none" if chunk is None else "one"
            yield row, f"{length} bytes of picture are promised, and there is {has}"
        elif chunk is not None:
            try:
                data = chunks.decode_padded_file(chunk, length)
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            except (chunks.ChunkError, cv2.error) as error:
                yield row, str(error)
                continue
            if picture is None:
                yield row, "the picture does not decode"
