"""Reading a golden file and comparing with it, so that nothing passes unseen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

VERSIONS = ("v1", "v2")
SHARED_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden"


@dataclass
class Golden:
    """A golden file: its arrays, which of them were looked at, and how far off we were.

    Keys may lead with `same/` (both versions of the reference agree), `v1/` or `v2/`.
    """

    path: Path
    arrays: Mapping[str, npt.NDArray[Any]] = field(init=False)
    seen: set[str] = field(default_factory=set)
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with np.load(self.path, allow_pickle=False) as archive:
            self.arrays = {key: archive[key] for key in archive.files}

    def __getitem__(self, key: str) -> npt.NDArray[Any]:
        self.seen.add(key)
        return self.arrays[key]

    def get(self, key: str) -> npt.NDArray[Any] | None:
        return self[key] if key in self.arrays else None

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def matching(self, pattern: str) -> Iterator[re.Match[str]]:
        """Keys that match the whole pattern."""
        for key in self.arrays:
            if match := re.fullmatch(pattern, key):
                yield match

    def expected(self, name: str, version: str) -> str | None:
        """The key that holds what this version of the reference gives for `name`."""
        for key in (f"{version}/{name}", f"same/{name}"):
            if key in self.arrays:
                return key
        return None

    def compare(
        self, key: str, actual: Any, *, tolerance: float = 1e-4, floor: float | None = None
    ) -> None:
        """Note the worst error relative to |expected| + the array's typical magnitude.

        Args:
            floor: that typical magnitude; default the median of the non-zero entries.
        """
        expected = self[key]
        actual = np.asarray(actual)
        assert actual.shape == expected.shape, f"{key}: {actual.shape} for {expected.shape}"
        self.errors[key] = relative_error(actual, expected, floor=floor), tolerance

    def compare_present(self, key: str, actual: Any, **options: Any) -> None:
        """`compare` where the file has the key."""
        if key in self.arrays:
            self.compare(key, actual, **options)

    def with_questions_of(self, file_name: str) -> Golden:
        """This file's arrays, completed by those of another one: some files hold answers only.

        The other is looked for beside this one, then in the shared folder.
        """
        for folder in (self.path.parent, SHARED_FOLDER):
            other = folder / file_name
            if other != self.path and other.exists():
                questions = Golden(other)
                questions.arrays = {**questions.arrays, **self.arrays}
                questions.seen = self.seen
                return questions
        return self

    def compare_version(
        self, name: str, version: str, actual: Any, *, tolerance: float = 1e-4
    ) -> None:
        """Compare with `name` of this version where the file has it."""
        if key := self.expected(name, version):
            self.compare(key, actual, tolerance=tolerance)

    def unread(self) -> Mapping[str, int]:
        """The last parts of the keys that were neither asked nor compared, and how many of each."""
        read = self.seen | set(self.errors)
        return Counter(key.rpartition("/")[2] for key in self.arrays if key not in read)

    def conclude(self) -> str:
        """Fail on any excess or where nothing was compared; else say how it went."""
        assert self.errors, f"{self.path.name}: nothing was compared"
        wrong = [
            f"{key}: off by {error:.2e}, allowed {tolerance:.0e}"
            for key, (error, tolerance) in self.errors.items()
            if not error <= tolerance
        ]
        assert not wrong, f"{len(wrong)} of {len(self.errors)} arrays:\n" + "\n".join(wrong)
        worst = max(self.errors, key=lambda key: self.errors[key][0] / self.errors[key][1])
        error, tolerance = self.errors[worst]
        return (
            f"{self.path.name}: {len(self.errors)} arrays compared, "
            f"worst {error:.1e} (allowed {tolerance:.0e}) at {worst}"
        )


def relative_error(
    actual: npt.NDArray[Any], expected: npt.NDArray[Any], *, floor: float | None = None
) -> float:
    """Largest |actual − expected| / (|expected| + typical magnitude); inf where NaNs differ."""
    if expected.dtype.kind in "bUS" or actual.dtype.kind in "bUS":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    a, b = a[finite], b[finite]
    if not b.size:
        return 0.0
    if floor is None:
        nonzero = np.abs(b[b != 0])
        floor = float(np.median(nonzero)) if nonzero.size else 1e-6
    return float((np.abs(a - b) / (np.abs(b) + floor)).max())
