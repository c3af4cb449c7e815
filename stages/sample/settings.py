"""Settings of the sample stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATASET_NAMES = ("agora", "behave", "mads", "coco", "densepose_coco")


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What the built-in sample data is.

    Attributes:
        out: folder for the five pickles, the pictures below it and body.npz.
        examples: per dataset.
        seed: same seed, same bytes.
        examples_per_dataset: exceptions from `examples`, by dataset name.
        jobs: worker processes, one per core where 0. The result does not depend on it.
    """

    out: Path = Path("data/sample")
    examples: int = 600
    seed: int = 1
    examples_per_dataset: Mapping[str, int] | None = None
    jobs: int = 0

    def __post_init__(self) -> None:
        counts = dict(self.examples_per_dataset or {})
        for name in counts:
            if name not in DATASET_NAMES:
                raise ValueError(
                    f"unknown dataset {name!r} in examples_per_dataset; "
                    f"known: {', '.join(DATASET_NAMES)}"
                )
        if min([self.examples, *counts.values()]) < 1:
            raise ValueError("every dataset needs at least 1 example")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, is {self.seed}")
        if self.jobs < 0:
            raise ValueError(f"jobs must not be negative, is {self.jobs}")

    def count(self, dataset: str) -> int:
        """Examples of one dataset."""
        return (self.examples_per_dataset or {}).get(dataset, self.examples)
