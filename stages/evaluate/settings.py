"""Settings of the evaluation stage; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.schema import SPLITS
from stages.settings import PROJECT_ROOT


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """Section `evaluate` of params.yaml.

    Attributes:
        model: the folder that training wrote.
        stores: the folder of the stores.
        datasets: the stores to evaluate on, without `.zarr`.
        body: the canonical body, for surface points.
        out: the folder for metrics.json, plots and the sheet of predictions.
        splits: what counts as held out; a dataset without them is named as such.
        batch_size: pictures predicted at once.
        max_examples: at most so many per dataset and split, evenly spaced; None: all.
        loader_threads: threads that decode and crop.
        sheet_examples: predictions drawn per dataset.
    """

    model: Path = PROJECT_ROOT / "models/localizer"
    stores: Path = PROJECT_ROOT / "data/stores"
    datasets: tuple[str, ...] = ("agora", "behave", "mads", "coco", "densepose_coco")
    body: Path = PROJECT_ROOT / "data/sample/body.npz"
    out: Path = PROJECT_ROOT / "reports/evaluation"
    splits: tuple[str, ...] = ("valid", "test")
    batch_size: int = 150
    max_examples: int | None = None
    loader_threads: int = 8
    sheet_examples: int = 4

    def __post_init__(self) -> None:
        if not self.datasets or not self.splits:
            raise ValueError("datasets and splits must name at least one each")
        for split in self.splits:
            if split not in SPLITS:
                raise ValueError(f"a split is train, valid or test, not {split!r}")
        for name in ("batch_size", "loader_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.sheet_examples < 0 or (self.max_examples is not None and self.max_examples < 1):
            raise ValueError("sheet_examples must not be negative, max_examples must be positive")
