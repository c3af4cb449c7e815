"""What can be wrong with pictures themselves: size, darkness, emptiness, copies."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Picture = npt.NDArray[np.uint8]
Digests = npt.NDArray[np.uint64]

_HASH_SIDE = 8


def picture_size(data: bytes) -> tuple[float, float]:
    """Width and height that an encoded picture's header states; NaN if it has none."""
    if not data:
        return float("nan"), float("nan")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a huge picture is none of our business here
            with Image.open(io.BytesIO(data)) as picture:
                return float(picture.width), float(picture.height)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return float("nan"), float("nan")


def digests_of(blobs: Sequence[bytes]) -> Digests:
    """64 bits of each blob's digest, 0 for an empty one; uint64 (n,)."""
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(blob, digest_size=8).digest()) if blob else 0
            for blob in blobs
        ],
        dtype=np.uint64,
    )


def copies(
    pictures: Digests, sources: Digests
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Pictures that are the same, byte by byte, though their sources have other names.

    Several people in one picture are several examples with one source: those are no copies.

    Args:
        pictures, sources: uint64 (n,), digests of contents and of names; 0 is none.

    Returns:
        bool (n,), which ones; and for each the row of the first example with that picture.
    """
    _, first, group = np.unique(pictures, return_index=True, return_inverse=True)
    pairs = np.unique(np.stack([pictures, sources], axis=1), axis=0)
    contents, n_names = np.unique(pairs[:, 0], return_counts=True)
    is_copied = np.isin(pictures, contents[(n_names > 1) & (contents != 0)])
    return is_copied, first[group].astype(np.int64)


def shared_between(
    pictures: Digests, split_numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Pictures that occur in more than one split, bool (n,)."""
    pairs = np.unique(np.stack([pictures, split_numbers.astype(np.uint64)], axis=1), axis=0)
    contents, n_splits = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(pictures, contents[(n_splits > 1) & (contents != 0)])


def brightness(picture: Picture) -> float:
    """Grey level that the brightest hundredth of a picture reaches."""
    return float(np.percentile(_grey(picture), 99))


def spread(picture: Picture) -> float:
    """Standard deviation of a picture's grey levels: 0 for a constant one."""
    return float(_grey(picture).std())


def likeness_bits(picture: Picture) -> npt.NDArray[np.bool_]:
    """64 bits that change little when a picture is scaled, re-encoded or lightened (dHash)."""
    small = cv2.resize(_grey(picture), (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    small = np.asarray(small, dtype=np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel()


def near_copies(bits: npt.NDArray[np.bool_], *, most_differing: int = 2) -> npt.NDArray[np.int64]:
    """For each picture the number of another that looks like it, -1 if none does, (n,).

    Args:
        bits: bool (n, 64).
        most_differing: bits that may differ.
    """
    if len(bits) < 2:
        return np.full(len(bits), -1, np.int64)
    signs = np.where(bits, 1, -1).astype(np.int32)
    differing = (bits.shape[1] - signs @ signs.T) // 2
    np.fill_diagonal(differing, bits.shape[1])
    return np.where(differing.min(axis=1) <= most_differing, differing.argmin(axis=1), -1)


def _grey(picture: Picture) -> npt.NDArray[Any]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, dtype=np.uint8)
